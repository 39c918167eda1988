"""Voxels as text within a page: whole numbers of 16 bits, what they differ by from others, deflated, in base64.

A value is `low + step * number`. Of whole numbers that fit `step` is 1 and nothing is lost; else it is a 65535th of the
range.
"""

import base64
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.orientation import Orientation
from cmrgz.data.planes import Cine
from cmrgz.viewer.cuts import Bools, Cut

Numbers = NDArray[np.uint16]
LARGEST = 2**16 - 1
LEVEL = 1
"""Of deflating: higher ones take up to twice the time to save a twentieth."""
COARSE = 2**8 - 1
"""Largest number of a spread: its last digits say nothing, and take most of the room."""


@dataclass(frozen=True)
class Code:
    """How values are numbers: `low + step * number`."""

    low: float
    step: float

    @classmethod
    def of(cls, cines: Iterable[Cine], cut: Cut) -> "Code":
        """Return the finest code that holds all values that are shown of some cines."""
        low, high, integral = math.inf, -math.inf, True
        for cine in cines:
            for t in cut.t:
                for z in cut.z:
                    plane = cut.plane(cine[t, z])
                    low, high = min(low, float(plane.min())), max(high, float(plane.max()))
                    integral = integral and bool((plane == np.rint(plane)).all())
        return cls(low, 1.0) if integral and high - low <= LARGEST else cls(low, (high - low) / LARGEST or 1.0)

    @classmethod
    def of_spread(cls, cine: Cine, cut: Cut) -> "Code":
        """Return a coarse code from 0 to the largest value that is shown."""
        most = max(float(cut.plane(cine[t, z]).max()) for t in cut.t for z in cut.z)
        return cls(0.0, most / COARSE if most > 0 else 1.0)

    def numbers(self, cine: Cine, cut: Cut, orientation: Orientation) -> Numbers:
        """Return what is shown of a cine, turned, (t, z, rows, columns)."""
        return np.stack([np.stack([self._plane(cine[t, z], cut, orientation) for z in cut.z]) for t in cut.t])

    def _plane(self, plane: NDArray[np.float32], cut: Cut, orientation: Orientation) -> Numbers:
        number = np.rint((cut.plane(plane).astype(np.float64) - self.low) / self.step)
        return orientation.apply(np.clip(number, 0, LARGEST).astype(np.uint16))


def packed(numbers: Numbers, base: Numbers | None = None) -> str:
    """Return numbers (t, z, rows, columns) as text: what they differ by from `base`, or from the phase before.

    Differences 0, -1, 1, -2 ... modulo 2^16 are written as 0, 1, 2, 3 ...: first all low bytes, then all high ones.
    """
    apart = np.concatenate([numbers[:1], np.diff(numbers, axis=0)]) if base is None else numbers - base
    folded = (apart << 1) ^ (apart.astype(np.int16) >> 15).astype(np.uint16)
    low, high = (folded & 0xFF).astype(np.uint8), (folded >> 8).astype(np.uint8)
    return _text(low.tobytes() + high.tobytes())


def packed_mask(hidden: Bools, cut: Cut, orientation: Orientation) -> str:
    """Return what is hidden of what is shown, a bit a voxel, the first one the highest of its byte."""
    shown = [[orientation.apply(cut.plane(hidden[t, z])) for z in cut.z] for t in cut.t]
    return _text(np.packbits(np.array(shown)).tobytes())


def _text(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, LEVEL)).decode()
