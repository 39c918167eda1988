"""Kernel distances between sets: KID and an RBF maximum mean discrepancy. Both unbiased: 0 on average under the null.

`MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y)`, the first two over pairs of different items. Frames of one
patient are no independent draws, and a completed frame is none beside its own truth: where subjects are given, all
three means are over pairs of different subjects, and the estimate is unbiased for a new patient.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cmrgz.evaluation.metrics.base import Floats
from cmrgz.evaluation.metrics.sets.base import Subjects, subset

Kernel = Callable[[Floats, Floats], Floats]
"""From (a, d) and (b, d) to (a, b)."""
SCALE = 1000
ROWS = 1024  # of a kernel matrix held at a time


def polynomial(x: Floats, y: Floats) -> Floats:
    """Return the cubic kernel `(x.y / d + 1)^3`: (n, m) for x (n, d) and y (m, d)."""
    base = x @ y.T
    base /= x.shape[1]
    base += 1
    return base * base * base  # a power of an array is slow


def gaussian(x: Floats, y: Floats, sigma: float) -> Floats:
    """Return the kernel `exp(-|x - y|^2 / (2 sigma^2))`: (n, m) for x (n, d) and y (m, d)."""
    square = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    # what cancels can fall below 0 by a rounding
    return np.exp(-np.maximum(square, 0) / (2 * sigma**2))


def median_distance(real: Floats, most: int = 1000) -> float:
    """Return the median distance between reals (m, d), of at most `most` of them: the width of an RBF kernel."""
    from scipy.spatial.distance import pdist  # here: slow to import, see `calibration`

    return float(np.median(pdist(subset(real, most, seed=0))))


def mmd(x: Floats, y: Floats, kernel: Kernel, subjects: tuple[Subjects, Subjects] | None = None) -> float:
    """Return the unbiased squared maximum mean discrepancy of x (n, d) and y (m, d); NaN where a mean has no pair.

    Gretton et al. 2012, JMLR 13, equation 3; of unequal sizes. `subjects` says who x and y are of: pairs of one subject
    are left out. None: all items are of different subjects.
    """
    of_x, of_y = _codes(len(x), len(y), subjects)
    within = _mean(x, x, of_x, of_x, kernel) + _mean(y, y, of_y, of_y, kernel)
    return within - 2 * _mean(x, y, of_x, of_y, kernel)


def kid(generated: Floats, real: Floats, subjects: tuple[Subjects, Subjects] | None = None) -> float:
    """Return the kernel distance x 1000. Binkowski et al. 2018, arXiv:1801.01401.

    Of features (n, d) and (m, d), all items at once; `subjects` as for `mmd`.
    """
    # torchmetrics has the kernel and the estimate, but of random subsets, and knows no subjects
    return SCALE * mmd(generated, real, polynomial, subjects)


def rbf_mmd(
    generated: Floats, real: Floats, sigma: float | None = None, subjects: tuple[Subjects, Subjects] | None = None
) -> float:
    """Return the squared MMD of a Gaussian kernel x 1000, in features that need not be Gaussian.

    Jayasumana et al. 2024, arXiv:2401.09603. The width of the kernel is the median distance of the reals if None: never
    of the generated items, with which it would change from method to method. Other arguments as for `kid`.
    """
    width = median_distance(real) if sigma is None else sigma
    if width == 0:
        return math.nan
    return SCALE * mmd(generated, real, lambda x, y: gaussian(x, y, width), subjects)


def _codes(n: int, m: int, subjects: tuple[Subjects, Subjects] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a number for each item, equal for those of one subject."""
    if subjects is None:
        return np.arange(n), np.arange(n, n + m)
    of = np.unique(np.concatenate([np.asarray(s) for s in subjects]), return_inverse=True)[1]
    return of[:n], of[n:]


def _mean(x: Floats, y: Floats, of_x: NDArray[np.int64], of_y: NDArray[np.int64], kernel: Kernel) -> float:
    """Return the mean of the kernel over pairs of different subjects, NaN if there is none."""
    total, pairs = 0.0, 0
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        apart = of_x[rows, None] != of_y
        total += float(np.sum(kernel(x[rows], y), where=apart))
        pairs += int(apart.sum())
    return total / pairs if pairs else math.nan
