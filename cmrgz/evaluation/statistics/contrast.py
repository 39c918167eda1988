"""One row of a table of comparisons: two methods on the same subjects."""

from collections.abc import Mapping
from dataclasses import dataclass

from cmrgz.evaluation.statistics.bootstrap import LEVEL, Interval, bootstrap
from cmrgz.evaluation.statistics.effects import cliff_delta, cohen_dz, detectable
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


def compare(first: Mapping[str, float], second: Mapping[str, float], level: float = LEVEL) -> Contrast:
    """Compare two columns of one value a subject, over those that have both; `level` is that of each interval."""
    subjects, values = paired(first, second)
    a, b = values.T if len(subjects) else (values[:, 0], values[:, 1])
    mean_of, dz, cliff = (bootstrap(s, len(subjects)) for s in (mean(a - b), cohen_dz(a - b), cliff_delta(a, b)))
    return Contrast(
        mean_of.interval(level), mean_of.p(), dz.interval(level), cliff.interval(level), detectable(a - b)
    )  # fmt: skip
