"""C4: how near the results are to the truth."""

import math
from collections.abc import Sequence

from cmrgz.evaluation.claims.evidence import (
    Arm,
    Evidence,
    Floats,
    Missing,
    Verdict,
    agreement,
    arms,
    between,
    columns,
    outcome,
)
from cmrgz.evaluation.statistics.bootstrap import Bootstrap, bootstrap
from cmrgz.evaluation.statistics.estimates import mean

RATIOS = 3
SHARE = 0.6
"""Of the ratios that must show it: 3 of 5."""
FIDELITY = "autoregressive models are less faithful to what was hidden than diffusion models"


def fidelity(evidence: Evidence) -> Verdict:
    """Judge C4: PSNR in the hole, diffusion less autoregressive, at each ratio between 0 and 1.

    Supported where it is shown at three of five ratios (60 % of those there are), refuted where so many show the
    contrary. Says whether the same holds of the squared error less that of the round trip in the same holes, so that
    a worse tokenizer is not taken for a worse model.
    """
    diffusion, other = arms(evidence)
    ratios = between(evidence.psnr, (diffusion.best, other.best), RATIOS)
    gains = _gains(evidence, diffusion, other, ratios)
    each = _resampled(gains)
    direction, p = agreement(each, _need(ratios), adjust=False)
    intervals = [b.interval() for b in each]
    higher, lower = (sum(i.side() == s for i in intervals) for s in (1, -1))
    why = f"diffusion has the higher PSNR at {higher} of {len(ratios)} ratios, the lower at {lower}"
    parts = [(f"PSNR at {r:g}", i) for r, i in zip(ratios, intervals, strict=True)]
    try:
        corrected = _resampled(_less_the_floors(evidence, diffusion, other, ratios))
        same = agreement(corrected, _need(ratios), adjust=False)[0] == direction
        why += f"; {'the same' if same else 'another outcome'} with the error of the round trips subtracted"
        parts += [(f"error above the floor at {r:g}", b.interval()) for r, b in zip(ratios, corrected, strict=True)]
    except Missing:
        why += "; not corrected for the tokenizers, whose round trips were not scored"
    interval = bootstrap(mean(gains.mean(1)), len(gains)).interval()
    return Verdict("C4", FIDELITY, outcome(direction), why, interval, p, parts=tuple(parts))


def _need(ratios: Sequence[float]) -> int:
    return math.ceil(SHARE * len(ratios))


def _resampled(gains: Floats) -> list[Bootstrap]:
    return [bootstrap(mean(column), len(column)) for column in gains.T]


def _gains(evidence: Evidence, diffusion: Arm, other: Arm, ratios: Sequence[float]) -> Floats:
    """Return how many dB diffusion is ahead: (subjects, ratios)."""
    m = len(ratios)
    found = columns([(arm.best, r) for arm in (diffusion, other) for r in ratios], evidence.psnr)
    return found[:, :m] - found[:, m:]


def _less_the_floors(evidence: Evidence, diffusion: Arm, other: Arm, ratios: Sequence[float]) -> Floats:
    """Return by how much the autoregressive side is further above its floor: (subjects, ratios), or raise Missing."""
    if diffusion.floor is None or other.floor is None:
        raise Missing("no round trip was evaluated")
    methods = (other.best, other.floor, diffusion.best, diffusion.floor)
    found = columns([(method, r) for method in methods for r in ratios], evidence.mse)
    m = len(ratios)
    return (found[:, :m] - found[:, m : 2 * m]) - (found[:, 2 * m : 3 * m] - found[:, 3 * m :])
