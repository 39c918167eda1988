"""Statistics of subjects as functions of how often each counts (see `bootstrap`)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from cmrgz.evaluation.statistics.bootstrap import Statistic

Floats = NDArray[np.float64]


def mean(values: Floats) -> Statistic:
    """Return the mean of (n,) values. Of paired differences it is the difference of means."""
    return lambda weights: (weights @ values) / weights.sum(1)


def ratio_of_means(over: Floats, under: Floats) -> Statistic:
    """Return `mean(over) / mean(under)` of (n,) values each, for example the calibration factor kappa."""
    return lambda weights: (weights @ over) / (weights @ under)


def combined(coefficients: Sequence[float] | Floats, statistics: Sequence[Statistic]) -> Statistic:
    """Return the sum of statistics times coefficients: a contrast of things resampled together."""
    return lambda weights: np.sum([c * s(weights) for c, s in zip(coefficients, statistics, strict=True)], axis=0)


def difference(first: Statistic, second: Statistic) -> Statistic:
    """Return `first - second`, both of the same subjects."""
    return combined((1, -1), (first, second))


def slopes(ratios: Sequence[float], values: Floats) -> Floats:
    """Return the least-squares slope of each subject over the ratios: (n,); NaN from fewer than two defined points.

    Args:
        ratios: (m,).
        values: (n, m), NaN where not defined.
    """
    given = np.isfinite(values)
    x = np.where(given, np.asarray(ratios, dtype=np.float64), np.nan)
    count = given.sum(1, keepdims=True)
    centred = x - np.nansum(x, 1, keepdims=True) / np.maximum(count, 1)
    scale = np.nansum(centred**2, 1)
    rise = np.nansum(centred * np.where(given, values, 0), 1)
    return np.where(scale > 0, rise / np.where(scale > 0, scale, 1), np.nan)


def slope(ratios: Sequence[float], statistics: Sequence[Statistic]) -> Statistic:
    """Return the least-squares slope of statistics over the ratios, for those that are not means (kappa, KID)."""
    x = np.asarray(ratios, dtype=np.float64)
    away = x - x.mean()
    return combined(away / (away**2).sum(), statistics)


def of_drawn(function: Callable[[NDArray[np.int64]], float]) -> Statistic:
    """Return a function of the numbers of the drawn subjects (n,), with repetitions, as a statistic: one call each."""

    def statistic(weights: Floats) -> Floats:
        every = np.arange(weights.shape[1])
        return np.array([function(np.repeat(every, row.astype(int))) for row in weights])

    return statistic


def spearman(x: Floats, y: Floats) -> Statistic:
    """Return Spearman's rank correlation over subjects of (n,) values each; ties have their mean rank."""
    ranks = _weighted_ranks(x), _weighted_ranks(y)

    def statistic(weights: Floats) -> Floats:
        a, b = (rank(weights) for rank in ranks)
        return _correlation(a, b, weights)

    return statistic


def rank_correlation(x: NDArray[Any], y: NDArray[Any]) -> Floats:
    """Return Spearman's rank correlation of each row: (b, m), (b, m) -> (b,); NaN for a constant row."""
    a, b = rankdata(x, axis=1), rankdata(y, axis=1)
    return _correlation(a, b, np.ones(a.shape))


def _weighted_ranks(values: Floats) -> Statistic:
    """Return the mean rank of each subject among the drawn ones: (b, n)."""
    less, equal = values < values[:, None], values == values[:, None]
    return lambda weights: weights @ less.T.astype(np.float64) + (weights @ equal.T.astype(np.float64) + 1) / 2


def _correlation(x: Floats, y: Floats, weights: Floats) -> Floats:
    total = weights.sum(1, keepdims=True)
    x, y = (v - (weights * v).sum(1, keepdims=True) / total for v in (x, y))
    spread = np.sqrt((weights * x**2).sum(1) * (weights * y**2).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 1e-12 * total[:, 0], (weights * x * y).sum(1) / spread, np.nan)
