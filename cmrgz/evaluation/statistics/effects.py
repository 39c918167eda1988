"""Sizes of effects, and what could have been seen."""

import numpy as np

from cmrgz.evaluation.statistics.bootstrap import Floats, Statistic


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
