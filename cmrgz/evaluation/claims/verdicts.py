"""All claims judged together."""

from collections.abc import Callable
from dataclasses import replace

from cmrgz.evaluation.claims.evidence import Evidence, Missing, Verdict
from cmrgz.evaluation.claims.fidelity import FIDELITY, fidelity
from cmrgz.evaluation.claims.hallucination import GROWTH, INTRINSIC, growth, intrinsic
from cmrgz.evaluation.claims.perception import PERCEPTION, STABLE, stability, unconditional
from cmrgz.evaluation.claims.tradeoff import TRADE_OFF, trade_off
from cmrgz.evaluation.statistics.bootstrap import LEVEL
from cmrgz.evaluation.statistics.multiple import holm

Claim = Callable[[Evidence], Verdict]

CLAIMS: dict[str, tuple[str, Claim]] = {
    "C1": (PERCEPTION, unconditional),
    "C2": (GROWTH, growth),
    "C2b": (INTRINSIC, intrinsic),
    "C3": (STABLE, stability),
    "C4": (FIDELITY, fidelity),
    "C5": (TRADE_OFF, trade_off),
}
"""By name: the claim in words, and its rule."""


def judge(evidence: Evidence) -> tuple[Verdict, ...]:
    """Return a verdict on each claim, in order.

    A claim that lacks something it needs is `not-tested`, and says what. One that its own rule decides stays decided
    only if its p-value, adjusted by Holm over the claims that were tested, allows it.
    """
    # NaN, of what was not tested, does not count in Holm's number: a missing arm makes no other claim harder
    found = [_judged(name, evidence) for name in CLAIMS]
    adjusted = holm([v.p for v in found])
    return tuple(_kept(v, float(p)) for v, p in zip(found, adjusted, strict=True))


def _judged(name: str, evidence: Evidence) -> Verdict:
    statement, claim = CLAIMS[name]
    try:
        return claim(evidence)
    except Missing as missing:
        return Verdict(name, statement, "not-tested", str(missing))


def _kept(verdict: Verdict, adjusted: float) -> Verdict:
    decided = verdict.outcome in ("supported", "refuted")
    if not decided or adjusted <= 1 - LEVEL:
        return replace(verdict, adjusted=adjusted)
    why = f"{verdict.outcome} alone, but not among all claims tested (Holm p {adjusted:.2g}): {verdict.why}"
    return replace(verdict, adjusted=adjusted, outcome="undecided", why=why)
