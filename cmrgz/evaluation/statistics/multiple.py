"""Many comparisons at once: Holm's adjustment, and the methods that are tied with the best."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cmrgz.evaluation.metrics.base import Better
from cmrgz.evaluation.statistics.bootstrap import LEVEL, Floats, bootstrap
from cmrgz.evaluation.statistics.estimates import mean
from cmrgz.evaluation.statistics.subjects import paired


def holm(p: Sequence[float] | Floats) -> Floats:
    """Return p-values (m,) adjusted by Holm's step-down: at or below alpha, the family-wise error is at most alpha.

    NaN stays NaN and does not count as a comparison. Holm 1979, Scand. J. Statist. 6:65-70.
    """
    given, order, left = _steps(p)
    adjusted = np.full(given.shape, np.nan)
    # scipy.stats.false_discovery_control bounds the share of false findings, not the chance of any: no substitute.
    # The running maximum keeps a larger p-value from passing where a smaller one did not.
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * left), 1)
    return adjusted


def holm_levels(p: Sequence[float] | Floats) -> Floats:
    """Return the confidence level at which Holm's procedure looks at each comparison: (m,), NaN where p is.

    An interval of that level excludes the null where its own step rejects.
    """
    given, order, left = _steps(p)
    levels = np.full(given.shape, np.nan)
    levels[order] = 1 - (1 - LEVEL) / left
    return levels


def _steps(p: Sequence[float] | Floats) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
    """Return the p-values, which of them are tested, smallest first, and how many are left at each step."""
    given = np.asarray(p, dtype=np.float64)
    order = np.argsort(given, kind="stable")[: np.isfinite(given).sum()]  # NaN is sorted last
    return given, order, np.arange(len(order), 0, -1)


def tied(methods: Mapping[str, Mapping[str, float]], better: Better) -> tuple[str, ...]:
    """Return the best method of a column and those that are not shown to be worse, best first.

    The best by mean over the subjects that all share is compared with each other one, paired, with Holm's adjustment.
    A method without a value for any subject takes no part. Empty where no direction is good, or nothing is shared.

    Args:
        methods: By method, one value a subject.
        better: Which values are good.
    """
    names = [m for m, column in methods.items() if np.isfinite(list(column.values())).any()]
    subjects, values = paired(*(methods[m] for m in names))
    if better == "none" or not subjects:
        return ()
    cost = _cost(values, better)
    order = np.argsort(cost.mean(0), kind="stable")
    # the best is chosen by the same subjects, which favours it: ties are lost a little too often, never won
    best, others = order[0], order[1:]
    behind = [bootstrap(mean(cost[:, o] - cost[:, best]), len(subjects)) for o in others]
    adjusted = holm([b.p() for b in behind])
    return (names[best], *(names[o] for o, p in zip(others, adjusted, strict=True) if not p <= 1 - LEVEL))


def _cost(values: Floats, better: Better) -> Floats:
    """Return values of which less is better."""
    return -values if better == "higher" else values if better == "lower" else np.abs(values - (better == "one"))
