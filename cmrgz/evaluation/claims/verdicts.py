"""All claims judged together."""

from collections.abc import Callable
from dataclasses import replace

from cmrgz.evaluation.claims.evidence import Evidence, Missing, Verdict
from cmrgz.evaluation.claims.fidelity import fidelity
from cmrgz.evaluation.claims.hallucination import growth, intrinsic
from cmrgz.evaluation.claims.perception import stability, unconditional
from cmrgz.evaluation.claims.tradeoff import trade_off
from cmrgz.evaluation.statistics.bootstrap import LEVEL
from cmrgz.evaluation.statistics.multiple import holm

CLAIMS: dict[str, tuple[str, Callable[[Evidence], Verdict]]] = {
    "C1": (
        "diffusion models look more like real images than autoregressive models when nothing is given",
        unconditional,
    ),
    "C2": ("diffusion models hallucinate more as more is hidden, and more so than autoregressive models", growth),
    "C2b": (
        "diffusion models hallucinate more as more is hidden with any sampler: it is not the plain one's fault",
        intrinsic,
    ),
    "C3": ("autoregressive models look alike at every ratio, and diffusion models do not", stability),
    "C4": ("autoregressive models are less faithful to what was hidden than diffusion models", fidelity),
    "C5": ("across families, the nearer to the truth the less real the results look", trade_off),
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
        verdict = claim(evidence)
    except Missing as missing:
        verdict = Verdict("not-tested", str(missing))
    return replace(verdict, name=name, statement=statement)


def _kept(verdict: Verdict, adjusted: float) -> Verdict:
    decided = verdict.outcome in ("supported", "refuted")
    if not decided or adjusted <= 1 - LEVEL:
        return replace(verdict, adjusted=adjusted)
    why = f"{verdict.outcome} alone, but not among all claims tested (Holm p {adjusted:.2g}): {verdict.why}"
    return replace(verdict, adjusted=adjusted, outcome="undecided", why=why)
