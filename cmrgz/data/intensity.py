"""Intensity: scanner units <-> the range [-1, 1] of models, with a scale that only known voxels decide.

The scale is fitted once per scan: 0 (or the 0.5th percentile where values are negative) to the 99.5th percentile.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.errors import DataError

HIGH_PERCENTILE = 99.5
LOW_PERCENTILE = 0.5


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
    def fit(cls, voxels: NDArray[Any], known: NDArray[np.bool_]) -> "Scale":
        """Fit the scale to the known voxels; hidden ones cannot influence it, be they NaN.

        Args:
            voxels: Intensities of any shape and real type.
            known: Bool of the same shape, True = given.

        Returns:
            The scale; `UNKNOWN` when nothing is known.

        Raises:
            DataError: `shape-mismatch`, or `nonfinite` for a known voxel that is NaN or infinite.
        """
        if voxels.shape != known.shape:
            facts = f"{voxels.shape}, {known.shape}"
            raise DataError("shape-mismatch", "known", "scan and known differ in shape", facts)
        values = voxels[known]
        if values.size == 0:
            return UNKNOWN
        least, most = float(values.min()), float(values.max())
        if not (np.isfinite(least) and np.isfinite(most)):
            raise DataError("nonfinite", "scan", "a known voxel is NaN or infinite")
        if least == most:
            return cls(least, most)
        low, high = (float(p) for p in np.percentile(values, [LOW_PERCENTILE, HIGH_PERCENTILE], overwrite_input=True))
        low = 0.0 if least >= 0 else low
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
