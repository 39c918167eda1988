"""The rows of a summary: methods, masks, metrics, and numbers of them.

In all rows, `method` is what filled, `mask` what hid, `metric` what was measured and `subjects` the patients that a
number is over; `low` and `high` are the ends of its 95 % interval over patients, NaN where there is none. What is not
defined is NaN, and `reason` says why.
"""

import math
from dataclasses import dataclass
from typing import Literal

from cmrgz.evaluation.table import MaskInfo, MethodInfo

NAN = float("nan")
FAR = 0.01
"""Share of features that were cut from which a kernel distance is outside its range."""


@dataclass(frozen=True, kw_only=True)
class MethodRow(MethodInfo):
    """A method, and what a draw of it cost.

    Attributes:
        seconds: A draw took.
        calls: Of a network, a draw.
        memory_mb: Most memory while it ran.
    """

    seconds: float = NAN
    calls: float = NAN
    memory_mb: float = NAN


@dataclass(frozen=True, kw_only=True)
class MaskRow(MaskInfo):
    """A mask, and the share of a frame that it hid, mean over frames."""

    hidden: float


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """A metric.

    Attributes:
        name: For example `psnr-hole`.
        better: `higher`, `lower`, `one`, `zero` or `none`.
        unit: For example `dB`, or "".
        cite: The source.
    """

    name: str
    better: str
    unit: str = ""
    cite: str = ""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over patients with its interval (BCa bootstrap).

    Attributes:
        value: The mean over patients, or for a ratio the ratio of means.
        tied: Whether it is the best of the models, or not shown to be worse (Holm).
        floor: Of a model, the baseline that does best, or "" where none does this.
        gain: How much better than that the model is, mean over patients that both have: above 0 is better.
        gain_low: Lower end of the 95 % interval of the gain.
        gain_high: Upper end of it.
    """

    method: str
    mask: str
    metric: str
    value: float
    low: float = NAN
    high: float = NAN
    subjects: int = 0
    tied: bool = False
    floor: str = ""
    gain: float = NAN
    gain_low: float = NAN
    gain_high: float = NAN

    @property
    def beaten(self) -> bool:
        """Whether the model is shown to be better than its floor; of one patient, whether it is."""
        # a single patient has no interval, and a model that is worse there shall be told all the same
        return (self.gain if math.isnan(self.gain_low) else self.gain_low) > 0


@dataclass(frozen=True, kw_only=True)
class ContrastRow:
    """A paired difference of two models, the first less the second.

    Attributes:
        first: A model.
        second: Another.
        difference: Mean over patients.
        p: Of no difference, adjusted over all contrasts of the metric (Holm).
        dz: Cohen's effect size.
        cliff: Cliff's delta.
        detectable: The least difference that as many patients show four times in five.
    """

    first: str
    second: str
    mask: str
    metric: str
    difference: float
    low: float
    high: float
    p: float
    dz: float
    cliff: float
    detectable: float
    subjects: int


@dataclass(frozen=True, kw_only=True)
class SetRow:
    """A number for a set of results beside real frames.

    Attributes:
        extractor: Of the features, or "" for a metric of images.
        metric: For example `kid`.
        average: Samples that were averaged before: 1 is a sample as it was drawn.
        value: The number, NaN where it is not defined.
        floor: What real frames score against real frames of other patients.
        items: Results that it is over.
        beyond: Share of the features that lie so far from those of reals that they were cut: from a hundredth on the
            number says that the sets are apart, and not how far.
    """

    method: str
    mask: str
    extractor: str
    metric: str
    average: int = 1
    value: float = NAN
    low: float = NAN
    high: float = NAN
    floor: float = NAN
    items: int = 0
    reason: str = ""
    beyond: float = NAN

    @property
    def far(self) -> bool:
        """Whether the number is outside the range in which it says how far sets are apart."""
        return self.beyond >= FAR


@dataclass(frozen=True, kw_only=True)
class BiomarkerRow:
    """Agreement of volumes, fractions and masses with those of the truth, over the same slices.

    Attributes:
        biomarker: For example `lv-ef`.
        unit: For example `ml`.
        bias: Mean of result less truth over patients.
        low: Lower limit of agreement (95 %, Bland and Altman), not of the mean.
        high: Upper limit.
        error: Mean absolute difference.
    """

    method: str
    mask: str
    biomarker: str
    unit: str
    bias: float
    low: float
    high: float
    error: float
    subjects: int


@dataclass(frozen=True, kw_only=True)
class MemoryRow:
    """Whether a method gives back training frames, of results of which nothing was known.

    Attributes:
        extractor: Of the features.
        ratio: Share of results nearer to a training frame than 99 % of real test frames are.
        authentic: AuthPct, per cent.
        copying: C_T; below 0 is copying.
        items: Results.
        reason: Why it is not defined or is rough, or "".
    """

    method: str
    extractor: str
    ratio: float = NAN
    authentic: float = NAN
    copying: float = NAN
    items: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ProbeRow:
    """Whether holes in training frames come back better than holes in frames of other patients.

    Attributes:
        auc: Probability that a held-out frame has the larger error: 0.5 without memorisation.
    """

    method: str
    mask: str
    auc: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A condition without which no number counts.

    Attributes:
        name: For example `leak`.
        status: Whether it holds; `unknown` where it could not be tested.
        detail: One sentence.
    """

    name: str
    status: Literal["pass", "fail", "unknown"]
    detail: str


@dataclass(frozen=True, kw_only=True)
class ClaimRow:
    """A claim of the field, tested.

    Attributes:
        name: `C1` .. `C5`.
        statement: In words.
        verdict: `supported`, `refuted`, `undecided` or `not-tested`.
        effect: Its statistic.
        adjusted: Its p-value, adjusted over the claims tested (Holm), NaN where not tested.
        descriptive: Whether it is of too few patients to conclude for others.
        why: One sentence.
    """

    name: str
    statement: str
    verdict: str
    effect: float = NAN
    low: float = NAN
    high: float = NAN
    subjects: int = 0
    adjusted: float = NAN
    descriptive: bool = False
    why: str = ""
