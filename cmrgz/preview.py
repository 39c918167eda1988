"""Pictures of a result in the reader's view: what was given, what was hidden, what was drawn and how sure it is."""

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cmrgz.data.intensity import Scale
from cmrgz.data.orientation import Orientation
from cmrgz.data.planes import Cine
from cmrgz.data.scan import Scan

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]

TINT = (200, 90, 30)
"""Colour of what is hidden; no scan has it."""
SIDE = 256
"""Longest side of a plane in a picture, in pixels."""
ROWS, COLUMNS = 4, 8
"""Most slices of a sheet, most planes in a row of a contact sheet."""
SCANS = 16
"""Most scans of a contact sheet."""
ROW = 4
"""Scans of a single plane in a row of it."""
STRIP = 18
"""Height of a line of text."""
MARK = "synthetic, not a medical device"
# The last of 256 colours is the tint, which leaves 255 greys: hence the 127.4 of `grey` and the white of 254.
_PALETTE = [*(level for grey in range(255) for level in (grey, grey, grey)), *TINT]


@dataclass(frozen=True)
class View:
    """How the planes of a scan are shown.

    Attributes:
        orientation: How they are turned.
        edges: Pixel edges (y, x) as stored, in mm.
        scale: What is black and what is white.
    """

    orientation: Orientation
    edges: tuple[float, float]
    scale: Scale

    @classmethod
    def of(cls, scan: Scan, scale: Scale) -> "View":
        """Return the reader's view of a scan."""
        return cls(Orientation.of_geometry(scan.geometry), scan.spacing[1:], scale)

    def grey(self, plane: Floats) -> Bytes:
        """Return a plane (y, x) as (3, y, x)."""
        unit = (self.scale.to_unit(plane) + 1) * 127.4
        return np.repeat(unit.astype(np.uint8)[None], 3, axis=0)

    def image(self, colours: Bytes) -> Image.Image:
        """Return colours (3, y, x) as a reader sees them, with square pixels."""
        h, w = (n * edge for n, edge in zip(colours.shape[1:], self.edges, strict=True))
        h, w = (w, h) if self.orientation.swap else (h, w)
        size = max(1, round(SIDE * w / max(h, w))), max(1, round(SIDE * h / max(h, w)))
        turned = np.ascontiguousarray(np.moveaxis(self.orientation.apply(colours), 0, -1))
        shrinks = max(colours.shape[1:]) > SIDE
        # A small plane shows its voxels as squares: a smooth enlargement would show detail that the scan has not.
        return Image.fromarray(turned).resize(size, Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST)


def tinted(colours: Bytes, known: Bools) -> Bytes:
    """Return colours (3, y, x) with the hidden pixels in one tint: what a model is given."""
    return np.where(known, colours, np.array(TINT, np.uint8)[:, None, None])


def heat(plane: Floats, most: float) -> Bytes:
    """Return a plane (y, x) from 0, black, over red and yellow to `most`, white, as (3, y, x)."""
    unit = np.clip(plane / most if most > 0 else np.zeros_like(plane), 0, 1)
    return (np.clip(np.stack([3 * unit, 3 * unit - 1, 3 * unit - 2]), 0, 1) * 255).astype(np.uint8)


def sheet(scan: Scan, known: Bools, result: Cine, scale: Scale, std: Cine | None = None, note: str = "") -> bytes:
    """Return a PNG of a few slices of the frame of which most is hidden: scan, hidden, result and spread.

    Args:
        scan: What was given, hidden parts too.
        known: Bool (t, z, y, x).
        result: (t, z, y, x) in the scan's intensities, whole or plane by plane.
        scale: What is black and what is white.
        std: (t, z, y, x), or None for a single sample.
        note: What else was done, for the line below.
    """
    view, most = View.of(scan, scale), 0.0 if std is None else _most(std)
    hidden = known.shape[2] * known.shape[3] - np.count_nonzero(known, axis=(2, 3))
    t = int(hidden.sum(1).argmax())
    titles = ["scan", "hidden", "result"] + ([] if std is None else [f"std, 0 .. {most:.3g}"])
    rows = []
    for z in _spread(_slices(known), ROWS):
        given = view.grey(scan.plane(t, z))
        cells = [given, tinted(given, known[t, z]), view.grey(result[t, z])]
        cells += [] if std is None else [heat(std[t, z], most)]
        rows.append(
            [_noted(view.image(c), f"slice {z + 1}, frame {t + 1}" if i == 0 else "") for i, c in enumerate(cells)]
        )
    return _png(_table(rows, titles, note))


