"""C1 and C3: how the results look as a set, without a given part and over what is hidden."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cmrgz.evaluation.claims.evidence import Arm, Evidence, Key, Missing, Verdict, agreement, arms, between, columns
from cmrgz.evaluation.claims.evidence import outcome as named
from cmrgz.evaluation.statistics.bootstrap import Bootstrap, Interval, bootstrap
from cmrgz.evaluation.statistics.equivalence import Equivalence, tost
from cmrgz.evaluation.statistics.estimates import combined, mean
from cmrgz.evaluation.statistics.kernel import Resampled
from cmrgz.evaluation.statistics.multiple import holm_levels

EXTRACTORS = 2  # that must agree: a ranking by one may be a liking of that one
MARGIN = 0.1  # of the range between the round trip and the mean fill: a change inside it is no change
SPAN = 0.5  # ratios that are nearer than this do not show stability
PERCEPTION = "diffusion models look more like real images than autoregressive models when nothing is given"
STABLE = "autoregressive models look alike at every ratio, and diffusion models do not"


def unconditional(evidence: Evidence) -> Verdict:
    """Judge C1: KID of the autoregressive side less that of diffusion at ratio 1, by each extractor, Holm-adjusted.

    Supported where two extractors show it (refuted where two show the contrary); two are needed. Says whether
    the same holds with the distance of each side's own round trip subtracted.
    """
    diffusion, other = arms(evidence)
    keys = [(other.best, 1.0), (diffusion.best, 1.0)]
    found = _by_extractor(evidence, keys, (1, -1))
    names, each = list(found), list(found.values())
    direction, p = agreement(each, EXTRACTORS, adjust=True)
    # each interval at the level of its own step, so that what is said of it agrees with the rule
    levels = holm_levels([b.p() for b in each])
    intervals = [b.interval(float(level)) for b, level in zip(each, levels, strict=True)]
    floors = _less_the_floors(evidence, diffusion, other)
    why = f"KID {_directions(names, intervals)}"
    if floors:
        survives = agreement(list(floors.values()), EXTRACTORS, adjust=True)[0] == direction
        why += f"; {'the same' if survives else 'another outcome'} with the round trips subtracted"
    return Verdict("C1", PERCEPTION, named(direction), why, intervals[0], p)


def stability(evidence: Evidence) -> Verdict:
    """Judge C3: equivalence of KID and HaarPSI in the hole between the lowest and the highest ratio.

    The margin is a tenth of the range between the round trip and the mean fill at the highest ratio. Supported where
    the autoregressive side is equivalent by two extractors and by HaarPSI, diffusion is not, and the two are shown to
    change differently (that one of two tests succeeds does not show that the two differ). Refuted where the
    autoregressive side changes by more than the margin.
    """
    diffusion, other = arms(evidence)
    ratios = between(evidence.haarpsi, (diffusion.best, other.best), 2)
    low, high = ratios[0], ratios[-1]
    if high - low < SPAN:
        raise Missing(f"ratios {low:g} to {high:g} are too near to show stability")
    mine, theirs = (_Stability.of(evidence, arm, low, high) for arm in (other, diffusion))
    # the change of one side less that of the other, of the same subjects
    keys = [(diffusion.best, high), (diffusion.best, low), (other.best, high), (other.best, low)]
    apart = agreement(list(_by_extractor(evidence, keys, (1, -1, -1, 1)).values()), EXTRACTORS, adjust=True)[0]
    changes = columns(keys, evidence.haarpsi) @ (1, -1, -1, 1)
    haarpsi = bootstrap(mean(changes), len(changes))
    differs = apart != 0 or haarpsi.interval().side() != 0
    holds = mine.equivalent and not theirs.equivalent and differs
    direction = 1 if holds else -1 if mine.beyond else 0
    why = (
        f"from {low:g} to {high:g} the autoregressive side is {mine.said}, diffusion is {theirs.said}; "
        f"that they change differently is {'' if differs else 'not '}shown"
    )
    return Verdict("C3", STABLE, named(direction), why, mine.haarpsi.interval, mine.p(direction))


@dataclass(frozen=True)
class _Stability:
    kid: dict[str, Equivalence]
    haarpsi: Equivalence

    @classmethod
    def of(cls, evidence: Evidence, arm: Arm, low: float, high: float) -> "_Stability":
        keys: list[Key] = [(arm.best, high), (arm.best, low)]
        if arm.floor is None:
            raise Missing(f"no round trip was evaluated beside {arm.best}, so there is no margin")
        # the ends of what can be: no model is nearer than its tokenizer, and none should be worse than a mean
        ends: list[Key] = [(evidence.fill, high), (arm.floor, high)]
        ranges = _by_extractor(evidence, ends, (1, -1))
        changes = {x: b for x, b in _by_extractor(evidence, keys, (1, -1)).items() if x in ranges}
        if len(changes) < EXTRACTORS:
            raise Missing(f"no two extractors have {arm.best} and the ends of the range")
        values = columns(keys + ends, evidence.haarpsi)
        haarpsi = _change(bootstrap(mean(values @ (1, -1, 0, 0)), len(values)), float((values @ (0, 0, 1, -1)).mean()))
        return cls({x: _change(b, ranges[x].point) for x, b in changes.items()}, haarpsi)

    @property
    def equivalent(self) -> bool:
        return self.haarpsi.equivalent and self._count(lambda e: e.equivalent)

    @property
    def beyond(self) -> bool:
        return self.haarpsi.beyond or self._count(lambda e: e.beyond)

    @property
    def said(self) -> str:
        return "stable" if self.equivalent else "not stable" if self.beyond else "not shown to be stable"

    def _count(self, holds: Callable[[Equivalence], bool]) -> bool:
        return sum(map(holds, self.kid.values())) >= EXTRACTORS

    def p(self, direction: int) -> float:
        """Return the smallest level at which the side would be stable, or, for -1, would not be."""
        if direction < 0:
            return min(self.haarpsi.p_beyond, _shown([e.p_beyond for e in self.kid.values()]))
        return max(self.haarpsi.p, _shown([e.p for e in self.kid.values()]))


def _shown(p: Sequence[float]) -> float:
    """Return the level at which so many extractors show it as must; NaN counts as not shown."""
    return float(np.sort(np.nan_to_num(p, nan=1.0))[EXTRACTORS - 1])


def _change(change: Bootstrap, whole: float) -> Equivalence:
    if not abs(whole) > 0:  # NaN too
        raise Missing("the mean fill is not told from the round trip, so there is no margin")
    return tost(change, MARGIN * abs(whole))


def _by_extractor(evidence: Evidence, keys: Sequence[Key], coefficients: Sequence[float]) -> dict[str, Bootstrap]:
    """Return a contrast of distances by each extractor that has all of them, or raise Missing below two."""
    full = {x: [at[k] for k in keys] for x, at in evidence.kid.items() if all(k in at for k in keys)}
    if len(full) < EXTRACTORS:
        wanted = ", ".join(f"{method} at {ratio:g}" for method, ratio in keys)
        raise Missing(f"{EXTRACTORS} extractors are needed that have seen {wanted}, and there are {len(full)}")
    return {x: contrast(distances, coefficients) for x, distances in full.items()}


def contrast(distances: Sequence[Resampled], coefficients: Sequence[float]) -> Bootstrap:
    """Resample a sum of numbers of sets times coefficients over the subjects that all of them have.

    Raises:
        Missing: Fewer than two subjects are shared.
    """
    shared = sorted(set.intersection(*(set(d.subjects) for d in distances)))
    if len(shared) < 2:
        raise Missing(f"2 subjects with all images are needed, and there are {len(shared)}")
    return bootstrap(combined(coefficients, [d.among(shared) for d in distances]), len(shared))


def _less_the_floors(evidence: Evidence, diffusion: Arm, other: Arm) -> dict[str, Bootstrap]:
    """Return C1 with the distance of each side's round trip (ratio 0) subtracted; empty where those are missing."""
    keys = [(other.best, 1.0), (other.best, 0.0), (diffusion.best, 1.0), (diffusion.best, 0.0)]
    try:
        return _by_extractor(evidence, keys, (1, -1, -1, 1))
    except Missing:
        return {}


def _directions(names: Sequence[str], intervals: Sequence[Interval]) -> str:
    words = {1: "higher for the autoregressive side", -1: "higher for diffusion", 0: "undecided"}
    return ", ".join(f"{words[i.side()]} by {x}" for x, i in zip(names, intervals, strict=True))
