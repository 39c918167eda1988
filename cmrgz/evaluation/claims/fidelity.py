"""C4: how near the results are to the truth."""

import math
from collections.abc import Sequence

import numpy as np

from cmrgz.evaluation.claims import rules
from cmrgz.evaluation.claims.evidence import Evidence, Missing, Verdict
from cmrgz.evaluation.statistics.bootstrap import Bootstrap, Floats, bootstrap
from cmrgz.evaluation.statistics.estimates import mean

RATIOS = 3
SHARE = 0.6  # of the ratios that must show it: 3 of 5


def fidelity(evidence: Evidence) -> Verdict:
    """Judge C4: PSNR in the hole, diffusion less autoregressive, at each ratio between 0 and 1.

    Supported where it is shown at three of five ratios (60 % of those there are), refuted where so many show the
    contrary. Says whether the same holds of the squared error less that of the round trip in the same holes, so that
    a worse tokenizer is not taken for a worse model.
    """
    diffusion, other = rules.arms(evidence)
    ratios, found = rules.grid(evidence.psnr, (diffusion.best, other.best), RATIOS)
    # paired: what makes a subject hard is in both columns and falls out
    gains = found[:, 0] - found[:, 1]
    each, need = _resampled(gains), math.ceil(SHARE * len(ratios))
    direction, p = rules.agreement(each, need, adjust=False)
    sides = [b.interval().side() for b in each]
    why = f"diffusion has the higher PSNR at {sides.count(1)} of {len(ratios)} ratios, the lower at {sides.count(-1)}"

    def corrected() -> int:
        return rules.agreement(_resampled(_errors_above_floors(evidence, ratios)), need, adjust=False)[0]

    why += rules.less_the_floors(direction, corrected, "the error of the round trips")
    return Verdict(rules.outcome(direction), why, bootstrap(mean(gains.mean(1)), len(gains)).interval(), p)


def _resampled(gains: Floats) -> list[Bootstrap]:
    return [bootstrap(mean(column), len(column)) for column in gains.T]


def _errors_above_floors(evidence: Evidence, ratios: Sequence[float]) -> Floats:
    """Return by how much the autoregressive side is further above its floor: (subjects, ratios), or raise Missing."""
    diffusion, other = rules.arms(evidence)
    if diffusion.floor is None or other.floor is None:
        raise Missing("no round trip was evaluated")
    methods = (other.best, other.floor, diffusion.best, diffusion.floor)
    found = rules.columns([(method, r) for method in methods for r in ratios], evidence.mse)
    # squared errors and not dB, which do not subtract
    own, floor, theirs, their_floor = np.split(found, 4, axis=1)
    return (own - floor) - (theirs - their_floor)
