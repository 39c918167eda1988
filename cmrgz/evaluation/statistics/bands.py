"""Bands over ratios that hold at all of them at once."""

from collections.abc import Sequence

import numpy as np

from cmrgz.evaluation.statistics.bootstrap import LEVEL, RESAMPLES, SEED, Bootstrap, Interval, Statistic, bootstrap


def simultaneous(
    statistics: Sequence[Statistic], n: int, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[Interval, ...]:
    """Return one interval a statistic, wide enough that all hold at once with the given confidence.

    Each is `point +- c se` with one c, the quantile of the largest |deviation| / se of a resample (max-t bootstrap):
    Romano and Wolf 2005, doi:10.1111/j.1468-0262.2005.00615.x; Montiel Olea and Plagborg-Moller 2019,
    doi:10.1002/jae.2656. Where one alone has no interval or no spread, it stays so and widens no other.

    Args:
        statistics: One a ratio, each of the same subjects.
        n: Subjects.
        level: Of confidence, of all together.
        resamples: How many.
        seed: Of the draws.
    """
    each = [bootstrap(s, n, resamples, seed) for s in statistics]
    alone = [b.interval(level) for b in each]
    usable = [b for b, i in zip(each, alone, strict=True) if i.high > i.low]
    factor = _factor(usable, level) if usable else np.nan
    return tuple(_widened(b, i, factor) for b, i in zip(each, alone, strict=True))


def _factor(each: Sequence[Bootstrap], level: float) -> float:
    deviations = np.stack([np.abs(b.replicates - b.point) / np.nanstd(b.replicates) for b in each])
    return float(np.nanquantile(np.fmax.reduce(deviations), level))


def _widened(sample: Bootstrap, alone: Interval, factor: float) -> Interval:
    if not alone.high > alone.low:
        return alone
    half = factor * float(np.nanstd(sample.replicates))
    return Interval(sample.point, sample.point - half, sample.point + half, sample.n, alone.level, alone.why)
