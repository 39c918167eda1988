"""What the rules of the claims share: which results they need, and how many effects must agree."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from cmrgz.evaluation.claims.evidence import Arm, Distances, Evidence, Key, Missing, Outcome, Values
from cmrgz.evaluation.statistics.bootstrap import LEVEL, Bootstrap, Floats
from cmrgz.evaluation.statistics.multiple import holm
from cmrgz.evaluation.statistics.subjects import paired

EXTRACTORS = 2  # that must agree: a ranking by one may be a liking of that one
Found = TypeVar("Found")


def arms(evidence: Evidence) -> tuple[Arm, Arm]:
    """Return diffusion and the autoregressive side, or raise Missing."""
    if evidence.diffusion is None or evidence.autoregressive is None:
        side = "diffusion" if evidence.diffusion is None else "autoregressive"
        raise Missing(f"no {side} model was evaluated")
    return evidence.diffusion, evidence.autoregressive


def between(keys: Mapping[Key, object], methods: Sequence[str], least: int) -> tuple[float, ...]:
    """Return the ratios above 0 and below 1 at which all methods have results, or raise Missing below `least`."""
    # at 0 nothing is drawn and at 1 nothing is given: neither says how a result follows what it was given
    of = [{ratio for method, ratio in keys if method == m and 0 < ratio < 1} for m in methods]
    ratios = tuple(sorted(set.intersection(*of)))
    if len(ratios) < least:
        raise Missing(
            f"{least} ratios are needed at which {', '.join(methods)} have results, and there are {len(ratios)}"
        )
    return ratios


def grid(values: Values, methods: Sequence[str], least: int) -> tuple[tuple[float, ...], Floats]:
    """Return the ratios of `between`, and the values there of subjects that have all: (n, methods, ratios)."""
    ratios = between(values, methods, least)
    found = columns([(method, ratio) for method in methods for ratio in ratios], values)
    return ratios, found.reshape(len(found), len(methods), len(ratios))


def columns(keys: Sequence[Key], values: Values) -> Floats:
    """Return the values of subjects that have all of them, (n, keys), or raise Missing."""
    subjects, found = paired(*at(keys, values))
    enough(subjects)
    return found


def at(keys: Sequence[Key], results: Mapping[Key, Found]) -> list[Found]:
    """Return the results of methods and ratios, or raise Missing."""
    for method, ratio in keys:
        if (method, ratio) not in results:
            raise Missing(f"there are no results of {method} at {ratio:g}")
    return [results[key] for key in keys]


def enough(subjects: Sequence[str]) -> None:
    """Raise Missing below two subjects."""
    if len(subjects) < 2:
        raise Missing(f"2 subjects with all results are needed, and there are {len(subjects)}")


def by_extractor(evidence: Evidence, of: Callable[[Distances], Found]) -> dict[str, Found]:
    """Return what `of` finds by each extractor that has what it needs, or raise Missing below two."""
    found, lacking = dict[str, Found](), list[str]()
    for name, distances in evidence.kid.items():
        try:
            found[name] = of(distances)
        except Missing as missing:
            lacking.append(f"; by {name}, {missing}")
    if len(found) < EXTRACTORS:
        what = f"{EXTRACTORS} extractors are needed that have seen all methods, and there are {len(found)}"
        raise Missing(what + "".join(lacking[:1]))
    return found


def agreement(each: Sequence[Bootstrap], need: int, adjust: bool, against: int | None = None) -> tuple[int, float]:
    """Return the direction (1, -1, or 0 for none) in which at least `need` effects are shown, and the p-value of that.

    The p-value is the smallest level at which the rule would decide for the direction that is nearer to it.

    Args:
        each: Effects with their resamples.
        need: How many must agree.
        adjust: Whether by Holm over the effects.
        against: How many are enough for the direction -1; as many as `need` if None.
    """
    p, sign = np.array([b.p() for b in each]), np.sign([b.point for b in each])
    p = holm(p) if adjust else p
    # the m-th smallest p-value of a sign is the level at which m effects of it are shown
    up, down = (np.sort(np.where((sign == s) & np.isfinite(p), p, 1.0)) for s in (1, -1))
    shown, refuted = float(up[need - 1]), float(down[(against or need) - 1])
    return int(shown <= 1 - LEVEL) - int(refuted <= 1 - LEVEL), min(shown, refuted)


def outcome(direction: int) -> Outcome:
    """Return the outcome for a direction: 1 is that of the claim."""
    return "supported" if direction > 0 else "refuted" if direction < 0 else "undecided"


def less_the_floors(direction: int, rule: Callable[[], int], what: str) -> str:
    """Return whether a rule decides alike with `what` of the round trips subtracted, to say it after another reason."""
    try:
        same = rule() == direction
    except Missing:
        return "; not corrected for the tokenizers, whose round trips were not scored"
    return f"; {'the same' if same else 'another outcome'} with {what} subtracted"
