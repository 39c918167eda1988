"""C1 and C3: how the results look as a set, without a given part and over what is hidden."""

from collections.abc import Sequence

import numpy as np

from cmrgz.evaluation.claims import rules
from cmrgz.evaluation.claims.evidence import Arm, Distances, Evidence, Key, Missing, Verdict
from cmrgz.evaluation.statistics.bootstrap import Bootstrap, bootstrap
from cmrgz.evaluation.statistics.equivalence import Equivalence, tost
from cmrgz.evaluation.statistics.estimates import combined, mean
from cmrgz.evaluation.statistics.multiple import holm_levels

FILL = "mean"
"""The baseline that no model should look worse than."""
MARGIN = 0.1  # of the range between the round trip and the mean fill: a change inside it is no change
SPAN = 0.5  # ratios that are nearer than this do not show stability


def unconditional(evidence: Evidence) -> Verdict:
    """Judge C1: KID of the autoregressive side less that of diffusion at ratio 1, by each extractor, Holm-adjusted.

    Supported where two extractors show it (refuted where two show the contrary); two are needed. Says whether
    the same holds with the distance of each side's own round trip subtracted.
    """
    diffusion, other = rules.arms(evidence)
    keys = [(other.best, 1.0), (diffusion.best, 1.0), (other.best, 0.0), (diffusion.best, 0.0)]

    def decided(coefficients: Sequence[float]) -> tuple[int, float, dict[str, Bootstrap]]:
        found = _contrasts(evidence, keys[: len(coefficients)], coefficients)
        return *rules.agreement(list(found.values()), rules.EXTRACTORS, adjust=True), found

    direction, p, found = decided((1, -1))
    # each interval at the level of its own step, so that what is said of it agrees with the rule
    levels = holm_levels([b.p() for b in found.values()]).tolist()
    intervals = {x: b.interval(level) for (x, b), level in zip(found.items(), levels, strict=True)}
    words = {1: "higher for the autoregressive side", -1: "higher for diffusion", 0: "undecided"}
    why = "KID " + ", ".join(f"{words[i.side()]} by {x}" for x, i in intervals.items())
    why += rules.less_the_floors(direction, lambda: decided((1, -1, -1, 1))[0], "the round trips")
    return Verdict(rules.outcome(direction), why, next(iter(intervals.values())), p)


def stability(evidence: Evidence) -> Verdict:
    """Judge C3: equivalence of KID and HaarPSI in the hole between the lowest and the highest ratio.

    The margin is a tenth of the range between the round trip and the mean fill at the highest ratio. Supported where
    the autoregressive side is equivalent by two extractors and by HaarPSI, diffusion is not, and the two are shown to
    change differently (that one of two tests succeeds does not show that the two differ). Refuted where the
    autoregressive side changes by more than the margin.
    """
    diffusion, other = rules.arms(evidence)
    ratios = rules.between(evidence.haarpsi, (diffusion.best, other.best), 2)
    low, high = ratios[0], ratios[-1]
    if high - low < SPAN:
        raise Missing(f"ratios {low:g} to {high:g} are too near to show stability")
    mine, theirs = (_stability(evidence, arm, low, high) for arm in (other, diffusion))
    # the change of one side less that of the other, of the same subjects
    keys = [(diffusion.best, high), (diffusion.best, low), (other.best, high), (other.best, low)]
    apart = rules.agreement(list(_contrasts(evidence, keys, (1, -1, -1, 1)).values()), rules.EXTRACTORS, adjust=True)[0]
    changes = rules.columns(keys, evidence.haarpsi) @ (1, -1, -1, 1)
    haarpsi = bootstrap(mean(changes), len(changes))
    differs = apart != 0 or haarpsi.interval().side() != 0
    holds = mine.equivalent and not theirs.equivalent and differs
    direction = 1 if holds else -1 if mine.beyond else 0
    why = (
        f"from {low:g} to {high:g} the autoregressive side is {_said(mine)}, diffusion is {_said(theirs)}; "
        f"that they change differently is {'' if differs else 'not '}shown"
    )
    return Verdict(rules.outcome(direction), why, mine.interval, mine.p_beyond if direction < 0 else mine.p)


def _stability(evidence: Evidence, arm: Arm, low: float, high: float) -> Equivalence:
    """Return whether a side changes by HaarPSI and by KID: the interval is that of HaarPSI."""
    if arm.floor is None:
        raise Missing(f"no round trip was evaluated beside {arm.best}, so there is no margin")
    # the ends of what can be: no model is nearer than its tokenizer, and none should be worse than a mean
    change, whole = [(arm.best, high), (arm.best, low)], [(FILL, high), (arm.floor, high)]

    def of_kid(distances: Distances) -> Equivalence:
        return _test(_contrast(distances, change, (1, -1)), _contrast(distances, whole, (1, -1)).point)

    kid = rules.by_extractor(evidence, of_kid).values()
    values = rules.columns(change + whole, evidence.haarpsi)
    changes = bootstrap(mean(values @ (1, -1, 0, 0)), len(values))
    haarpsi = _test(changes, float((values @ (0, 0, 1, -1)).mean()))
    # stable by both, and changed by either; the level at which so many extractors show it as must
    p, beyond = (
        float(np.sort(np.nan_to_num(each, nan=1.0))[rules.EXTRACTORS - 1])
        for each in ([e.p for e in kid], [e.p_beyond for e in kid])
    )
    return Equivalence(haarpsi.interval, max(haarpsi.p, p), min(haarpsi.p_beyond, beyond))


def _said(side: Equivalence) -> str:
    return "stable" if side.equivalent else "not stable" if side.beyond else "not shown to be stable"


def _test(change: Bootstrap, whole: float) -> Equivalence:
    if not abs(whole) > 0:  # NaN too
        raise Missing("the mean fill is not told from the round trip, so there is no margin")
    return tost(change, MARGIN * abs(whole))


def _contrasts(evidence: Evidence, keys: Sequence[Key], coefficients: Sequence[float]) -> dict[str, Bootstrap]:
    return rules.by_extractor(evidence, lambda distances: _contrast(distances, keys, coefficients))


def _contrast(distances: Distances, keys: Sequence[Key], coefficients: Sequence[float]) -> Bootstrap:
    """Resample a sum of distances times coefficients over the subjects that all of them have, or raise Missing."""
    found = rules.at(keys, distances)
    shared = sorted(set.intersection(*(set(d.subjects) for d in found)))
    rules.enough(shared)
    return bootstrap(combined(coefficients, [d.among(shared) for d in found]), len(shared))
