"""From axes to an `<svg>` element that stands inside a page: its text is text, black is the page's own colour.

The legend and the titles stand in the page, where they wrap; nothing in an SVG can overlap for the length of a name.
"""

import io
import re
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

SIZE = (3.7, 2.7)
"""Inches of a panel; a page shows it as wide as a column."""
RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cmrgz",
    "font.size": 8.5,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "grid.color": "#8a8a8a",
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}


def panel(paint: Callable[[Any], None], name: str, top: float = 0.96) -> Markup:
    """Return the SVG of axes that `paint` has drawn on.

    Args:
        paint: Draws on axes of matplotlib.
        name: Of the panel, its own in the page: it starts every id in the SVG.
        top: Where the axes end; the rest of the height is for what stands above them.
    """
    import matplotlib  # here, since it takes a second and the tables do without
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC), io.StringIO() as file:
        figure = Figure(figsize=SIZE)  # not pyplot, which keeps every figure that it made
        figure.subplots_adjust(left=0.165, right=0.97, bottom=0.16, top=top)  # a layout engine would draw twice
        paint(figure.add_subplot())
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        return Markup(inline(file.getvalue(), name))


def inline(text: str, name: str) -> str:
    """Return the `<svg>` element of an SVG file, fit to stand among others in a page."""
    body = text[text.index("<svg") :].strip()
    # the style of one SVG would hold for the whole page, and equal ids would lend the marks of one panel to another
    body = re.sub(r"\s*<(metadata|style)\b.*?</\1>", "", body, flags=re.DOTALL)
    body = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", body)
    head = r'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="\1">'
    body = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', head, body, count=1)
    return re.sub(r"\n\s*", "\n", body.replace("#000000", "currentColor"))
