"""A cine that is made plane by plane when it is asked for, so that it is never whole in memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Planes:
    """A cine (t, z, y, x) by its planes; `planes[t, z]` is one, as of an array, but made anew each time.

    Attributes:
        shape: (t, z, y, x).
        dtype: Of the planes.
        make: From (t, z) to a plane (y, x) of that type.
    """

    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    make: Callable[[int, int], NDArray[Any]]

    def __getitem__(self, place: tuple[int, int]) -> NDArray[Any]:
        return self.make(*place)

    def whole(self) -> NDArray[Any]:
        """Return the whole cine as an array."""
        out = np.empty(self.shape, self.dtype)
        for place in np.ndindex(self.shape[:2]):
            out[place] = self[place]
        return out


Cine = NDArray[Any] | Planes
"""A cine (t, z, y, x) of which `cine[t, z]` is a plane."""
