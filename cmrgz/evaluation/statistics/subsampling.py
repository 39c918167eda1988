"""Intervals from halves of the subjects, for numbers that repeated images would bias: the Frechet distance."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.evaluation.statistics.bootstrap import LEVEL, Interval

OfSubjects = Callable[[NDArray[np.int64]], Any]
"""From the numbers of the chosen subjects (m,), each once, to a number."""


def subsampled(
    function: OfSubjects, n: int, share: float = 0.5, splits: int = 200, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Return an interval of a number of n subjects from its spread over subsets drawn without replacement.

    The spread over subsets of m is scaled by `sqrt(m / (n - m))`, which makes it that of n subjects: subsets of so many
    of the n overlap, and with `sqrt(m / n)`, which is right for small m / n, halves would give intervals that are 30 %
    too narrow. Quantiles are taken around the mean of the subsets, since the bias of a Frechet distance depends on
    the number of images: the interval is of its expectation at this n. Politis and Romano 1994,
    doi:10.1214/aos/1176325770; Shao and Wu 1989, doi:10.1214/aos/1176347263 (the delete-d jackknife).

    Args:
        function: From chosen subjects to the number.
        n: Subjects; fewer than 4 give no limits.
        share: Of the subjects in a subset, m = round(share n).
        splits: Subsets.
        level: Of confidence.
        seed: Of the subsets.
    """
    everybody = np.arange(n)
    point = float(function(everybody)) if n else np.nan
    m = round(share * n)
    if n < 4 or not 1 < m < n:
        return Interval(point, np.nan, np.nan, n, level, "too few subjects")
    rng = np.random.default_rng(seed)
    found = np.array([function(np.sort(rng.permutation(n)[:m])) for _ in range(splits)], dtype=np.float64)
    if not np.isfinite([point, *found]).all():
        return Interval(point, np.nan, np.nan, n, level, "not defined in each subset")
    away = (m / (n - m)) ** 0.5 * (found - found.mean())
    below, above = np.quantile(away, [(1 - level) / 2, (1 + level) / 2])
    return Interval(point, point - float(above), point - float(below), n, level)
