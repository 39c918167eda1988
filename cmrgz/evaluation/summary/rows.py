"""The rows of a summary: methods, masks, and numbers of them.

In all rows, `method` is what filled, `mask` what hid, `metric` what was measured and `subjects` the patients that a
number is over; `low` and `high` are the ends of its 95 % interval over patients, NaN where there is none. What is not
defined is NaN, and `reason` says why.
"""

import math
from dataclasses import dataclass
from typing import Literal

from cmrgz.anatomy.agreement import Agreement
from cmrgz.evaluation.memorisation import Audit, Probe
from cmrgz.evaluation.statistics.effects import Contrast
from cmrgz.evaluation.table import MaskInfo, MethodInfo

NAN = float("nan")
FAR = 0.01
"""Share of features that were cut from which a kernel distance is outside its range."""


@dataclass(frozen=True, kw_only=True)
class MethodRow(MethodInfo):
    """A method, what a draw of it cost in seconds and network calls, and the most memory while it ran."""

    seconds: float = NAN
    calls: float = NAN
    memory_mb: float = NAN


@dataclass(frozen=True, kw_only=True)
class MaskRow(MaskInfo):
    """A mask, and the share of a frame that it hid, mean over frames."""

    hidden: float


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
class ContrastRow(Contrast):
    """A paired difference of two models, the first less the second; p is adjusted over those of the metric (Holm)."""

    first: str
    second: str
    mask: str
    metric: str


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
class BiomarkerRow(Agreement):
    """Agreement of a volume, fraction or mass, for example `LVEF`, with that of the truth, over the same slices."""

    method: str
    mask: str
    biomarker: str
    unit: str


@dataclass(frozen=True, kw_only=True)
class MemoryRow:
    """Whether a method gives back training frames, of so many results of which nothing was known.

    The audit is by features of the extractor; the reason says why it is not defined, or is rough.
    """

    method: str
    extractor: str
    items: int
    audit: Audit = Audit(NAN, NAN, NAN)
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ProbeRow(Probe):
    """Whether holes in training frames come back better than holes in frames of other patients."""

    method: str
    mask: str


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A condition without which no number counts: `unknown` where it could not be tested."""

    name: str
    status: Literal["pass", "fail", "unknown"]
    detail: str
