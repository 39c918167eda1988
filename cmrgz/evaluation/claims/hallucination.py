"""C2 and C2b: what is invented as more is hidden, and whether the model or its sampler invents it."""

from collections.abc import Sequence

import numpy as np

from cmrgz.evaluation.claims.evidence import Evidence, Floats, Missing, Values, Verdict, arms, between, columns, outcome
from cmrgz.evaluation.statistics.bootstrap import LEVEL, Bootstrap, Interval, Statistic, bootstrap
from cmrgz.evaluation.statistics.estimates import difference, mean, ratio_of_means, slope, slopes

RATIOS = 3
GROWTH = "diffusion models hallucinate more as more is hidden, and more so than autoregressive models"
INTRINSIC = "diffusion models hallucinate more as more is hidden with any sampler: it is not the plain one's fault"


def growth(evidence: Evidence) -> Verdict:
    """Judge C2, with the plain samplers: the slope of the first measure over the ratio, diffusion less autoregressive.

    Slopes are least squares of each subject. Supported where the difference and the slope of diffusion itself are above
    0, refuted where one of them is below. The other measures and over-confidence (-log kappa) are exploratory parts.
    """
    diffusion, other = arms(evidence)
    pair = diffusion.naive or diffusion.best, other.naive or other.best
    return _judged(evidence, pair, "C2", GROWTH)


def intrinsic(evidence: Evidence) -> Verdict:
    """Judge C2b: C2 with the samplers that aim at the posterior.

    Supported where it holds with them too. Refuted (an artefact of the sampler) where the contrary is shown, or where
    C2 holds with the plain samplers, not with these, and the difference is shown to be smaller with these.
    """
    diffusion, other = arms(evidence)
    plain = diffusion.naive or diffusion.best, other.naive or other.best
    pair = diffusion.proper or diffusion.best, other.proper or other.best
    if pair == plain:
        raise Missing("only one sampler of each side was evaluated")
    found = _judged(evidence, pair, "C2b", INTRINSIC)
    drop = _drop(evidence, plain, pair)
    parts = (*found.parts, ("less with these samplers by", drop.interval()))
    if found.outcome == "undecided" and growth(evidence).outcome == "supported" and drop.interval().side() > 0:
        why = f"an artefact of the sampler: it shrinks with {pair[0]} and {pair[1]}, and is no longer shown"
        return Verdict("C2b", INTRINSIC, "refuted", why, found.interval, drop.p(), parts=parts)
    return Verdict("C2b", INTRINSIC, found.outcome, found.why, found.interval, found.p, parts=parts)


def _judged(evidence: Evidence, pair: tuple[str, str], name: str, statement: str) -> Verdict:
    if not evidence.hallucination:
        raise Missing("no measure of hallucination was computed")
    measure, values = next(iter(evidence.hallucination.items()))
    own, contrast = _slopes(values, pair)
    up, down = _directed(own, contrast)
    direction = int(up <= 1 - LEVEL) - int(down <= 1 - LEVEL)
    words = {1: "grows", -1: "falls", 0: "is not shown to grow"}
    than = {1: "more than", -1: "less than", 0: "not differently, as far as shown, from"}
    mine, apart = own.interval(), contrast.interval()
    why = f"{measure} of {pair[0]} {words[mine.side()]}, {than[apart.side()]} that of {pair[1]}"
    parts = [(f"{measure}, slope of diffusion", mine), *_others(evidence, pair)]
    return Verdict(name, statement, outcome(direction), why, apart, min(up, down), parts=tuple(parts))


def _directed(own: Bootstrap, contrast: Bootstrap) -> tuple[float, float]:
    """Return the p-values that both are above 0, and that one of the two is below."""
    p = np.array([own.p(), contrast.p()])
    sign = np.sign([own.point, contrast.point])
    up, down = (np.where((sign == s) & np.isfinite(p), p, 1.0) for s in (1, -1))
    return float(up.max()), float(down.min())


def _slopes(values: Values, pair: tuple[str, str]) -> tuple[Bootstrap, Bootstrap]:
    """Return the slope of the first method, and how much steeper it is than that of the second."""
    ratios = between(values, pair, RATIOS)
    own, theirs = _of_subjects(values, pair, ratios)
    return bootstrap(mean(own), len(own)), bootstrap(mean(own - theirs), len(own))


def _of_subjects(values: Values, methods: Sequence[str], ratios: Sequence[float]) -> list[Floats]:
    found = columns([(m, r) for m in methods for r in ratios], values)
    return [slopes(ratios, part) for part in np.split(found, len(methods), axis=1)]


def _drop(evidence: Evidence, plain: tuple[str, str], proper: tuple[str, str]) -> Bootstrap:
    values = next(iter(evidence.hallucination.values()))
    methods = (*plain, *proper)
    a, b, c, d = _of_subjects(values, methods, between(values, methods, RATIOS))
    return bootstrap(mean((a - b) - (c - d)), len(a))


def _others(evidence: Evidence, pair: tuple[str, str]) -> list[tuple[str, Interval]]:
    """Return the difference of slopes of the other measures that have results."""
    parts = []
    for measure, values in list(evidence.hallucination.items())[1:]:
        try:
            parts.append((measure, _slopes(values, pair)[1].interval()))
        except Missing:
            continue
    try:
        return [*parts, *_over_confidence(evidence, pair)]
    except Missing:
        return parts


def _over_confidence(evidence: Evidence, pair: tuple[str, str]) -> list[tuple[str, Interval]]:
    """Return the difference of the slopes of -log kappa: above 0 where diffusion becomes the more over-confident."""
    if evidence.kappa is None:
        return []
    variance, error = evidence.kappa
    ratios = between({key: None for key in variance if key in error}, pair, RATIOS)
    found = columns([(m, r) for m in pair for r in ratios], variance, error)
    over, under = np.split(found, 2, axis=1)
    each = [_log(ratio_of_means(v, e)) for v, e in zip(over.T, under.T, strict=True)]
    mine, theirs = (slope(ratios, side) for side in (each[: len(ratios)], each[len(ratios) :]))
    return [("over-confidence", bootstrap(difference(mine, theirs), len(found)).interval())]


def _log(kappa: Statistic) -> Statistic:
    return lambda weights: -np.log(kappa(weights))
