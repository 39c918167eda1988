"""The kernel distance (KID) as a statistic of subjects, so that it can be resampled without its images.

A subject's frames resemble one another, so subjects are drawn, not images. A subject that is drawn twice must not be
compared with its own copy: those pairs would be counted as alike and every resample would look better or worse than the
data. Pairs of copies are left out here, which keeps the estimate unbiased in each resample.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.errors import DataError
from cmrgz.evaluation.statistics.bootstrap import Statistic

Floats = NDArray[np.float64]
Kernel = Callable[[Floats, Floats], Floats]


def polynomial(x: Floats, y: Floats) -> Floats:
    """Return `(x . y / d + 1)^3`: (n, d), (m, d) -> (n, m). Binkowski et al. 2018, arXiv:1801.01401."""
    return (x @ y.T / x.shape[1] + 1) ** 3


@dataclass(frozen=True)
class Pairs:
    """Sums of a kernel over the pairs of items of two subjects: (n, n), and how many pairs those are: (n, n)."""

    sums: Floats
    counts: Floats

    def mean(self, weights: Floats) -> Floats:
        """Return the mean over all pairs, subjects weighted (b, n) -> (b,), without pairs of a subject's copies."""
        return _weighted(self.sums, weights) / _weighted(self.counts, weights)


def _weighted(sums: Floats, weights: Floats) -> Floats:
    own = np.diag(sums)
    return ((weights @ (sums - np.diag(own))) * weights).sum(1) + weights @ own


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
    generated: NDArray[Any],
    of_generated: Sequence[str],
    real: NDArray[Any],
    of_real: Sequence[str],
    kernel: Kernel = polynomial,
) -> Resampled:
    """Return the unbiased squared kernel distance (KID, not times 1000) as a statistic of subjects.

    With each subject counted once it is `mean k(g, g') + mean k(r, r') - 2 mean k(g, r)`, pairs of an item with itself
    left out. Needs two items or more of each set. Samples drawn without a subject get one for bookkeeping (that of the
    cell they were drawn in).

    Args:
        generated: Features (n, d).
        of_generated: The subject of each, (n,).
        real: Features (m, d).
        of_real: The subject of each, (m,).
        kernel: From (a, d), (b, d) to (a, b).

    Raises:
        DataError: `shape-mismatch`.
    """
    if len(generated) != len(of_generated) or len(real) != len(of_real) or generated.shape[1:] != real.shape[1:]:
        facts = f"{generated.shape} of {len(of_generated)}, {real.shape} of {len(of_real)}"
        raise DataError("shape-mismatch", "kernel distance", "features and their subjects differ in number", facts)
    names = sorted({*of_generated, *of_real})
    g, r = generated.astype(np.float64), real.astype(np.float64)
    in_g, in_r = _members(of_generated, names), _members(of_real, names)
    gg, rr = _within(g, in_g, kernel), _within(r, in_r, kernel)
    gr = Pairs(_sums(g, in_g, r, in_r, kernel), np.outer(in_g.sum(0), in_r.sum(0)))
    return Resampled(tuple(names), lambda w: gg.mean(w) + rr.mean(w) - 2 * gr.mean(w))


def _members(owners: Sequence[str], names: Sequence[str]) -> Floats:
    """Return which item belongs to whom: (n, subjects), 0 or 1."""
    return (np.asarray(owners)[:, None] == np.asarray(names)).astype(np.float64)


def _sums(x: Floats, in_x: Floats, y: Floats, in_y: Floats, kernel: Kernel) -> Floats:
    """Return the kernel summed over the items of each pair of subjects, a subject at a time to bound memory."""
    return np.stack([kernel(x[mine > 0], y).sum(0) @ in_y for mine in in_x.T])


def _within(x: Floats, members: Floats, kernel: Kernel) -> Pairs:
    count = members.sum(0)
    own = np.array([np.trace(kernel(x[mine > 0], x[mine > 0])) for mine in members.T])
    return Pairs(_sums(x, members, x, members, kernel) - np.diag(own), np.outer(count, count) - np.diag(count))
