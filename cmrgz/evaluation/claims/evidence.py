"""What the claims are judged by, and what is said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cmrgz.evaluation.statistics.bootstrap import Interval
from cmrgz.evaluation.statistics.kernel import Resampled
from cmrgz.evaluation.statistics.subjects import FEW

Key = tuple[str, float]
"""A method and the share that is hidden."""
Values = Mapping[Key, Mapping[str, float]]
"""Of one metric: by method and ratio, one value a subject (NaN where not defined)."""
Distances = Mapping[Key, Resampled]
"""Of one extractor: the kernel distance at each method and ratio."""
Outcome = Literal["supported", "refuted", "undecided", "not-tested"]


@dataclass(frozen=True)
class Arm:
    """The methods of one side of the comparison.

    Attributes:
        best: What stands for the side, with a sampler that aims at the posterior: declared before, never by results.
        naive: Its model with the plain sampler (`replace`, `forced`), or None for `best`.
        floor: The round trip of its tokenizer, scored in the same holes, or None where there is none.
    """

    best: str
    naive: str | None = None
    floor: str | None = None


@dataclass(frozen=True)
class Evidence:
    """Results as plain data; what is missing leaves claims untested.

    Attributes:
        diffusion: The one side.
        autoregressive: The other.
        families: The methods that stand for a family each, for the trade-off between them.
        hallucination: Measures that grow with what is invented, of which the first decides.
        psnr: Of the hole, dB.
        mse: Of the hole.
        haarpsi: Of the hole.
        kid: By extractor, the first is the primary one.
    """

    diffusion: Arm | None = None
    autoregressive: Arm | None = None
    families: Sequence[str] = ()
    hallucination: Mapping[str, Values] = field(default_factory=dict)
    psnr: Values = field(default_factory=dict)
    mse: Values = field(default_factory=dict)
    haarpsi: Values = field(default_factory=dict)
    kid: Mapping[str, Distances] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What the evidence says of a claim.

    Attributes:
        outcome: Whether it holds.
        why: What decided it, or what is missing.
        interval: Of the effect, above 0 in the direction of the claim unless the claim says otherwise.
        p: The smallest level at which the rule of the claim would still decide; NaN where not tested.
        adjusted: `p` after Holm over the claims tested together.
        name: For example `C1`.
        statement: The claim in words.
    """

    outcome: Outcome
    why: str
    interval: Interval = Interval()
    p: float = np.nan
    adjusted: float = np.nan
    name: str = ""
    statement: str = ""

    @property
    def descriptive(self) -> bool:
        """Whether it was tested on too few subjects to conclude for others."""
        return self.outcome != "not-tested" and self.interval.n < FEW


class Missing(Exception):
    """Something that a claim needs is not there; the message says what. Never leaves this package."""
