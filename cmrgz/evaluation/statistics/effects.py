"""Two methods on the same subjects: their difference, sizes of effects, and what could have been seen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cmrgz.evaluation.statistics.bootstrap import Floats, Interval, Statistic, bootstrap
from cmrgz.evaluation.statistics.estimates import mean
from cmrgz.evaluation.statistics.subjects import paired


@dataclass(frozen=True)
class Contrast:
    """A paired comparison.

    Attributes:
        difference: Mean of first - second over subjects.
        p: Two-sided, of no difference in means, from the same resamples as the interval.
        dz: Cohen's dz.
        cliff: Cliff's delta.
        detectable: Smallest difference that so many subjects show with 80 % power.
    """

    difference: Interval
    p: float
    dz: Interval
    cliff: Interval
    detectable: float


def cohen_dz(differences: Floats) -> Statistic:
    """Return Cohen's dz of (n,) paired differences: their mean over their standard deviation (n - 1).

    Cohen 1988, Statistical Power Analysis, section 2.3.5. No finite number where all differences agree.
    """

    def statistic(weights: Floats) -> Floats:
        total = weights.sum(1)
        centre = (weights @ differences) / total
        squares = (weights * (differences - centre[:, None]) ** 2).sum(1) / (total - 1)
        spread = np.sqrt(squares)
        # a spread of a rounding would make any difference an immense effect
        return centre / np.where(spread > 1e-12 * np.abs(centre), spread, np.nan)

    return statistic


def cliff_delta(first: Floats, second: Floats) -> Statistic:
    """Return Cliff's delta of (n,) values each: P(first > second) - P(first < second) over all pairs of subjects.

    Cliff 1993, doi:10.1037/0033-2909.114.3.494.
    """
    ahead = np.sign(first[:, None] - second)
    return lambda weights: ((weights @ ahead) * weights).sum(1) / weights.sum(1) ** 2


def detectable(differences: Floats) -> float:
    """Return the smallest mean difference found with 80 % power at .05: `2.8 sd / sqrt(n)`; NaN below 2 subjects."""
    # 2.8 = 1.96 + 0.84, the normal quantiles of .975 and .8: a little low below 20 subjects
    n = len(differences)
    return 2.8 * float(np.std(differences, ddof=1)) / n**0.5 if n > 1 else np.nan


def compare(first: Mapping[str, float], second: Mapping[str, float]) -> Contrast:
    """Compare two columns of one value a subject, over those that have both."""
    subjects, values = paired(first, second)
    a, b = values.T
    mean_of, dz, cliff = (bootstrap(s, len(subjects)) for s in (mean(a - b), cohen_dz(a - b), cliff_delta(a, b)))
    return Contrast(mean_of.interval(), mean_of.p(), dz.interval(), cliff.interval(), detectable(a - b))
