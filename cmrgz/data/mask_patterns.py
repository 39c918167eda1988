"""Mask patterns: what each recipe hides. `cmrgz.data.masks` parses and draws them.

A *plane pattern* gives every unit of a plane (a pixel, or a square patch aligned to pixel (0, 0)) a score, and the
lowest scores are hidden first. The ratio only says where that order is cut, so every ratio is exact and a smaller
ratio hides a part of what a larger one hides. A *scan pattern* says at once what it hides of the whole scan.

To add a pattern, write one function and one line in `PATTERNS`. The function's further keywords are the options of
the recipe: `Annotated[int, Range(1, 100)]` is a bounded integer, `Literal[...]` a choice; see `cmrgz.options`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from scipy.ndimage import distance_transform_edt

from cmrgz.data.mask_draw import WHERE, Draw, Plane
from cmrgz.data.mask_planes import Every, frames, slices
from cmrgz.data.mask_units import Bools, Floats, hidden_units, lowest
from cmrgz.errors import DataError
from cmrgz.options import Range

MYOCARDIUM = 2
"""Label value of the myocardium, as in the cine data sets that this project reads."""

EDGE = Range(1, 4096)
Size = Annotated[int, EDGE]
Place = Literal["random", "image", "heart"]
Hold = Literal["t", "z", "tz"]


def patch(plane: Plane) -> Floats:
    """Random patches, in the order of one permutation."""
    # One order, cut where the ratio says: of two ratios the smaller hides a part of what the larger one does.
    return plane.rng.permutation(plane.grid[0] * plane.grid[1]).reshape(plane.grid).astype(np.float64)


def box(plane: Plane, *, at: Place = "random") -> Floats:
    """One box with the aspect of the plane, growing side by side, so that at most its last row or column is cut.

    `random` lies inside the plane at every ratio: the box grows from a random point towards the plane's borders.
    `image` and `heart` are centred; `heart` goes on growing on the other sides when it meets a border.
    """
    height, width = plane.shape
    row, col = plane.draw.heart if at == "heart" else ((height - 1) / 2, (width - 1) / 2)
    reach = [height / 2, height / 2, width / 2, width / 2]
    if at == "random":
        # Not 0 and not 1, where a side of no length would be divided by.
        down, right = plane.rng.uniform(1e-6, 1 - 1e-6, 2)
        row, col = down * height - 0.5, right * width - 0.5
        reach = [down * height, (1 - down) * height, right * width, (1 - right) * width]
    sides = (row - plane.rows, plane.rows - row, col - plane.cols, plane.cols - col)
    # the small step orders sides that are equally far, so that whole rows and columns join the box one by one
    score = np.full(plane.grid, -np.inf)
    for i, (side, far) in enumerate(zip(sides, reach, strict=True)):
        score = np.maximum(score, side / far + i * 1e-9)
    return score


def outpaint(plane: Plane, *, at: Literal["image", "heart"] = "image") -> Floats:
    """The complement of a box: the border is hidden and the inside given."""
    return -box(plane, at=at)


def half(plane: Plane, *, side: Literal["bottom", "top", "left", "right"] = "bottom") -> Floats:
    """Everything on one side of a straight line."""
    order = {"bottom": -plane.rows, "top": plane.rows, "left": plane.cols, "right": -plane.cols}[side]
    return np.broadcast_to(order, plane.grid)


def irregular(plane: Plane, *, strokes: Annotated[int, Range(1, 100)] = 4) -> Floats:
    """Random brush strokes: distance to random polylines, with noise of less than a unit between equal distances."""
    ink = np.ones(plane.grid, dtype=bool)
    for _ in range(strokes):
        steps = plane.rng.normal(0, 0.2, (6, 2))
        steps[0] = plane.rng.random(2)
        knots = np.abs((np.cumsum(steps, axis=0) + 1) % 2 - 1)  # reflected at the borders
        # So dense that a stroke has no gaps.
        along = np.linspace(0, 5, 10 * max(plane.grid))
        points = [np.interp(along, range(6), knots[:, i]) * (plane.grid[i] - 1) for i in (0, 1)]
        ink[np.rint(points[0]).astype(int), np.rint(points[1]).astype(int)] = False
    distance: Floats = distance_transform_edt(ink)
    return distance + plane.rng.uniform(0, 0.4, plane.grid)


def heart(plane: Plane) -> Floats:
    """Patches by their distance to the heart's centre, nearest first: the hard case."""
    (row, col), (dy, dx) = plane.draw.heart, plane.draw.spacing
    # In mm, since pixels need not be square.
    return np.hypot((plane.rows - row) * dy, (plane.cols - col) * dx)


def anti_heart(plane: Plane) -> Floats:
    """Patches by their distance to the heart's centre, farthest first: the easy control."""
    return -heart(plane)


