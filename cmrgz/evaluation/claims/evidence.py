"""What the claims are judged by, and what is said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cmrgz.evaluation.statistics.bootstrap import LEVEL, Bootstrap, Floats, Interval
from cmrgz.evaluation.statistics.kernel import Resampled
from cmrgz.evaluation.statistics.multiple import holm
from cmrgz.evaluation.statistics.subjects import FEW, paired

Key = tuple[str, float]
"""A method and the share that is hidden."""
Values = Mapping[Key, Mapping[str, float]]
"""Of one metric: by method and ratio, one value a subject (NaN where not defined)."""
Outcome = Literal["supported", "refuted", "undecided", "not-tested"]


@dataclass(frozen=True)
class Arm:
    """The methods of one side of the comparison.

    Attributes:
        best: What stands for the side: chosen on validation or declared before, never by these results.
        naive: Its model with the plain sampler (`replace`, `forced`), or None for `best`.
        proper: Its model with a sampler that aims at the posterior (`lanpaint`, `anyorder`), or None for `best`.
        floor: The round trip of its tokenizer, scored in the same holes, or None where there is none.
    """

    best: str
    naive: str | None = None
    proper: str | None = None
    floor: str | None = None


@dataclass(frozen=True)
class Evidence:
    """Results as plain data; what is missing leaves claims untested.

    Attributes:
        diffusion: The one side.
        autoregressive: The other.
        families: The method that stands for each family, for the trade-off between them.
        hallucination: Measures that grow with what is invented, of which the first decides.
        psnr: Of the hole, dB.
        mse: Of the hole.
        haarpsi: Of the hole.
        kid: By extractor, the first is the primary one; the kernel distance at each method and ratio.
        fill: The method that fills with the mean.
    """

    diffusion: Arm | None = None
    autoregressive: Arm | None = None
    families: Mapping[str, str] = field(default_factory=dict)
    hallucination: Mapping[str, Values] = field(default_factory=dict)
    psnr: Values = field(default_factory=dict)
    mse: Values = field(default_factory=dict)
    haarpsi: Values = field(default_factory=dict)
    kid: Mapping[str, Mapping[Key, Resampled]] = field(default_factory=dict)
    fill: str = "mean"


@dataclass(frozen=True)
class Verdict:
    """What the evidence says of a claim.

    Attributes:
        name: For example `C1`.
        statement: The claim in words.
        outcome: Whether it holds.
        why: What decided it, or what is missing.
        interval: Of the effect, above 0 in the direction of the claim unless the claim says otherwise.
        p: The smallest level at which the rule of the claim would still decide; NaN where not tested.
        adjusted: `p` after Holm over the claims tested together.
    """

    name: str
    statement: str
    outcome: Outcome
    why: str
    interval: Interval = Interval(np.nan, np.nan, np.nan, 0)
    p: float = np.nan
    adjusted: float = np.nan

    @property
    def effect(self) -> float:
        """The point of the interval."""
        return self.interval.point

    @property
    def n(self) -> int:
        """Number of subjects."""
        return self.interval.n

    @property
    def descriptive(self) -> bool:
        """Whether there are too few subjects to conclude for others."""
        return self.n < FEW


class Missing(Exception):
    """Something that a claim needs is not there; the message says what. Never leaves this package."""


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
    absent = [f"{method} at {ratio:g}" for method, ratio in keys if (method, ratio) not in values]
    if absent:
        raise Missing(f"there are no results of {absent[0]}")
    subjects, found = paired(*(values[key] for key in keys))
    if len(subjects) < 2:
        raise Missing(f"2 subjects with all results are needed, and there are {len(subjects)}")
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
