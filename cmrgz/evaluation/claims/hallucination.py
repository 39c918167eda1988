"""C2 and C2b: what is invented as more is hidden, and whether the model or its sampler invents it."""

from collections.abc import Sequence

from cmrgz.evaluation.claims import rules
from cmrgz.evaluation.claims.evidence import Evidence, Missing, Verdict
from cmrgz.evaluation.statistics.bootstrap import Floats, bootstrap
from cmrgz.evaluation.statistics.estimates import mean, slopes

RATIOS = 3


def growth(evidence: Evidence) -> Verdict:
    """Judge C2, with the plain samplers: the slope of the first measure over the ratio, diffusion less autoregressive.

    Slopes are least squares of each subject. Supported where the difference and the slope of diffusion itself are above
    0, refuted where one of them is below.
    """
    return _judged(evidence, _plain(evidence))


def intrinsic(evidence: Evidence) -> Verdict:
    """Judge C2b: C2 with the samplers that aim at the posterior.

    Supported where it holds with them too. Refuted (an artefact of the sampler) where the contrary is shown, or where
    C2 holds with the plain samplers, not with these, and the difference is shown to be smaller with these.
    """
    plain, pair = _plain(evidence), tuple(arm.best for arm in rules.arms(evidence))
    if pair == plain:
        raise Missing("only one sampler of each side was evaluated")
    found = _judged(evidence, pair)
    # "shown with one, not shown with the other" is no difference: that itself must be shown
    _, (a, b, c, d) = _slopes(evidence, (*plain, *pair))
    drop = bootstrap(mean((a - b) - (c - d)), len(a))
    if found.outcome == "undecided" and growth(evidence).outcome == "supported" and drop.interval().side() > 0:
        why = f"an artefact of the sampler: it shrinks with {pair[0]} and {pair[1]}, and is no longer shown"
        return Verdict("refuted", why, found.interval, drop.p())
    return found


def _plain(evidence: Evidence) -> tuple[str, ...]:
    """Return the methods of both sides with the plain samplers."""
    return tuple(arm.naive or arm.best for arm in rules.arms(evidence))


def _judged(evidence: Evidence, pair: Sequence[str]) -> Verdict:
    measure, (rises, theirs) = _slopes(evidence, pair)
    own, contrast = bootstrap(mean(rises), len(rises)), bootstrap(mean(rises - theirs), len(rises))
    # the difference alone is not enough: it is above 0, too, where the other side falls and diffusion stays
    direction, p = rules.agreement((own, contrast), need=2, adjust=False, against=1)
    words = {1: "grows", -1: "falls", 0: "is not shown to grow"}
    than = {1: "more than", -1: "less than", 0: "not differently, as far as shown, from"}
    apart = contrast.interval()
    why = f"{measure} of {pair[0]} {words[own.interval().side()]}, {than[apart.side()]} that of {pair[1]}"
    return Verdict(rules.outcome(direction), why, apart, p)


def _slopes(evidence: Evidence, methods: Sequence[str]) -> tuple[str, list[Floats]]:
    """Return the measure that decides, and its slope of each subject, (n,) for each method."""
    if not evidence.hallucination:
        raise Missing("no measure of hallucination was computed")
    measure, values = next(iter(evidence.hallucination.items()))
    ratios, found = rules.grid(values, methods, RATIOS)
    return measure, [slopes(ratios, found[:, i]) for i in range(len(methods))]
