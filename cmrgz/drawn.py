"""What was drawn of a scan: of each sample the hidden voxels alone, and what they tell of the posterior.

The one place where what was drawn and what was given are put together: known voxels never change.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.intensity import Scale
from cmrgz.data.planes import Planes
from cmrgz.data.scan import Scan

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Place = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Drawn:
    """What was drawn. It holds the hidden voxels of each sample; known ones are those of the scan.

    Attributes:
        scan: What was given.
        known: (t, z, y, x) bool.
        hidden: Of each plane (t, z) that has hidden voxels these, (k, n) float32 in the scan's intensities, in raster
            order.
        number: How many samples k.
        items: Items drawn.
        network_calls: Calls of the model's network, each on a batch of items.
        scale: The intensities that the model saw as -1 and 1.
        compute_batch: Items per model call.
        pairs: To which antithetic pair each sample belongs, see `Setting.pairs`; empty where all are independent.
    """

    scan: Scan
    known: Bools
    hidden: Mapping[Place, Floats]
    number: int
    items: int
    network_calls: int
    scale: Scale
    compute_batch: int
    pairs: tuple[int, ...] = ()

    @property
    def samples(self) -> Floats:
        """All samples (k, t, z, y, x) float32, known voxels as given; made anew at each access, each a whole scan."""
        return np.stack([self.sample(k).whole() for k in range(self.number)])

    @property
    def mean(self) -> Floats:
        """The posterior mean (t, z, y, x), as far as k samples tell; known voxels as given."""
        return self.mean_planes.whole()

    @property
    def std(self) -> Floats:
        """The posterior standard deviation (t, z, y, x); 0 at known voxels and for one sample.

        Of antithetic pairs it is the root of half the mean squared difference of two samples of different pairs: those
        are independent, so that the variance has no bias, as it has none where all samples are. Of one pair alone it is
        half the difference: exact where the two are opposite about the mean, else too small, at worst by a root of two
        as long as they do not agree more than independent ones.
        """
        return self.std_planes.whole()

    def sample(self, k: int) -> Planes:
        """Return sample k, from 0 on, plane by plane, known voxels as given."""
        return self._planes(lambda values: values[k])

    @property
    def mean_planes(self) -> Planes:
        """The posterior mean plane by plane."""
        return self._planes(_mean)

    @property
    def std_planes(self) -> Planes:
        """The posterior standard deviation plane by plane."""

        def plane(t: int, z: int) -> Floats:
            out = np.zeros(self.known.shape[2:], np.float32)
            if (t, z) in self.hidden:
                out[~self.known[t, z]] = _std(self.hidden[t, z], self.pairs)
            return out

        return Planes(self.scan.shape, np.dtype(np.float32), plane)

    def stored(self, values: Planes) -> Planes:
        """Return `values`, a sample or the mean, as the scan's file stores them; known voxels are its own, to the bit.

        Not encoded anew: a value that went through scale and offset may come back as another.
        """
        scan, known = self.scan, self.known

        def plane(t: int, z: int) -> NDArray[Any]:
            if known[t, z].all():
                return scan.stored[t, z]
            return np.where(known[t, z], scan.stored[t, z], scan.encode(values[t, z]))

        return Planes(scan.shape, scan.stored.dtype, plane)

    def _planes(self, of: Callable[[Floats], Floats]) -> Planes:
        """Return the scan with something of the samples where it is hidden."""

        def plane(t: int, z: int) -> Floats:
            out = self.scan.plane(t, z)
            if (t, z) in self.hidden:
                out[~self.known[t, z]] = of(self.hidden[t, z])
            return out

        return Planes(self.scan.shape, np.dtype(np.float32), plane)


def _total(parts: Iterable[Floats]) -> Floats:
    """Return the sum (n,) of some parts, added one after the other: of few voxels as of many, to the bit."""
    # numpy chooses the order of a sum by the shape of the array, so that one voxel could have other last bits among few
    # than among many.
    first, *rest = parts
    total = first.copy()
    for part in rest:
        total += part
    return total


def _mean(samples: Floats) -> Floats:
    """Return the mean (n,) of samples (k, n)."""
    # About the first sample: where all agree, the mean is theirs to the bit.
    return samples[0] + _total(part - samples[0] for part in samples) / np.float32(len(samples))


def _std(samples: Floats, pairs: Sequence[int]) -> Floats:
    """Return the standard deviation (n,) of samples (k, n), see `Drawn.std`."""
    if len(samples) == 1:
        return np.zeros_like(samples[0])
    # All independent, or one pair alone: the usual formula serves both, but for its divisor.
    if len(set(pairs)) not in (1, len(pairs)):
        return _std_across(samples, pairs)
    apart = samples - samples[0]
    mean = _total(apart) / np.float32(len(samples))
    squares = _total(np.square(part - mean) for part in apart)
    return np.sqrt(squares / np.float32(len(samples) - (len(set(pairs)) != 1)))


def _std_across(samples: Floats, pairs: Sequence[int]) -> Floats:
    """Return the root of half the mean squared difference (n,) of samples (k, n) of different pairs.

    All differences less those within pairs: the work grows with k, not with its square.
    """
    k, number = len(samples), np.asarray(pairs)
    twice = [(i, i + 1) for i in np.flatnonzero(number[1:] == number[:-1])]
    mean = _total(samples) / np.float32(k)
    # Squared differences summed over all pairs of samples are k times those from the mean.
    every = k * _total(np.square(part - mean) for part in samples)
    within = _total(np.square(samples[i] - samples[j]) for i, j in twice)
    across = k * (k - 1) // 2 - len(twice)
    return np.asarray(np.sqrt(np.maximum(every - within, 0) / (2 * across)), dtype=np.float32)
