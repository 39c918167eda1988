"""Equivalence: that an effect is inside a margin has to be shown; a large p-value of "no difference" does not show it.

Two one-sided tests: Schuirmann 1987, doi:10.1007/BF01068419.
"""

from dataclasses import dataclass

import numpy as np

from cmrgz.errors import UsageError
from cmrgz.evaluation.statistics.bootstrap import Bootstrap, Interval

ALPHA = 0.05
"""Of each test."""


@dataclass(frozen=True)
class Equivalence:
    """The outcome of two one-sided tests.

    Attributes:
        interval: Of the effect at level 1 - 2 `ALPHA`.
        p: The larger one-sided p-value; NaN where the effect has no interval.
        p_beyond: One-sided, that the effect is outside the margin; NaN likewise.
    """

    interval: Interval
    p: float
    p_beyond: float

    @property
    def equivalent(self) -> bool:
        """Whether the effect is shown to lie inside the margin."""
        return self.p <= ALPHA

    @property
    def beyond(self) -> bool:
        """Whether the effect is shown to lie outside the margin."""
        return self.p_beyond <= ALPHA


def tost(effect: Bootstrap, margin: float) -> Equivalence:
    """Test an effect for equivalence by its bootstrap.

    Args:
        effect: The effect with its resamples.
        margin: Half width of what counts as equivalent, above 0, decided before looking.

    Raises:
        UsageError: `range` for a margin that is not above 0.
    """
    if not margin > 0:
        raise UsageError("range", "equivalence", "the margin must be above 0", f"is {margin:g}")
    # both sides must be shown, each at the level: the larger p-value is that of the whole, no adjustment needed
    low, high = effect.confidence(-margin), effect.confidence(margin)
    least = max(2.0**-effect.n, 1 / (len(effect.replicates) + 1))  # as for Bootstrap.p, of one side
    inside, beyond = np.maximum([max(low, 1 - high), min(1 - low, high)], least)  # NaN stays
    return Equivalence(effect.interval(1 - 2 * ALPHA), float(inside), float(beyond))
