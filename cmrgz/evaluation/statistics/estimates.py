"""Statistics of subjects as functions of how often each counts (see `bootstrap`)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from cmrgz.evaluation.statistics.bootstrap import Floats, Statistic


def mean(values: Floats) -> Statistic:
    """Return the mean of (n,) values. Of paired differences it is the difference of means."""
    return lambda weights: (weights @ values) / weights.sum(1)


def ratio_of_means(over: Floats, under: Floats) -> Statistic:
    """Return `mean(over) / mean(under)` of (n,) values each, for example the calibration factor kappa."""
    # never a mean of ratios: a subject with next to no error would decide it
    return lambda weights: (weights @ over) / (weights @ under)


def combined(coefficients: Sequence[float] | Floats, statistics: Sequence[Statistic]) -> Statistic:
    """Return the sum of statistics times coefficients: a contrast of things resampled together."""
    return lambda weights: np.sum([c * s(weights) for c, s in zip(coefficients, statistics, strict=True)], axis=0)


def slopes(ratios: Sequence[float], values: Floats) -> Floats:
    """Return the least-squares slope of each subject (n, m) over the ratios (m,): (n,)."""
    return np.asarray(np.polyfit(ratios, values.T, 1)[0])


def rank_correlation(x: NDArray[Any], y: NDArray[Any]) -> Floats:
    """Return Spearman's rank correlation of each row: (b, m), (b, m) -> (b,); NaN for a constant row."""
    # scipy's spearmanr pairs every row with every other one, and there are 5,000; it also warns of constant ones
    a, b = (rank - rank.mean(1, keepdims=True) for rank in (rankdata(x, axis=1), rankdata(y, axis=1)))
    spread = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.divide((a * b).sum(1), spread, out=np.full(len(a), np.nan), where=spread > 0)
