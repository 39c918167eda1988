"""How two measurements of the same subjects agree: bias and limits of agreement, and correlation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr

from cmrgz.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How results agree with truths, of Bland and Altman: differences are result - truth.

    Attributes:
        n: Subjects of which both are known.
        bias: Mean difference.
        limits: The limits of agreement, bias -+ 1.96 standard deviations.
        mae: Mean absolute difference.
    """

    n: int
    bias: float
    limits: tuple[float, float]
    mae: float


def agreement(result: Sequence[float] | Floats, truth: Sequence[float] | Floats) -> Agreement:
    """Return bias and limits of agreement over subjects (n,); NaN where fewer than two (bias: one) are known.

    Bland and Altman 1999, doi:10.1177/096228029900800204.

    Raises:
        DataError: `shape-mismatch`.
    """
    given, true = (np.asarray(values, np.float64) for values in (result, truth))
    if given.shape != true.shape:
        facts = f"{given.shape}, {true.shape}"
        raise DataError("shape-mismatch", "agreement", "results and truths differ in number", facts)
    d = (given - true)[np.isfinite(given - true)]
    bias, mae = (float(d.mean()), float(np.abs(d).mean())) if len(d) else (np.nan, np.nan)
    # The limits hold 95 % of differences if these are normal; mean and limits, not a correlation, tell agreement.
    spread = 1.96 * float(d.std(ddof=1)) if len(d) > 1 else np.nan
    return Agreement(len(d), bias, (bias - spread, bias + spread), mae)


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


def correlation(first: Floats, second: Floats) -> Correlation:
    """Return how two quantities (n,) go together; cases of which one is NaN are left out."""
    both = np.isfinite(first) & np.isfinite(second)
    x, y, n = first[both], second[both], int(both.sum())
    if n < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(n, np.nan, (np.nan, np.nan), np.nan)
    found = pearsonr(x, y)
    # Fisher's z has variance 1 / (n - 3); for three cases scipy gives -1 .. 1, which would look like a finding.
    low, high = found.confidence_interval() if n > 3 else (np.nan, np.nan)
    return Correlation(n, float(found.statistic), (float(low), float(high)), float(found.statistic * y.std() / x.std()))
