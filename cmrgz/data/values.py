"""Some values of a cine, looked at plane by plane: their limits and percentiles, without all of them in memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.percentiles import percentiles
from cmrgz.data.planes import Cine, Planes

Bools = NDArray[np.bool_]
Rule = Callable[[NDArray[Any], Bools], Bools]
"""From a plane (y, x) and which of it is seen to what is left of that."""


@dataclass(frozen=True)
class Values:
    """The voxels of a cine that are seen.

    Attributes:
        cine: (t, z, y, x).
        seen: Bool of that shape.
    """

    cine: Cine
    seen: Bools

    @classmethod
    def of(cls, voxels: Cine, seen: Bools) -> "Values":
        """Return the seen voxels of a cine, or of an array of other axes, the last two of which are a plane."""
        if isinstance(voxels, Planes) or voxels.ndim == 4:
            return cls(voxels, seen)
        shape = (*(1,) * (4 - seen.ndim), *seen.shape) if seen.ndim < 4 else (1, -1, *seen.shape[-2:])
        return cls(voxels.reshape(shape), seen.reshape(shape))

    def planes(self) -> Iterator[tuple[NDArray[Any], Bools]]:
        """Yield each plane (y, x), and which of it is seen."""
        return ((self.cine[place], self.seen[place]) for place in np.ndindex(self.seen.shape[:2]))

    def parts(self) -> Iterator[NDArray[Any]]:
        """Yield the values (n,) of each plane."""
        return (plane[seen] for plane, seen in self.planes())

    def limits(self) -> tuple[float, float] | None:
        """Return the least and the largest value, None where there is none; NaN where one is NaN."""
        found = [(part.min(), part.max()) for part in self.parts() if part.size]
        return (float(np.min([low for low, _ in found])), float(np.max([high for _, high in found]))) if found else None

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """Return percentiles of the values, at least one, as `np.percentile` does."""
        # An array is in memory anyway, and numpy is faster; both give the same bits.
        if isinstance(self.cine, Planes) and self.cine.dtype == np.float32:
            return percentiles(self.parts, percents)
        return [float(p) for p in np.percentile(np.concatenate(list(self.parts())), percents, overwrite_input=True)]

    @property
    def number(self) -> int:
        """How many there are; the cine is not looked at."""
        return int(np.count_nonzero(self.seen))

    def count(self, rule: Rule) -> int:
        """Return how many values a rule leaves."""
        return sum(int(rule(plane, seen).sum()) for plane, seen in self.planes())

    def left(self, rule: Rule) -> "Values":
        """Return the values that a rule leaves."""
        seen = np.empty(self.seen.shape, dtype=bool)
        for place, (plane, own) in zip(np.ndindex(seen.shape[:2]), self.planes(), strict=True):
            seen[place] = rule(plane, own)
        return Values(self.cine, seen)

    def bounds(self, rule: Rule) -> "Values":
        """Return the values in phases, slices, rows and columns in which a rule leaves any."""
        hits = [np.zeros(n, dtype=bool) for n in self.seen.shape]
        for (t, z), (plane, own) in zip(np.ndindex(self.seen.shape[:2]), self.planes(), strict=True):
            kept = rule(plane, own)
            hits[2] |= kept.any(1)
            hits[3] |= kept.any(0)
            hits[0][t] |= kept.any()
            hits[1][z] |= kept.any()
        return self if all(hit.all() for hit in hits) else Values(self.cine, self.seen & _outer(hits))


def _outer(hits: Sequence[Bools]) -> Bools:
    """Return where (t, z, y, x) all of four axes are hit."""
    t, z, y, x = hits
    return np.asarray(t[:, None, None, None] & z[:, None, None] & y[:, None] & x)
