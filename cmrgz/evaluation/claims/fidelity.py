"""C4: how near the results are to the truth."""

import math
from collections.abc import Sequence

import numpy as np

from cmrgz.evaluation.claims.evidence import Evidence, Missing, Verdict, agreement, arms, columns, grid, outcome
from cmrgz.evaluation.statistics.bootstrap import Bootstrap, Floats, bootstrap
from cmrgz.evaluation.statistics.estimates import mean

RATIOS = 3
SHARE = 0.6  # of the ratios that must show it: 3 of 5
FIDELITY = "autoregressive models are less faithful to what was hidden than diffusion models"


def fidelity(evidence: Evidence) -> Verdict:
    """Judge C4: PSNR in the hole, diffusion less autoregressive, at each ratio between 0 and 1.

    Supported where it is shown at three of five ratios (60 % of those there are), refuted where so many show the
    contrary. Says whether the same holds of the squared error less that of the round trip in the same holes, so that
    a worse tokenizer is not taken for a worse model.
    """
    diffusion, other = arms(evidence)
    ratios, found = grid(evidence.psnr, (diffusion.best, other.best), RATIOS)
    # paired: what makes a subject hard is in both columns and falls out
    gains = found[:, 0] - found[:, 1]
    each = _resampled(gains)
    direction, p = agreement(each, _need(ratios), adjust=False)
    intervals = [b.interval() for b in each]
    higher, lower = (sum(i.side() == s for i in intervals) for s in (1, -1))
    why = f"diffusion has the higher PSNR at {higher} of {len(ratios)} ratios, the lower at {lower}"
    try:
        corrected = _resampled(_less_the_floors(evidence, ratios))
        same = agreement(corrected, _need(ratios), adjust=False)[0] == direction
        why += f"; {'the same' if same else 'another outcome'} with the error of the round trips subtracted"
    except Missing:
        why += "; not corrected for the tokenizers, whose round trips were not scored"
    interval = bootstrap(mean(gains.mean(1)), len(gains)).interval()
    return Verdict("C4", FIDELITY, outcome(direction), why, interval, p)


def _need(ratios: Sequence[float]) -> int:
    return math.ceil(SHARE * len(ratios))


def _resampled(gains: Floats) -> list[Bootstrap]:
    return [bootstrap(mean(column), len(column)) for column in gains.T]


def _less_the_floors(evidence: Evidence, ratios: Sequence[float]) -> Floats:
    """Return by how much the autoregressive side is further above its floor: (subjects, ratios), or raise Missing."""
    diffusion, other = arms(evidence)
    if diffusion.floor is None or other.floor is None:
        raise Missing("no round trip was evaluated")
    methods = (other.best, other.floor, diffusion.best, diffusion.floor)
    found = columns([(method, r) for method in methods for r in ratios], evidence.mse)
    # squared errors and not dB, which do not subtract
    own, floor, theirs, their_floor = np.split(found, 4, axis=1)
    return (own - floor) - (theirs - their_floor)
