"""A scan as it was read, whatever it was read from."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cmrgz.data.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Image:
    """A scan in memory. Values are `slope * stored + inter`.

    Attributes:
        stored: (x, y, z, t) on-disk values in native byte order, Fortran-ordered.
        slope: 1 where the file has no scaling.
        inter: 0 where the file has no scaling.
        geometry: Where the voxels lie.
    """

    stored: NDArray[Any]
    slope: float
    inter: float
    geometry: Geometry
