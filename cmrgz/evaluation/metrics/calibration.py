"""Whether the spread of the samples says how far they are from the truth: calibration in the hole.

With samples x_1 .. x_K of the true posterior, the truth is like one more sample: every number here has a value that it
must then have, for any K.
"""

from functools import partial

import numpy as np

from cmrgz.evaluation.metrics.base import Floats, Metric, Ratio, Sampled, average, once
from cmrgz.evaluation.metrics.proper import hidden_pixels

CENTRAL = 0.8  # share of the posterior that the interval of `coverage-hole` holds
CONFIDENT = 0.05  # share of the pixels, those of the lowest spread, that `tail` looks at

HAMILL = "doi:10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2"


@once
def spread_and_error(frame: Sampled) -> tuple[Floats, Floats]:
    """Return the standard deviation of the samples and the error of their mean at each hidden pixel: (n,) both."""
    x, y = hidden_pixels(frame)
    apart = x - x[0]  # so that samples that do not differ have a spread of 0, not of a rounding
    return apart.std(0, ddof=1), np.abs(x.mean(0) - y)


def variance(frame: Sampled) -> float:
    """Return the mean over hidden pixels of the unbiased variance of the samples."""
    return average(spread_and_error(frame)[0] ** 2)


def error(frame: Sampled) -> float:
    """Return the mean squared error of the posterior mean: that of the samples' mean, less what finite K adds."""
    spread, miss = spread_and_error(frame)
    # the mean of K draws errs by Var/K more than the posterior mean: taken off, kappa is 1 for any K
    return average(miss**2 - spread**2 / len(frame.drawn))


@once
def rank_histogram(frame: Sampled) -> Floats:
    """Return the share of hidden pixels at which r samples lie below the truth, r = 0 .. K: (k + 1,).

    Flat for draws from the posterior; a U says that they vary too little, a dome too much, a slope that they are
    biased. A truth that equals some samples (air, at 0) counts evenly for all ranks that it can have. NaN where nothing
    is hidden.
    """
    x, y = hidden_pixels(frame)
    if y.size == 0:
        return np.full(len(x) + 1, np.nan)
    below, level = (x < y).sum(0), (x == y).sum(0)
    ranks = np.arange(len(x) + 1)[:, None]
    # scipy's rankdata would give a tie its mean rank: a peak amid a histogram that should be flat
    possible = (ranks >= below) & (ranks <= below + level)
    return np.asarray((possible / (level + 1)).mean(1))


def coverage(frame: Sampled) -> float:
    """Return the share of hidden pixels whose truth lies in the central 80 % of the samples.

    The interval leaves out a tenth of the K + 1 ranks at either end. That is seldom a whole number of them, so the last
    rank counts in part: draws from the posterior are covered at exactly 0.8 for any K. With few samples it can fall
    little: to 0.7 for K = 2, 0.5 for 4, 0.1 for 8.
    """
    ranks = np.arange(len(frame.drawn) + 1)
    left_out = (1 - CENTRAL) / 2 * len(ranks)
    inside = np.clip(np.minimum(ranks, ranks[::-1]) + 1 - left_out, 0, 1)
    return float(inside @ rank_histogram(frame))


def rank_share(frame: Sampled, rank: int) -> float:
    """Return how often the truth has a rank, 0 below all samples and -1 above all, over how often it must: 1."""
    return float(rank_histogram(frame)[rank]) * (len(frame.drawn) + 1)


def spread_skill(frame: Sampled) -> float:
    """Return Spearman's correlation over hidden pixels of the samples' spread and the error of their mean."""
    spread, miss = spread_and_error(frame)
    if spread.size < 2 or np.ptp(spread) == 0 or np.ptp(miss) == 0:
        return float("nan")
    from scipy.stats import rankdata  # here: it takes a second to import, which a listing of metrics need not

    return float(np.corrcoef(rankdata(spread), rankdata(miss))[0, 1])


def ause(frame: Sampled) -> float:
    """Return the area between sparsification curves: 0 where the spread puts the pixels in the order of their errors.

    A curve is the mean error of the pixels that are left when those of the largest spread (or, for the best curve, of
    the largest error) are taken away, over the mean error of all. Pixels of equal spread share their mean error. NaN
    for samples that do not differ. Ilg et al. 2018, arXiv:1802.07095.
    """
    spread, miss = spread_and_error(frame)
    if spread.size < 2 or np.ptp(spread) == 0 or miss.max() == 0:
        return float("nan")
    return float((_left(_by_spread(spread, miss)) - _left(np.sort(miss))).mean() / miss.mean())


def confident_error(frame: Sampled) -> float:
    """Return the mean error of the samples' mean at the 5 % of the hidden pixels at which they vary least."""
    spread, miss = spread_and_error(frame)
    return float(miss[spread <= np.quantile(spread, CONFIDENT)].mean()) if spread.size else float("nan")


def median_spread(frame: Sampled) -> float:
    """Return the median over hidden pixels of the samples' standard deviation."""
    spread, _ = spread_and_error(frame)
    return float(np.median(spread)) if spread.size else float("nan")


def _by_spread(spread: Floats, miss: Floats) -> Floats:
    """Return the errors in ascending order of spread, each the mean of its ties."""
    _, tie = np.unique(spread, return_inverse=True)
    # in air many pixels have no spread at all: their order is a matter of the sort, their mean is not
    mean = np.bincount(tie, miss) / np.bincount(tie)
    return np.asarray(mean[np.sort(tie)])


def _left(ascending: Floats) -> Floats:
    """Return the mean of the first 1 .. n values."""
    return np.cumsum(ascending) / np.arange(1, len(ascending) + 1)


METRICS = (
    Metric("variance-hole", variance, "none", least=2),
    Metric("error-hole", error, "lower", least=2),
    Metric("coverage-hole", coverage, "none", least=2),
    Metric("rank-low-hole", partial(rank_share, rank=0), "one", least=2, cite=HAMILL),
    Metric("rank-high-hole", partial(rank_share, rank=-1), "one", least=2, cite=HAMILL),
    Metric("spread-skill-hole", spread_skill, "higher", least=2),
    Metric("ause-hole", ause, "lower", least=2, cite="arXiv:1802.07095"),
    Metric("confident-error-hole", confident_error, "lower", least=2),
    Metric("median-spread-hole", median_spread, "none", least=2),
)

RATIOS = (
    Ratio("kappa", "variance-hole", "error-hole", "one"),
    Ratio("tail", "confident-error-hole", "median-spread-hole", "lower"),
)
