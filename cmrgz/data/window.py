"""Window: the plane of a scan <-> the plane of a model, and the tiles that cover it.

Pixels are kept as they are (bit for bit) when their size is near the model's; else the plane is resampled linearly.
The map is leak-free: a model pixel is known only if every native pixel with a weight in it is known. Pixel (0, 0) stays
where it is and padding goes to the far ends, so that patches of a mask stay aligned with patches of a tokenizer.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import floor, hypot, isfinite
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cmrgz.data.planes import Cine
from cmrgz.errors import DataError, UsageError

# Resampling blurs, and there and back again known pixels are no longer what they were: a model that is trained on
# pixels of several sizes bears these better.
NATIVE_RATIO = (0.75, 1.34)
"""Ratios of native to model pixel size within which `auto` keeps the native pixels."""
ISOTROPIC = 1.05
"""Largest ratio of the two edges of a pixel that counts as square."""

PLANE = 1 << 24
"""Most pixels of a plane that is resampled."""
PRIOR = 0.15
"""Spread of the heart's centre around the plane's, as a fraction of the plane."""

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Pair = tuple[int, int]
Resample = Literal["auto", "native", "always"]


@dataclass(frozen=True)
class Window:
    """How the plane of a scan lies in the plane of a model; made by `Window.plan`.

    Attributes:
        plane: (H, W) of the scan.
        inner: (rows, columns) of the plane at the model's spacing; equal to `plane` at native spacing.
        padded: (h', w') of the model's plane: `inner` with padding at the far ends.
        item: (h, w) that one model call sees.
        centre: (row, col) of the heart's centre in the model's plane.
        tiles: (row, col) of the first pixel of each tile, in the order in which they are to be filled.
        step: Model pixel size over native pixel size, (rows, columns); None at native spacing.
    """

    plane: Pair
    inner: Pair
    padded: Pair
    item: Pair
    centre: tuple[float, float]
    tiles: tuple[Pair, ...]
    step: tuple[float, float] | None

    @classmethod
    def plan(
        cls,
        plane: Pair,
        spacing: tuple[float, float],
        item: Pair,
        item_spacing: float = 1.4,
        centre: tuple[float, float] | None = None,
        multiple: int = 8,
        overlap: int = 32,
        resample: Resample = "auto",
        centred: bool = True,
    ) -> "Window":
        """Plan the map of one plane; all planes of a scan share it.

        Args:
            plane: (H, W) of the scan in pixels.
            spacing: Pixel size (rows, columns) in mm.
            item: (h, w) of the model's items.
            item_spacing: Pixel size in mm that the model was trained on.
            centre: (row, col) of the heart in the scan's pixels, for example from `heart_centre`. The plane's centre
                when not given.
            multiple: Tiles start on multiples of this: the edge of the tokenizer's patches.
            overlap: Least overlap of neighbouring tiles in pixels.
            resample: `auto` keeps native pixels when their size is 0.75 .. 1.34 of `item_spacing` on both axes and they
                are square to 5 %; `native` keeps them always; `always` resamples always.
            centred: The first tile is centred on the heart; else tiles are as few as cover the plane, and the first is
                that nearest to the heart.

        Raises:
            DataError: `dims` or `spacing` for sizes that are not positive.
            UsageError: `range` for an overlap that leaves no step between tiles.
        """
        _check(plane, spacing, item, item_spacing, multiple, overlap)
        native = _keeps_native(spacing, item_spacing, resample)
        step = None if native else (item_spacing / spacing[0], item_spacing / spacing[1])
        inner = plane if step is None else _pair(max(1, floor(n / s + 0.5)) for n, s in zip(plane, step, strict=True))
        if step is not None and inner[0] * inner[1] > PLANE:
            facts = f"pixels of {spacing[0]:g} x {spacing[1]:g} mm, the model's are {item_spacing:g} mm"
            raise DataError("spacing", "window", f"planes would become {inner[0]} x {inner[1]} pixels", facts)
        padded = _pair(h + max(0, -(-(n - h) // multiple)) * multiple for n, h in zip(inner, item, strict=True))
        middle = centre if centre is not None else ((plane[0] - 1) / 2, (plane[1] - 1) / 2)
        if step is not None:
            # The edges of pixels lie on one another, not their centres: hence the halves.
            middle = (middle[0] + 0.5) / step[0] - 0.5, (middle[1] + 0.5) / step[1] - 0.5
        if centred:
            starts = [_starts(padded[i], item[i], middle[i], multiple, overlap) for i in (0, 1)]
        else:
            starts = [_fewest(padded[i], item[i], middle[i], multiple, overlap) for i in (0, 1)]
        first = starts[0][0], starts[1][0]
        tiles = sorted(product(*starts), key=lambda tile: hypot(tile[0] - first[0], tile[1] - first[1]))
        return cls(plane, inner, padded, item, middle, tuple(_pair(tile) for tile in tiles), step)

    def to_model(self, frames: NDArray[Any], known: Bools) -> tuple[Floats, Bools]:
        """Map planes to the model.

        Args:
            frames: Values (n, H, W); hidden ones are not used.
            known: Bool (n, H, W), True = given.

        Returns:
            `x` (n, h', w') float32, 0 where hidden, and `known` (n, h', w'); the padding is hidden.
        """
        if frames.shape != known.shape or frames.shape[1:] != self.plane:
            facts = f"{frames.shape}, {known.shape}, window {self.plane}"
            raise DataError("shape-mismatch", "scan", "frames and known do not fit the window", facts)
        x = np.where(known, frames, 0).astype(np.float32)
        if self.step is not None:
            rows, cols = (_weights(m, n, s) for m, n, s in zip(self.inner, self.plane, self.step, strict=True))
            # The same matrices with 1 for each weight count the hidden pixels in a new one: where there is none, it is
            # known.
            seen = _apply((rows > 0).astype(np.float32), (cols > 0).astype(np.float32), ~known)
            known = seen == 0
            x = np.where(known, _apply(rows, cols, x), np.float32(0))
        margin = [(0, 0), *((0, p - n) for p, n in zip(self.padded, self.inner, strict=True))]
        return np.pad(x, margin), np.pad(known, margin)

    def to_native(self, x: NDArray[Any]) -> Floats:
        """Map model planes (n, h', w') back to the scan: (n, H, W) float32, without the padding."""
        if x.shape[1:] != self.padded:
            facts = f"{x.shape[1:]}, window {self.padded}"
            raise DataError("shape-mismatch", "model", "the result does not fit the window", facts)
        inner = x[:, : self.inner[0], : self.inner[1]].astype(np.float32)
        if self.step is None:
            return inner
        sizes = zip(self.plane, self.inner, self.step, strict=True)
        rows, cols = (_weights(n, m, 1 / s) for n, m, s in sizes)
        return _apply(rows, cols, inner)

    def offset(self, tile: Pair) -> tuple[float, float]:
        """Return how far the tile's centre lies from the heart's centre (down, right), in items."""
        row, col = ((start + (n - 1) / 2 - c) / n for start, n, c in zip(tile, self.item, self.centre, strict=True))
        return row, col


def _pair(values: Any) -> Pair:  # noqa: ANN401 - any iterable of two integers
    first, second = values
    return int(first), int(second)


def _check(
    plane: Pair, spacing: tuple[float, float], item: Pair, item_spacing: float, multiple: int, overlap: int
) -> None:
    if min(*plane, *item) < 1:
        raise DataError("dims", "window", "planes and items need a positive size", f"{plane}, {item}")
    if not all(isfinite(s) and s > 0 for s in (*spacing, item_spacing)):
        raise DataError("spacing", "window", "pixel sizes must be positive", f"{spacing}, {item_spacing} mm")
    if overlap < 0 or not 1 <= multiple <= min(item) - overlap:
        what = f"multiple and overlap must leave a step between tiles of {item[0]} x {item[1]}"
        raise UsageError("range", "window", what, f"multiple {multiple}, overlap {overlap}")


def _keeps_native(spacing: tuple[float, float], item_spacing: float, resample: Resample) -> bool:
    near = all(NATIVE_RATIO[0] <= s / item_spacing <= NATIVE_RATIO[1] for s in spacing)
    square = max(spacing) / min(spacing) <= ISOTROPIC
    return resample == "native" or (resample == "auto" and near and square)


def _starts(length: int, item: int, centre: float, multiple: int, overlap: int) -> list[int]:
    """Return the starts of tiles along one axis, the one centred on `centre` first."""
    last = length - item
    # On whole patches of the tokenizer: what a tile cut off a patch would be lost as known.
    first = min(max(multiple * floor((centre - (item - 1) / 2) / multiple + 0.5), 0), last)
    stride = (item - overlap) // multiple * multiple
    others = [*range(first - stride, -stride, -stride), *range(first + stride, last + stride, stride)]
    return list(dict.fromkeys([first, *(min(max(start, 0), last) for start in others)]))


def _fewest(length: int, item: int, centre: float, multiple: int, overlap: int) -> list[int]:
    """Return the starts of the fewest tiles that cover one axis, evenly spread, that nearest to `centre` first."""
    last, stride = length - item, (item - overlap) // multiple * multiple
    number = -(-last // stride)
    starts = [last * i // max(number, 1) // multiple * multiple for i in range(number + 1)]
    return sorted(starts, key=lambda start: abs(start + (item - 1) / 2 - centre))


@lru_cache(maxsize=64)
def _weights(out: int, size: int, step: float) -> Floats:
    """Return the (out, size) matrix of linear interpolation at every `step` pixels, pixel edges aligned.

    The kernel is a triangle as wide as the coarser of the two pixels, so that reducing does not alias.
    """
    centres = (np.arange(out) + 0.5) * step - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(size)[None, :] - centres[:, None]) / max(1.0, step))
    weights[weights < 1e-6] = 0  # float noise must not make a pixel count as seen
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    # Shared by all who ask: nobody may write to it.
    weights.flags.writeable = False
    return np.asarray(weights)


def _apply(rows: Floats, cols: Floats, x: NDArray[Any]) -> Floats:
    """Apply one matrix to the rows and one to the columns of each plane."""
    return np.asarray(rows @ x.astype(np.float32) @ cols.T, dtype=np.float32)


def heart_centre(voxels: Cine, known: Bools) -> tuple[float, float]:
    """Find the heart by what moves: the centroid of the pixels that change most over time (15 % at most).

    Each of them weighs the same, so that bright fat and blood do not pull, but for a Gaussian around the plane's
    centre, where a short-axis scan is planned. The estimate is rough (20 mm from the left ventricle's centre is usual:
    the right ventricle moves more), and rougher where a mask hides the heart in all frames.

    Args:
        voxels: The scan (t, z, y, x); hidden voxels are not used.
        known: Bool of the same shape, True = given.

    Returns:
        (row, col) in pixels; the plane's centre for a single frame, for a scan in which nothing moves, and where fewer
        than 5 % of the pixels are known in two frames.
    """
    plane = voxels.shape[2:]
    centre = (plane[0] - 1) / 2, (plane[1] - 1) / 2
    motion, seen = np.zeros(plane), np.zeros(plane)
    for z in range(voxels.shape[1]):
        values, weights = _variance(voxels, known, z)
        motion, seen = motion + values, seen + weights
    if np.mean(seen > 0) < 0.05:
        return centre
    # Normalised convolution (Knutsson and Westin, CVPR 1993): what is hidden has no weight in the mean around it.
    weight = gaussian_filter(seen, 2.0)
    motion = np.where(weight > 0.01, gaussian_filter(motion, 2.0) / np.maximum(weight, 0.01), 0)
    # The 15 % that move most, as far as they move at all: 2 % of the strongest motion is noise.
    most, noise = np.percentile(motion[weight > 0.01], [85, 99]) * (1, 0.02)
    moving = (motion >= most) & (motion > noise)
    rows, cols = np.nonzero(moving)
    if rows.size == 0:
        return centre
    near = np.exp(-(((rows - centre[0]) / plane[0]) ** 2 + ((cols - centre[1]) / plane[1]) ** 2) / (2 * PRIOR**2))
    return float(np.average(rows, weights=near)), float(np.average(cols, weights=near))


def _variance(voxels: Cine, known: Bools, z: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the variance of a slice over its known frames (h, w) and where there are two or more (0 or 1)."""
    plane = known.shape[2:]

    def frame(t: int) -> NDArray[np.float64]:
        return np.where(known[t, z], voxels[t, z], 0).astype(np.float64)

    count, total, squares, spread = np.zeros(plane, int), np.zeros(plane), np.zeros(plane), np.zeros(plane)
    for t in range(len(known)):
        values = frame(t)
        count, total, squares = count + known[t, z], total + values, squares + values**2
    # A second pass: as a difference of two large sums the variance of a still pixel would be all rounding.
    mean = total / np.maximum(count, 1)
    for t in range(len(known)):
        spread += (frame(t) - mean) ** 2 * known[t, z]
    seen = count >= 2
    moved = seen & (spread > 1e-12 * squares)  # not the rounding of a constant
    return np.where(moved, spread / np.maximum(count - 1, 1), 0), seen.astype(np.float64)
