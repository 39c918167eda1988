"""The cluster bootstrap over subjects, with BCa intervals and their p-values.

Subjects are drawn with replacement, each with all that belongs to it. A statistic is a function of how often each
subject counts: all resamples are one matrix product, and the same draws serve both sides of a comparison.

Efron 1987, doi:10.1080/01621459.1987.10478410; Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 14.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""From weights (b, n), how often each of n subjects counts, to (b,) numbers."""

# scipy.stats.bootstrap gives the same limits, and tests hold these against it. It has no p-value, takes data and not
# weights, with which a kernel distance is resampled without its images, and is undefined where one resample is.
RESAMPLES, SEED, LEVEL = 5000, 0, 0.95
UNDEFINED = 0.05  # share of resamples that may be undefined (and are left out) before an interval is


@dataclass(frozen=True)
class Interval:
    """A point with its confidence limits.

    Attributes:
        point: The estimate.
        low: Lower limit, NaN where there is none.
        high: Upper limit, NaN where there is none.
        n: Subjects behind it.
    """

    point: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n: int = 0

    def side(self, null: float = 0.0) -> int:
        """Return 1 where all of it lies above `null`, -1 below, 0 where it holds it or has no limits."""
        return int(self.low > null) - int(self.high < null)


@dataclass(frozen=True)
class Bootstrap:
    """A statistic with its resamples.

    Attributes:
        point: Of all subjects.
        replicates: (b,) of the resamples.
        jackknife: (n,) without one subject each.
        corrected: BCa; False gives plain percentiles, for statistics that take only a few values.
    """

    point: float
    replicates: Floats
    jackknife: Floats
    corrected: bool = True

    @property
    def n(self) -> int:
        """Number of subjects."""
        return len(self.jackknife)

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the BCa interval: NaN limits where there is none, the point as both where every resample gives it."""
        if self._undefined:
            return Interval(self.point, n=self.n)
        if self._constant:
            return Interval(self.point, self.point, self.point, self.n)
        bias, skew = self._correction
        # where 1 - a z nears 0 the limit would jump to the other tail
        z = bias + ndtri(np.array([1 - level, 1 + level]) / 2)
        shares = ndtr(bias + z / (1 - np.minimum(skew * z, 0.9)))
        low, high = np.quantile(self._finite, shares)
        return Interval(self.point, float(low), float(high), self.n)

    def confidence(self, value: float) -> float:
        """Return the level of the one-sided interval that reaches from below up to `value`; NaN without an interval.

        It is the p-value of "at least `value`" against "less", by inverting the BCa limit.
        """
        if self._undefined:
            return np.nan
        if self._constant:
            return 0.5 if np.isclose(self.point, value, rtol=1e-12, atol=0) else float(self.point < value)
        # beyond all resamples nothing is known but that it is less than one in so many
        edge = 1 / (len(self._finite) + 1)
        bias, skew = self._correction
        z = ndtri(np.clip(self._share_below(value), edge, 1 - edge)) - bias
        return float(ndtr(z / max(1 + skew * z, 0.1) - bias))

    def p(self, null: float = 0.0) -> float:
        """Return the two-sided p-value of `null`; below alpha where the interval at 1 - alpha excludes it.

        Never below what flipping the signs of n subjects could give at best, `2^(1 - n)`: resamples of a handful of
        subjects look surer than they are.
        """
        tail = self.confidence(null)
        least = max(2.0 ** (1 - self.n), 1 / (len(self.replicates) + 1))
        return max(2 * min(tail, 1 - tail), least) if tail >= 0 else np.nan

    @cached_property
    def _finite(self) -> Floats:
        return self.replicates[np.isfinite(self.replicates)]

    @cached_property
    def _undefined(self) -> bool:
        """Whether there is no interval."""
        missing = len(self.replicates) - len(self._finite)
        return self.n < 2 or not np.isfinite(self.point) or missing > UNDEFINED * len(self.replicates)

    @cached_property
    def _constant(self) -> bool:
        # resamples of equal values differ in the last bits: no spread, and not a very narrow interval
        low, high = self._finite.min(), self._finite.max()
        return bool(high - low <= 1e-12 * max(abs(low), abs(high)))

    def _share_below(self, value: float) -> float:
        """Return the share of resamples below a value; those that are equal but for rounding count half."""
        # ties are common with few subjects: counted as below, the interval would lean to one side
        away, fuzz = self._finite - value, 1e-9 * np.ptp(self._finite)
        return float(np.mean((away < -fuzz) + 0.5 * (np.abs(away) <= fuzz)))

    @cached_property
    def _shift(self) -> float:
        return self._share_below(self.point)

    @cached_property
    def _correction(self) -> tuple[float, float]:
        """Return the bias correction z0 and the acceleration a; |a| is at most 1/6."""
        # a point outside its resamples has no correction: percentiles
        if not self.corrected or self._shift in (0.0, 1.0):
            return 0.0, 0.0
        # Efron and Tibshirani, equation 14.15: a sixth of the skewness of the jackknife
        left = self.jackknife[np.isfinite(self.jackknife)]
        away = left.mean() - left if len(left) else np.zeros(1)
        scale = 6 * (away**2).sum() ** 1.5
        return float(ndtri(self._shift)), float((away**3).sum() / scale) if scale > 0 else 0.0


@lru_cache(maxsize=4)
def draws(n: int, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Return how often each subject is drawn: (resamples, n), each row sums to n; read-only."""
    chosen = np.random.default_rng(seed).integers(0, n, (resamples, n))
    flat = (chosen + n * np.arange(resamples)[:, None]).ravel()
    counts = np.bincount(flat, minlength=n * resamples).reshape(resamples, n).astype(np.float64)
    counts.flags.writeable = False  # it is cached: who wrote to it would change every later interval
    return counts


def bootstrap(
    statistic: Statistic, n: int, resamples: int = RESAMPLES, seed: int = SEED, corrected: bool = True
) -> Bootstrap:
    """Resample a statistic over n subjects.

    Args:
        statistic: From weights (b, n) to (b,).
        n: Subjects; with none or one there is no interval, which is said, not raised.
        resamples: How many.
        seed: Of the draws.
        corrected: BCa; False for plain percentiles.
    """
    if n == 0:
        return Bootstrap(np.nan, np.empty(0), np.empty(0), corrected)
    with np.errstate(divide="ignore", invalid="ignore"):
        point = float(statistic(np.ones((1, n)))[0])
        left = statistic(1 - np.eye(n)) if n > 1 else np.full(1, np.nan)
        return Bootstrap(point, statistic(draws(n, resamples, seed)), left, corrected)
