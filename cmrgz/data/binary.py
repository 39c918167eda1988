"""Which voxels of a mask are 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.planes import Planes
from cmrgz.errors import DataError

ROUNDING = 1e-3
"""How far the values of a mask may lie from 0 and from its largest, in parts of that."""


def ones_of(stored: NDArray[Any], slope: float, inter: float, where: str) -> NDArray[np.bool_]:
    """Return which voxels of a mask are 1, or as much more as it was scaled by: 255 and rounding are no matter.

    Raises:
        DataError: `mask-values`.
    """
    plain = slope == 1 and inter == 0
    planes = Planes(stored.shape, stored.dtype, lambda t, z: stored[t, z] if plain else stored[t, z] * slope + inter)
    places = list(np.ndindex(stored.shape[:2]))
    top = max(1.0, *(float(planes[place].max()) for place in places))
    # Plain integers are compared exactly; a scale such as 1/255 leaves 0.9999 in place of 1.
    near = 0.0 if plain and stored.dtype.kind in "iu" else ROUNDING * top
    ones = np.empty(stored.shape, dtype=bool)
    for place in places:
        values = planes[place]
        ones[place] = values >= top - near
        if not (ones[place] | ((values <= near) & (values >= -near))).all():
            raise DataError("mask-values", where, "a mask holds 0 and 1 only", "", "is this the mask, not the scan?")
    return ones