def cine(scan: Scan, known: Bools, result: Cine, scale: Scale, note: str = "") -> bytes:
    """Return an endless GIF of the middle slice: scan, hidden, result; arguments as `sheet`."""
    view, slices = View.of(scan, scale), _slices(known)
    z = slices[len(slices) // 2]
    frames = []
    for t in range(scan.shape[0]):
        given = view.grey(scan.plane(t, z))
        cells = [given, tinted(given, known[t, z]), view.grey(result[t, z])]
        frames.append(_table([[view.image(c) for c in cells]], ["scan", "hidden", "result"], note))
    return _gif(frames, _duration(scan))


def contact_sheet(scan: Scan, samples: Iterable[Cine], scale: Scale) -> bytes:
    """Return a PNG of generated scans, one a row: the frames of the middle slice, or the slices of a single frame.

    Scans of a single plane are four a row.

    Args:
        scan: Whose grid they have.
        samples: The scans, (t, z, y, x) each; the first 16 are shown.
        scale: What is black and what is white.
    """
    view, (t, z) = View.of(scan, scale), scan.shape[:2]
    places = [(i, z // 2) for i in range(t)] if t > 1 else [(0, i) for i in range(z)]
    places = _spread(places, COLUMNS)
    titles = [f"frame {i + 1}" if t > 1 else f"slice {j + 1}" for i, j in places]
    chosen = [values for values, _ in zip(samples, range(SCANS), strict=False)]
    rows = [[_noted(view.image(view.grey(values[at])), f"{n}" if k == 0 else "") for k, at in enumerate(places)]
            for n, values in enumerate(chosen, 1)]  # fmt: skip
    if len(places) == 1:
        planes = [row[0] for row in rows]
        rows, titles = [planes[i : i + ROW] for i in range(0, len(planes), ROW)], [""] * min(ROW, len(planes))
    return _png(_table(rows, titles))


def _most(cine: Cine) -> float:
    """Return the largest value."""
    return max(float(cine[place].max()) for place in np.ndindex(cine.shape[:2]))


def _slices(known: Bools) -> list[int]:
    """Return the slices with something hidden, or all where nothing is."""
    found: list[int] = np.flatnonzero(~known.all(axis=(0, 2, 3))).tolist()
    return found or list(range(known.shape[1]))


def _spread(values: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many values, evenly spread."""
    index = np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int))
    return [values[i] for i in index]


def _duration(scan: Scan) -> int:
    """Return milliseconds a frame, as far as GIF knows them; one second a cycle where the scan does not say."""
    seconds = scan.geometry.frame_time
    seconds = 1 / scan.shape[0] if math.isnan(seconds) else seconds
    # GIF counts hundredths of a second, and viewers slow down what is to be shown for less than two.
    return max(20, round(min(seconds, 1.0) * 100) * 10)


def _noted(image: Image.Image, text: str) -> Image.Image:
    if text:
        ImageDraw.Draw(image).text((3, 2), text, fill=(254, 254, 254))
    return image


def _table(rows: list[list[Image.Image]], titles: Sequence[str], note: str = "") -> Image.Image:
    """Return images in rows under their titles, with the mark of what is synthetic and a note below."""
    w, h = rows[0][0].size
    # At least as wide as the mark of what is synthetic.
    page = Image.new("RGB", (max(len(titles) * w, 190), len(rows) * h + 2 * STRIP))
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(titles):
        draw.text((column * w + 3, 3), title, fill=(254, 254, 254))
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            page.paste(cell, (column * w, STRIP + row * h))
    draw.text((3, page.height - STRIP + 3), "; ".join(filter(None, [MARK, note])), fill=(180, 180, 180))
    return page


def _png(page: Image.Image) -> bytes:
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue()


def _gif(frames: Sequence[Image.Image], duration: int) -> bytes:
    """Return an endless GIF; all frames share one palette, so that grey stays grey and nothing is dithered."""
    palette = Image.new("P", (1, 1))
    palette.putpalette(_PALETTE)
    first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest, duration=duration, loop=0)
    return file.getvalue()