def kt(draw: Draw, *, ratio: float | None = None, every: Every = 2, size: Size = 16) -> Bools:
    """A checkerboard in time and space: patch (i, j) of frame t is given when `every` divides t + i + j.

    A ratio instead hides in each frame the nearest number of patches, in the order of `_by_bits`.
    """
    if ratio is not None:
        return PlanePattern(_by_bits, size=size).hidden(draw, ratio, {})
    t, _, y, x = (np.arange(n).reshape([-1 if i == axis else 1 for i in range(4)]) for axis, n in enumerate(draw.shape))
    hidden: Bools = (t + y // size + x // size) % every != 0
    return hidden


def _by_bits(plane: Plane) -> Floats:
    """Patches by the bits of t + i + j read backwards, largest first, those alike at random.

    Odd sums go first, of these 3, 7, 11, ...: a quarter, a half and three quarters are regular in time and space.
    """
    place = plane.frame + np.arange(plane.grid[0])[:, None] + np.arange(plane.grid[1])
    backwards = sum(((place >> bit) & 1) * 0.5 ** (bit + 1) for bit in range(24))
    # Less than the last bit that counts: it orders what is alike, and nothing else.
    return 2.0**-25 * patch(plane) / place.size - backwards


def lesion(draw: Draw, *, ratio: float | None = None, sector: Annotated[int, Range(1, 360)] = 60) -> Bools:
    """A random sector of the myocardium, `sector` degrees wide, at the same angle in all frames of a slice."""
    if draw.label is None or not np.any(draw.label == MYOCARDIUM):
        raise DataError("mask-empty", WHERE, f"'lesion' needs a label with myocardium ({MYOCARDIUM})", hint="give one")
    hidden = np.zeros(draw.shape, dtype=bool)
    for z in range(draw.shape[1]):
        start = draw.stream(z, 0).uniform(0, 360)
        for t in range(draw.shape[0]):
            rows, cols = np.nonzero(draw.label[t, z] == MYOCARDIUM)
            if not rows.size:
                continue
            # About the centre of this frame's own myocardium: the heart moves, and the sector goes with it.
            angle = np.degrees(np.arctan2(rows - rows.mean(), cols - cols.mean())) - start
            inside = angle % 360 < sector
            hidden[t, z, rows[inside], cols[inside]] = True
    return hidden


@dataclass(frozen=True)
class PlanePattern:
    """A pattern that scores the units of a plane; with `hold` those of the first frame, slice or both are used in all.

    Attributes:
        function: `Plane` and options -> scores of the units, shape `Plane.grid`.
        ratio: Ratio when none is given; None when one must be.
        size: Edge of a unit in pixels when the option `size` is not given.
    """

    function: Callable[..., Floats]
    ratio: float | None = None
    size: int = 1
    takes_ratio = needs_ratio = True

    def hidden(self, draw: Draw, ratio: float | None, options: Mapping[str, int | str]) -> Bools:
        """Return what is hidden, (t, z, y, x)."""
        # A length of 1 is broadcast: what is held is drawn once, and the streams of other planes do not notice.
        hold = str(options.get("hold", ""))
        own = [1 if axis in hold else n for axis, n in zip("tz", draw.shape, strict=False)]
        hidden = np.empty((*own, *draw.shape[2:]), dtype=bool)
        rest = {name: value for name, value in options.items() if name not in ("size", "hold")}
        for t, z in np.ndindex(hidden.shape[:2]):
            plane = Plane(draw, z, t, int(options.get("size", self.size)))
            hidden[t, z] = self._cut(plane, self.function(plane, **rest), ratio or 0.0)
        return np.broadcast_to(hidden, draw.shape) if hold else hidden

    def _cut(self, plane: Plane, score: Floats, ratio: float) -> Bools:
        units = lowest(score, hidden_units(score, ratio, plane.shape, plane.size))
        pixels = units.repeat(plane.size, axis=0).repeat(plane.size, axis=1)
        return pixels[: plane.shape[0], : plane.shape[1]]


@dataclass(frozen=True)
class ScanPattern:
    """A pattern that says at once what it hides of the whole scan.

    Attributes:
        function: `Draw`, `ratio` and options -> hidden, of a shape that broadcasts to (t, z, y, x).
        takes_ratio: Whether a ratio may be given in place of `every`.
        needs_ratio: Whether one of the two must be.
    """

    function: Callable[..., Bools]
    takes_ratio: bool = False
    needs_ratio: bool = False
    ratio = None

    def hidden(self, draw: Draw, ratio: float | None, options: Mapping[str, int | str]) -> Bools:
        """Return what is hidden, (t, z, y, x)."""
        return np.broadcast_to(self.function(draw, ratio=ratio, **options), draw.shape)


PATTERNS: dict[str, PlanePattern | ScanPattern] = {
    "patch": PlanePattern(patch, size=16),
    "box": PlanePattern(box),
    "outpaint": PlanePattern(outpaint),
    "half": PlanePattern(half, ratio=0.5),
    "irregular": PlanePattern(irregular),
    "heart": PlanePattern(heart, size=16),
    "anti-heart": PlanePattern(anti_heart, size=16),
    "frames": ScanPattern(frames, takes_ratio=True, needs_ratio=True),
    "slices": ScanPattern(slices, takes_ratio=True, needs_ratio=True),
    "kt": ScanPattern(kt, takes_ratio=True),
    "lesion": ScanPattern(lesion),
}
