"""What a method looks like in every figure: models in colours that the colour-blind tell apart, all else in grey."""

from dataclasses import dataclass

from cmrgz.evaluation.report.names import REFERENCES, of_kind
from cmrgz.evaluation.summary.model import Summary

COLOURS = ("#0077bb", "#ee7733", "#009988", "#cc3311", "#33bbee", "#ee3377")
"""Paul Tol's scheme `vibrant` without its grey; each is seen on white and on black."""
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "#8a8a8a"
GREY_MARKERS = ("x", "+", "1", "2", "3", "4", "s", "^", "v", "D", "p", "h", "*", "<", ">", "8", "H", "d", "X", "P")
DASHES = {"model": ("-", "--", "-.", ":"), "baseline": ("-",), "bound": ("--",), "control": (":",)}


@dataclass(frozen=True)
class Style:
    """How a method is drawn.

    Attributes:
        colour: Of its line and marker.
        marker: A marker of matplotlib.
        dash: A line style of matplotlib.
        width: Of its line, points.
        kind: Of the method.
    """

    colour: str
    marker: str
    dash: str
    width: float
    kind: str


def styles(summary: Summary) -> dict[str, Style]:
    """Return the style of each method; a function of the methods of the run and their order."""
    found: dict[str, Style] = {}
    for i, method in enumerate(of_kind(summary, "model")):
        lap, step = divmod(i, len(COLOURS))
        dashes = DASHES["model"]
        marker = MARKERS[(step + lap) % len(MARKERS)]
        found[method.name] = Style(COLOURS[step], marker, dashes[lap % len(dashes)], 1.8, "model")
    for i, method in enumerate(of_kind(summary, *REFERENCES)):
        marker = GREY_MARKERS[i % len(GREY_MARKERS)]
        found[method.name] = Style(GREY, marker, DASHES[method.kind][0], 0.8, method.kind)
    return found
