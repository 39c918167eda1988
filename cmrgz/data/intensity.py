"""Intensity: scanner units <-> the range [-1, 1] of models, with a scale that only known voxels decide.

The scale is fitted once per scan: 0 (or the 0.5th percentile where that is negative) to the 99.5th percentile, of what
is no padding and no isolated hot pixel. Both are rare, and of other scans every voxel counts.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.planes import Cine
from cmrgz.data.values import Values
from cmrgz.errors import DataError

PERCENTILES = (0.5, 98.0, 99.5)
"""The low end of signed scans, what is usual, and the high end."""
HOT = 3.0
"""A 99.5th percentile so many times the 98th is looked at: is it that of hot pixels?"""
CLUSTER = 2
"""Most hot pixels of 3 x 3 that are isolated ones: what is larger is anatomy, or a scar that enhances."""
EMPTY_SHARE = 1 / 2
"""Share of the voxels in rows, columns and slices of one value from which these are padding."""
FILL_SHARE = 0.01
"""Share of the voxels that have the lowest or the highest value from which that is padding, if it lies far off."""


@dataclass(frozen=True)
class Scale:
    """A linear map of intensities `low` .. `high` to -1 .. 1.

    With `low == high` (a constant image) everything maps to 0, and back to that constant.

    Attributes:
        low: Intensity that maps to -1.
        high: Intensity that maps to 1.
    """

    low: float
    high: float

    @classmethod
    def fit(cls, voxels: Cine, known: NDArray[np.bool_]) -> "Scale":
        """Fit the scale to the known voxels; hidden ones cannot influence it, be they NaN.

        Args:
            voxels: Intensities of any shape and real type, or the planes of a cine, which are not held together.
            known: Bool of the same shape, True = given.

        Returns:
            The scale; `UNKNOWN` when nothing is known.

        Raises:
            DataError: `shape-mismatch`, or `nonfinite` for a known voxel that is NaN or infinite.
        """
        if voxels.shape != known.shape:
            facts = f"{voxels.shape}, {known.shape}"
            raise DataError("shape-mismatch", "known", "scan and known differ in shape", facts)
        values = Values.of(voxels, known)
        limits = values.limits()
        if limits is None:
            return UNKNOWN
        least, most = limits
        if not (np.isfinite(least) and np.isfinite(most)):
            raise DataError("nonfinite", "scan", "a known voxel is NaN or infinite")
        if least == most:
            return cls(least, most)
        seen = _not_padding(values, least, most)
        low, usual, high = seen.percentiles(PERCENTILES)
        # Looked at where there is cause alone: every other scan keeps its scale to the bit.
        if high > HOT * usual > HOT * max(low, 0.0):
            low, usual, high = seen.left(partial(_not_isolated, above=HOT / 2 * usual)).percentiles(PERCENTILES)
        # The 0.5th percentile and not the minimum: one negative voxel does not make a scan signed. And 0 rather than a
        # percentile above it, or dark tissue would be cut off.
        low = min(low, 0.0)
        # nearly constant: hardly any voxel differs, so the percentiles fall together
        return cls(low, high) if high > low else cls(least, most)

    def to_unit(self, voxels: NDArray[Any]) -> NDArray[np.float32]:
        """Return float32 in [-1, 1], clipped; NaN (which only a hidden voxel can be) stays NaN."""
        if self.high <= self.low:
            return np.zeros(voxels.shape, dtype=np.float32)
        values = voxels if voxels.dtype == np.float64 else voxels.astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # hidden voxels may hold anything
            unit = (values - self.low) * (2 / (self.high - self.low)) - 1
        return np.asarray(np.clip(unit, -1, 1), dtype=np.float32)

    def from_unit(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return intensities, float32, of values in [-1, 1]."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return (np.asarray(x, dtype=np.float32) * np.float32(half) + np.float32(middle)).astype(np.float32)


UNKNOWN = Scale(0.0, 255.0)
"""The scale of a scan of which nothing is known: 0 .. 255, which every unsigned and every 16-bit type can hold."""


def _not_padding(values: Values, least: float, most: float) -> Values:
    """Return the values that are no padding: whole rows or slices of the lowest value, or a value far off."""
    inside = values.bounds(partial(_other, value=least))
    found = inside if inside.number < (1 - EMPTY_SHARE) * values.number else values
    # Programs fill with either end of the range: 0 or -32768, 4095 or 32767.
    for value in (least, most):
        rule = partial(_other, value=value)
        left = found.count(rule)
        if 0 < left <= (1 - FILL_SHARE) * found.number:
            rest = found.left(rule)
            found = rest if _is_far(rest, value) else found
    if found is values:
        return values
    low, high = found.limits() or (least, least)
    return found if low < high else values


def _other(plane: NDArray[Any], seen: NDArray[np.bool_], value: float) -> NDArray[np.bool_]:
    return np.asarray(seen & (plane != value))


def _is_far(values: Values, value: float) -> bool:
    """Return whether a value lies farther from others, all lower or all higher, than half the range of those."""
    low, _, high = values.percentiles(PERCENTILES)
    least, most = values.limits() or (value, value)
    return max(least - value, value - most) > (high - low) / 2 > 0


def _not_isolated(plane: NDArray[Any], seen: NDArray[np.bool_], above: float) -> NDArray[np.bool_]:
    """Return what is seen of a plane less what is hot and has hardly a hot pixel beside it."""
    hot = seen & (np.where(seen, plane, 0) > above)
    # Sums of shifted copies: scipy's correlate took 19 times as long for a plane, and this is done for all of them.
    padded = np.pad(hot, 1)
    count = np.zeros(hot.shape, np.int8)
    h, w = hot.shape
    for i in range(3):
        for j in range(3):
            count += padded[i : i + h, j : j + w]
    return np.asarray(seen & ~(hot & (count <= CLUSTER)))
