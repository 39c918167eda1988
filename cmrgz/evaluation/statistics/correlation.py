"""Pearson's correlation of two quantities over independent cases, with an interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 4
"""Cases from which on there is an interval."""


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
    r: float
    interval: tuple[float, float]
    slope: float


def correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> Correlation:
    """Return how two quantities (n,) go together; cases of which one is NaN are left out."""
    both = np.isfinite(first) & np.isfinite(second)
    x, y, n = first[both], second[both], int(both.sum())
    if n < FEWEST - 1 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(n, np.nan, (np.nan, np.nan), np.nan)
    r = float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
    slope = float(r * y.std() / x.std())
    if n < FEWEST:
        return Correlation(n, r, (np.nan, np.nan), slope)
    middle, half = np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15)), 1.959964 / np.sqrt(n - 3)
    return Correlation(n, r, (float(np.tanh(middle - half)), float(np.tanh(middle + half))), slope)
