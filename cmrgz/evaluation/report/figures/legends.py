"""Legends: names beside small SVGs that hold no id, so that they may stand in a page many times."""

from collections.abc import Iterable, Mapping

from cmrgz.evaluation.report.document import Key
from cmrgz.evaluation.report.figures.styles import GREY, Style

_FRAME = '<svg viewBox="0 0 34 12" width="34" height="12" aria-hidden="true">{}</svg>'
BAND = _FRAME.format(f'<rect x="1" y="2" width="32" height="8" fill="{GREY}" fill-opacity="0.4"/>')
LINE = _FRAME.format('<path d="M1 6H33" stroke="currentColor"/>')
_DASHES = {"-": "", "--": "5 3", "-.": "6 2 1 2", ":": "1.5 2"}
_LETTERS = {1: "M", 2: "L", 3: "Q", 4: "C"}
"""SVG's letters for the codes of a path of matplotlib."""


def legend(styles: Mapping[str, Style], shown: Iterable[str]) -> tuple[Key, ...]:
    """Return the entries of a legend for the methods that a figure shows."""
    there = set(shown)
    return tuple(Key(name, swatch(style)) for name, style in styles.items() if name in there)


def swatch(style: Style) -> str:
    """Return an SVG of the line and the marker of a style."""
    dashes = f' stroke-dasharray="{_DASHES[style.dash]}"' if _DASHES[style.dash] else ""
    line = f'<path d="M1 6H33" stroke="{style.colour}" stroke-width="{style.width}"{dashes}/>'
    mark = (
        f'<path d="{_marker(style.marker)}" transform="translate(17 6)" fill="{style.colour}" stroke="{style.colour}"/>'
    )
    return _FRAME.format(line + mark)


def _marker(marker: str) -> str:
    """Return the outline of a marker of matplotlib, 8 wide around 0, as the `d` of an SVG path."""
    from matplotlib.markers import MarkerStyle
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D

    style = MarkerStyle(marker)
    outline = style.get_path().transformed(style.get_transform() + Affine2D().scale(8, -8))
    parts = []
    for points, code in outline.iter_segments(simplify=False, curves=True):
        numbers = " ".join(f"{value:.2f}" for value in points)
        parts.append("Z" if code == Path.CLOSEPOLY else f"{_LETTERS[int(code)]}{numbers}")
    return "".join(parts)
