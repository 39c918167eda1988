"""Which way a plane lies: scans are shown to a model as a reader sees them, columns to the patient's left, rows down.

Storage turns and mirrors planes (a short-axis stack may come with rows to the right and columns to the feet); a heart
has a side, so a model must not see it turned. Only axes are swapped or reversed: no value changes.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.geometry import Geometry

LEFT = np.array([-1.0, 0.0, 0.0])
DOWN = np.array([0.0, -1.0, -1.0]) / np.sqrt(2)
"""Rows of a short-axis view go to the back and the feet (RAS axes)."""

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Orientation:
    """How to turn stored planes (..., y, x) into the reader's view.

    Attributes:
        swap: Exchange rows and columns, first.
        up: Reverse the rows, then.
        mirror: Reverse the columns, then.
    """

    swap: bool = False
    up: bool = False
    mirror: bool = False

    @classmethod
    def of(cls, affine: NDArray[np.floating[Any]]) -> "Orientation":
        """Return the orientation of voxels whose axes x, y, z an affine (4, 4) maps to RAS; the nearest of eight."""
        x, y = (affine[:3, axis] / np.linalg.norm(affine[:3, axis]) for axis in (0, 1))

        def fit(orientation: "Orientation") -> float:
            columns, rows = (y, x) if orientation.swap else (x, y)
            signs = (-1 if orientation.mirror else 1, -1 if orientation.up else 1)
            return float(signs[0] * columns @ LEFT + signs[1] * rows @ DOWN)

        # Of equals the first, which turns least: planes at just 45 degrees are shown one way, whoever asks.
        return max((cls(*flags) for flags in product((False, True), repeat=3)), key=fit)

    @classmethod
    def of_geometry(cls, geometry: Geometry) -> "Orientation":
        """Return the orientation of a scan; as stored where the file does not say how it lies."""
        return cls.of(geometry.affine) if geometry.sform_code or geometry.qform_code else cls()

    def apply(self, planes: NDArray[T]) -> NDArray[T]:
        """Return planes (..., y, x) as a reader sees them; a view."""
        planes = planes.swapaxes(-1, -2) if self.swap else planes
        planes = planes[..., ::-1, :] if self.up else planes
        return planes[..., ::-1] if self.mirror else planes

    def point(self, point: tuple[float, float], plane: tuple[int, int]) -> tuple[float, float]:
        """Return where `apply` takes a point (row, column) of a stored plane of shape (rows, columns)."""
        (row, column), (height, width) = (point[::-1], plane[::-1]) if self.swap else (point, plane)
        return (height - 1 - row if self.up else row, width - 1 - column if self.mirror else column)

    def edges(self, spacing: tuple[float, float, float]) -> tuple[float, float]:
        """Return the pixel size (rows, columns) of planes as `apply` turns them, of voxels (z, y, x)."""
        _, y, x = spacing
        return (x, y) if self.swap else (y, x)

    def undo(self, planes: NDArray[T]) -> NDArray[T]:
        """Return planes (..., y, x) as they were stored; the inverse of `apply`."""
        planes = planes[..., ::-1] if self.mirror else planes
        planes = planes[..., ::-1, :] if self.up else planes
        return planes.swapaxes(-1, -2) if self.swap else planes
