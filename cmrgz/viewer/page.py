"""What is shown -> the bytes of a page: its skeleton filled with style, script and voxels.

The page may load nothing and run no script but its own, by its hash: whatever a text in it holds, it stays text.
"""

import base64
import hashlib
import json
import math
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from cmrgz.data.intensity import Scale
from cmrgz.data.orientation import Orientation
from cmrgz.data.planes import Cine
from cmrgz.data.scan import Scan
from cmrgz.viewer.cuts import Bools, Cut, cuts, start
from cmrgz.viewer.packing import Code, packed, packed_mask

MOST = 28 << 20
"""Most bytes of the voxels of a page."""
VALUES = 48_000_000
"""Most voxels of all layers of a page together: what a browser holds and plays."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'"
"""What a browser may load and run: nothing but the script of the page."""
NOTICE = "synthetic, not a medical device"


@dataclass(frozen=True, eq=False)
class Layer:
    """One cine of those that are shown side by side.

    Attributes:
        name: What it is called.
        values: (t, z, y, x) in the scan's intensities, whole or plane by plane.
        spread: It is a standard deviation, shown in colours from 0 to its largest value.
        folded: It is shown only when asked for.
    """

    name: str
    values: Cine
    spread: bool = False
    folded: bool = False


@dataclass(frozen=True, eq=False)
class Content:
    """What a page shows.

    Attributes:
        title: What it is.
        grid: A scan on whose grid all layers lie; its voxels are not looked at.
        layers: What is shown; at least one is no spread.
        scale: What is black and what is white at first.
        known: (t, z, y, x) bool, True = given; None where nothing tells it.
        synthetic: A model drew some of it.
        axes: What t and z are.
        steps: What each step of t and of z is; nothing where its number says enough.
        notes: What else there is to say.
    """

    title: str
    grid: Scan
    layers: tuple[Layer, ...]
    scale: Scale
    known: Bools | None = None
    synthetic: bool = True
    axes: tuple[str, str] = ("phase", "slice")
    steps: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    notes: tuple[str, ...] = ()


def page(content: Content, most: int = MOST) -> bytes:
    """Return a page of one HTML file; of scans that are too large for one it shows a part, and says so.

    Args:
        content: What to show.
        most: Most bytes of its voxels.
    """
    cut, data = _fitting(content, most)
    script = _part("view.js")
    shown = cut.told(content.grid.shape)
    notes = [*content.notes, *([f"To keep this page small it shows {', '.join(shown)}."] if shown else [])]
    filled = Template(_part("view.html")).substitute(
        title=escape(content.title),
        policy=POLICY.format(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()),
        style=_part("view.css"),
        script=script,
        notice=NOTICE if content.synthetic else "not a medical device",
        notes="".join(f"<li>{escape(note)}</li>" for note in notes),
        data=_json(_facts(content, cut) | data),
    )
    return filled.encode("utf-8", "replace")


def _fitting(content: Content, most: int) -> tuple[Cut, dict[str, Any]]:
    """Return the largest cut whose voxels fit a page, and these."""
    grid = content.grid
    for cut in cuts(grid.shape, grid.spacing, content.known):
        if math.prod(cut.shape) * len(content.layers) > max(VALUES, len(content.layers)):
            continue
        data = _data(content, cut)
        if sum(len(layer["data"]) for layer in data["layers"]) + len(data["hidden"] or "") <= most:
            break
    return cut, data


def _data(content: Content, cut: Cut) -> dict[str, Any]:
    """Return the layers and what is hidden; layers of intensities share a code and are told by their first one."""
    turned = Orientation.of_geometry(content.grid.geometry)
    shared = Code.of((layer.values for layer in content.layers if not layer.spread), cut)
    layers, base = [], None
    for number, layer in enumerate(content.layers):
        code = Code.of_spread(layer.values, cut) if layer.spread else shared
        numbers = code.numbers(layer.values, cut, turned)
        facts = {"name": layer.name, "spread": layer.spread, "folded": layer.folded, "low": code.low, "step": code.step}
        if layer.spread:
            facts |= {"base": None, "data": packed(numbers)}
        else:
            base = (number, numbers) if base is None else base
            told = None if base[0] == number else base[1]
            facts |= {"base": None if told is None else base[0], "data": packed(numbers, told)}
        layers.append(facts)
    return {"layers": layers, "hidden": None if content.known is None else packed_mask(~content.known, cut, turned)}


def _facts(content: Content, cut: Cut) -> dict[str, Any]:
    """Return all that the script must know beside the voxels."""
    grid, first = content.grid, start(content.grid.shape, content.known)
    turned = Orientation.of_geometry(grid.geometry)
    rows, columns = (cut.x, cut.y) if turned.swap else (cut.y, cut.x)
    rows, columns = rows[::-1] if turned.up else rows, columns[::-1] if turned.mirror else columns
    time = grid.geometry.frame_time
    return {
        "full": grid.shape[:2],
        "axes": content.axes,
        "steps": content.steps,
        "shape": (len(cut.t), len(cut.z), len(rows), len(columns)),
        "phases": _steps(cut.t),
        "slices": _steps(cut.z),
        "rows": _steps(rows),
        "columns": _steps(columns),
        "swap": turned.swap,
        "edges": [float(f"{edge:.6g}") for edge in turned.edges(grid.spacing)],  # a header holds no more digits
        "start": (cut.t.index(first[0]), cut.z.index(first[1])),
        "frame_time": None if math.isnan(time) else float(f"{time:.6g}"),
        "window": (content.scale.low, content.scale.high),
    }


def _steps(of: range) -> tuple[int, int]:
    """Return the number of the first one that is shown, and how many further the next one is."""
    return of.start, of.step


def _json(facts: dict[str, Any]) -> str:
    """Return JSON that can end no element of HTML."""
    text = json.dumps(facts, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
