"""The kernel distance (KID) as a statistic of subjects, so that it can be resampled without its images.

A subject's frames resemble one another, so subjects are drawn, not images. A subject that is drawn twice must not be
compared with its own copy: the pairs would count as alike, and every resample would look better or worse than the data.
All pairs of one subject are left out, copies or not, which keeps the estimate unbiased in each resample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.errors import DataError
from cmrgz.evaluation.metrics.sets.kernels import SCALE, polynomial
from cmrgz.evaluation.statistics.bootstrap import Floats, Statistic


@dataclass(frozen=True)
class Resampled:
    """A number of a set of images as a statistic of the subjects they belong to.

    Attributes:
        subjects: Their names, n of them.
        of: From weights (b, n) to (b,).
    """

    subjects: tuple[str, ...]
    of: Statistic

    def among(self, subjects: Sequence[str]) -> Statistic:
        """Return the statistic for weights of some of the subjects (b, m); the others count 0 times.

        Raises:
            DataError: `shape-mismatch` for a subject that is not one of these.
        """
        missing = sorted(set(subjects) - set(self.subjects))
        if missing:
            raise DataError("shape-mismatch", "statistics", "a subject has no images", missing[0])
        columns = [self.subjects.index(s) for s in subjects]

        def statistic(weights: Floats) -> Floats:
            full = np.zeros((len(weights), len(self.subjects)))
            full[:, columns] = weights
            return self.of(full)

        return statistic


def kernel_distance(
    generated: NDArray[Any], of_generated: Sequence[str], real: NDArray[Any], of_real: Sequence[str]
) -> Resampled:
    """Return the kernel distance x 1000 as a statistic of subjects.

    With each subject counted once it is `metrics.sets.kernels.kid` with subjects. Samples that were drawn for nobody
    belong to the subject of the cell that they were drawn in. NaN where fewer than two subjects count.

    Args:
        generated: Features (n, d).
        of_generated: The subject of each, (n,).
        real: Features (m, d).
        of_real: The subject of each, (m,).

    Raises:
        DataError: `shape-mismatch`.
    """
    if len(generated) != len(of_generated) or len(real) != len(of_real) or generated.shape[1:] != real.shape[1:]:
        facts = f"{generated.shape} of {len(of_generated)}, {real.shape} of {len(of_real)}"
        raise DataError("shape-mismatch", "kernel distance", "features and their subjects differ in number", facts)
    names = sorted({*of_generated, *of_real})
    g, r = generated.astype(np.float64), real.astype(np.float64)
    in_g, in_r = _members(of_generated, names), _members(of_real, names)
    gg, rr, gr = (_mean(*pair) for pair in ((g, in_g, g, in_g), (r, in_r, r, in_r), (g, in_g, r, in_r)))
    return Resampled(tuple(names), lambda weights: SCALE * (gg(weights) + rr(weights) - 2 * gr(weights)))


def _members(owners: Sequence[str], names: Sequence[str]) -> Floats:
    """Return which item belongs to whom: (n, subjects), 0 or 1."""
    return (np.asarray(owners)[:, None] == np.asarray(names)).astype(np.float64)


def _mean(x: Floats, in_x: Floats, y: Floats, in_y: Floats) -> Statistic:
    """Return the mean of the kernel over pairs of different subjects."""
    # the sums over pairs of two subjects say all: a resample is a quadratic form of them
    sums = np.stack([polynomial(x[mine > 0], y).sum(0) @ in_y for mine in in_x.T])
    counts = np.outer(in_x.sum(0), in_y.sum(0))
    # a subject beside itself, or beside its own copy in a resample, is no pair
    for pairs in (sums, counts):
        np.fill_diagonal(pairs, 0)
    return lambda weights: ((weights @ sums) * weights).sum(1) / ((weights @ counts) * weights).sum(1)
