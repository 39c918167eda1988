"""A finer grid of a scan: new slices between those that are there, new phases between those that are there.

What was recorded stays where it is, to the bit: the first plane and the last lie where they lay, and between two
neighbours lie as many new ones as the factor less one. The phases of a full cycle are a ring: behind the last, too,
new ones lie before the first comes again.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.geometry import Geometry, check_affine, version_for
from cmrgz.data.scan import Scan
from cmrgz.errors import UsageError

WHERE = "option --refine"
MOST = 8
"""Largest factor: of slices 10 mm apart it makes some about as far apart as their pixels."""
WORDS = {"z": "slice", "t": "phase"}

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Finer:
    """How many times finer a grid becomes.

    Attributes:
        z: Along slices, 1 to 8.
        t: Along phases, 1 to 8.
    """

    z: int = 1
    t: int = 1

    @classmethod
    def of(cls, words: Iterable[str]) -> "Finer":
        """Read `z=2` and `t=2`.

        Raises:
            UsageError: `unknown-key` for another axis, `range` for a factor that is none, `usage` for an axis twice.
        """
        factors: dict[str, int] = {}
        for word in words:
            axis, _, text = (part.strip() for part in word.partition("="))
            if axis not in WORDS:
                hint = "z=2 makes new slices, t=2 new phases"
                raise UsageError("unknown-key", WHERE, f"no axis '{axis}'", hint=hint)
            if axis in factors:
                raise UsageError("usage", WHERE, f"'{axis}' is given twice")
            if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not 2 <= int(text) <= MOST:
                what = f"how many times finer is a whole number 2 .. {MOST}"
                raise UsageError("range", WHERE, what, f"got '{word}'", f"for example {axis}=2")
            factors[axis] = int(text)
        return cls(**factors)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes along which there is something new."""
        return tuple(axis for axis in WORDS if getattr(self, axis) > 1)

    def refined(self, scan: Scan, known: Bools, cycle: bool) -> tuple[Scan, Bools]:
        """Return a scan on the finer grid, 0 in its new planes, and what of it is known: nothing of these.

        Args:
            scan: As it was recorded.
            known: (t, z, y, x) bool, True = given.
            cycle: The phases are a full cycle.

        Raises:
            UsageError: `usage`: the scan has one slice, or one phase, or nowhere to say how far its slices are apart.
            DataError: `spacing`: the new slices would be too near to one another.
        """
        for axis, count in zip("tz", scan.shape, strict=False):
            if getattr(self, axis) > 1 and count < 2:
                what = f"the scan has one {WORDS[axis]}: there is nothing between it and the next"
                raise UsageError("usage", WHERE, what)
        t, z, y, x = scan.shape
        shape = (t * self.t if cycle else (t - 1) * self.t + 1, (z - 1) * self.z + 1, y, x)
        stored, given = np.zeros(shape, scan.stored.dtype), np.zeros(shape, dtype=bool)
        stored[:: self.t, :: self.z], given[:: self.t, :: self.z] = scan.stored, known
        geometry = replace(self._placed(scan.geometry), version=max(scan.geometry.version, version_for(shape)))
        return Scan(stored, scan.slope, scan.inter, geometry, scan.finer * self.t), given

    def _placed(self, geometry: Geometry) -> Geometry:
        """Return where the finer grid lies: its origin, and the direction of its slices, are those of the scan."""
        slices, time = geometry.axes.index("z"), geometry.axes.index("t")
        if self.z > 1 and slices == 3:
            what = "slices on the fourth axis of the file have no distance there"
            raise UsageError("usage", WHERE, what, f"axes {geometry.axes}", "store them on the third")
        affine, sform, edges = geometry.affine.copy(), geometry.sform.copy(), list(geometry.pixdim)
        affine[:, 2] /= self.z
        check_affine(affine, WHERE)
        if self.z > 1:
            sform[:, slices] /= self.z
            # A quaternion has no lengths: the qform follows by pixdim alone.
            edges[slices] /= self.z
        if not math.isnan(geometry.frame_time):
            edges[time] /= self.t
        return replace(geometry, affine=affine, sform=sform, pixdim=(edges[0], edges[1], edges[2], edges[3]))
