"""Pearson's correlation of two quantities over independent cases, with an interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr

FEWEST = 4  # cases from which on there is an interval


@dataclass(frozen=True)
class Correlation:
    """A correlation.

    Attributes:
        n: Cases of which both are known.
        r: Pearson's r; NaN for fewer than three, and where one of them is the same of all.
        interval: Its 95 % interval by Fisher's z (Fisher 1921, Metron 1:3); NaN for fewer than four cases.
        slope: By how much the second rises with the first.
    """

    n: int
    r: float = np.nan
    interval: tuple[float, float] = (np.nan, np.nan)
    slope: float = np.nan


def correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> Correlation:
    """Return how two quantities (n,) go together; cases of which one is NaN are left out."""
    both = np.isfinite(first) & np.isfinite(second)
    x, y, n = first[both], second[both], int(both.sum())
    if n < FEWEST - 1 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(n)
    found = pearsonr(x, y)
    # Fisher's z has the variance 1 / (n - 3): of three cases scipy gives (-1, 1), which tells a reader nothing
    low, high = found.confidence_interval() if n >= FEWEST else (np.nan, np.nan)
    return Correlation(n, float(found.statistic), (float(low), float(high)), float(found.statistic * y.std() / x.std()))
