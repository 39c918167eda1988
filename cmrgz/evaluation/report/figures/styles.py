"""What a method looks like in every figure: models in colours that the colour-blind tell apart, all else in grey."""

from collections.abc import Collection, Mapping
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

from cmrgz.evaluation.report.document import Key
from cmrgz.evaluation.report.names import REFERENCES, of_kind
from cmrgz.evaluation.summary.model import Summary

COLOURS = ("#0077bb", "#ee7733", "#009988", "#cc3311", "#33bbee", "#ee3377")
"""Paul Tol's scheme `vibrant` without its grey; each is seen on white and on black."""
SIGNS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}
"""Markers of matplotlib, and the characters that stand for them in a legend."""
GREY = "#8a8a8a"
LETTERS = ascii_uppercase + ascii_lowercase
"""Markers of what is no model: twenty shapes in grey could not be told apart. Capitals are drawn equally large."""
DASHES = ("solid", "dashed", "dotted")
"""Line styles, which matplotlib and CSS call by the same names."""


class Style(NamedTuple):
    """How a method is drawn: its marker in matplotlib and as a character, and its line style, as CSS has it too.

    Models are drawn larger and in front; what is `far` may leave a panel.
    """

    colour: str
    marker: str
    sign: str
    dash: str
    model: bool = False
    far: bool = False

    @property
    def look(self) -> dict[str, object]:
        """Keywords of a line of matplotlib."""
        size, width, front = (4.5, 1.8, 3) if self.model else (5.0, 0.8, 2)
        look = {"marker": self.marker, "markersize": size, "markeredgewidth": 0.8 if self.model else 0.2}
        return {**look, "color": self.colour, "linestyle": self.dash, "linewidth": width, "zorder": front}


def styles(summary: Summary) -> dict[str, Style]:
    """Return the style of each method; a function of the methods of the run and their order."""
    found: dict[str, Style] = {}
    markers = list(SIGNS)
    # by place in the run, not by result: a method looks the same in every figure and in every report of the run
    for i, method in enumerate(of_kind(summary, "model")):
        lap, step = divmod(i, len(COLOURS))
        marker = markers[(step + lap) % len(markers)]  # of one colour, no two laps have the same marker
        found[method.name] = Style(COLOURS[step], marker, SIGNS[marker], DASHES[lap % len(DASHES)], model=True)
    for i, method in enumerate(of_kind(summary, *REFERENCES)):
        letter = LETTERS[i % len(LETTERS)]
        dash = DASHES[REFERENCES.index(method.kind)]  # fills are solid, bounds dashed, controls dotted
        found[method.name] = Style(GREY, f"$\\mathrm{{{letter}}}$", letter, dash, far=method.kind != "bound")
    return found


def legend(looks: Mapping[str, Style], shown: Collection[str]) -> tuple[Key, ...]:
    """Return the entries of a legend for the methods that a figure shows."""
    return tuple(Key(name, s.colour, s.sign, s.dash) for name, s in looks.items() if name in shown)
