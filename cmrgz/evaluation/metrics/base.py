"""What a metric sees of one evaluated frame, and what it says of itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Labels = NDArray[np.uint8]
"""0 background, 1 right ventricle, 2 myocardium, 3 left ventricle."""

Better = Literal["higher", "lower", "one", "zero", "none"]
"""Which values are good: more, less, near 1, near 0, or neither (a description)."""


AVERAGES = (1, 2, 4, 8, 16)
"""Averages of this many samples are looked at: from one sample to the mean a method traces its own curve."""


@dataclass(frozen=True)
class Cine:
    """A frame's slice in all phases of its crop, known pixels as given.

    Attributes:
        truth: (t, h, w) in [0, 1].
        known: (t, h, w) bool.
        samples: (k, t, h, w) in [0, 1]; NaN in phases that the method was not asked for.
        t: Which phase the frame is.
        ring: The phases are a full cycle.
        blocks: (t,) in which block of a model of blocks a phase was drawn, -1 where in none.
    """

    truth: Floats
    known: Bools
    samples: Floats
    t: int
    ring: bool = False
    blocks: tuple[int, ...] = ()

    @property
    def before(self) -> int | None:
        """The phase before the frame's, or None where there is none or it was not drawn."""
        first = self.t == 0
        if first and not (self.ring and len(self.truth) > 1):
            return None
        before = (self.t - 1) % len(self.truth)
        return None if bool(np.isnan(self.samples[:, before]).any()) else before


@dataclass(frozen=True)
class Sampled:
    """One frame with what a method drew for it.

    Attributes:
        truth: (h, w) in [0, 1], scaled once per scan, never per image: the data range is 1.
        known: (h, w) bool, True = given.
        drawn: (k, h, w) in [0, 1], as the method gave it: known pixels are not yet pasted.
        spacing: Pixel size, mm.
        label: (h, w) the annotated heart, or None.
        truth_segment: (h, w) what the segmenter says of the truth, or None without a segmenter.
        segments: (k, h, w) what it says of `samples`, or None.
        moving: (h, w) bool, where the heart moves, or None.
        cine: The slice over time, or None.
        pasted: Known pixels of `drawn` are as given: they tell nothing of the method.
        certain: The method has no chance in it, so that its one sample is all that it says.
    """

    truth: Floats
    known: Bools
    drawn: Floats
    spacing: float = 1.4
    label: Labels | None = None
    truth_segment: Labels | None = None
    segments: Labels | None = None
    moving: Bools | None = None
    cine: Cine | None = None
    pasted: bool = False
    certain: bool = False

    @cached_property
    def samples(self) -> Floats:
        """(k, h, w) the results: known pixels as given. Every metric but those of `drawn` itself is of these."""
        return np.where(self.known, self.truth, self.drawn)

    @cached_property
    def mean(self) -> Floats:
        """(h, w) the mean of the samples."""
        return self.samples.mean(0)

    @property
    def hidden(self) -> Bools:
        """(h, w) the hole."""
        return ~self.known


def average(values: NDArray[Any]) -> float:
    """Return the mean of values of any shape, NaN of none."""
    return float(values.mean()) if values.size else float("nan")


T = TypeVar("T")


def once(compute: Callable[[Sampled], T]) -> Callable[[Sampled], T]:
    """Return `compute`, done once a frame: what several metrics share is kept on the frame, like its `samples`."""
    key = f"{compute.__module__}.{compute.__qualname__}"

    @wraps(compute)
    def kept(frame: Sampled) -> T:
        values = vars(frame)
        if key not in values:
            values[key] = compute(frame)
        return values[key]

    return kept


@dataclass(frozen=True)
class Metric:
    """A number for one frame.

    Attributes:
        name: For example `psnr-hole`; the region stands at the end.
        of: From a frame to the number; NaN where it is not defined (an empty region, no label).
        better: Which values are good.
        unit: For example `dB`, or "".
        least: Samples that it needs; with fewer it is not computed.
        certain: It is defined of the one sample of a method without chance, too.
        cite: The source.
    """

    name: str
    of: Callable[[Sampled], float]
    better: Better
    unit: str = ""
    least: int = 1
    cite: str = ""
    certain: bool = False


@dataclass(frozen=True)
class Ratio:
    """A number that is a ratio of the means of two metrics over frames, never a mean of ratios.

    Attributes:
        name: For example `kappa`.
        over: Name of the metric in the numerator.
        under: Name of the metric in the denominator.
        better: Which values are good.
        cite: The source.
    """

    name: str
    over: str
    under: str
    better: Better
    cite: str = ""

    def of(self, means: Mapping[str, float]) -> float:
        """Return the ratio from the means of metrics by name; NaN over nothing, or over less (estimates can be)."""
        under = means[self.under]
        return means[self.over] / under if under > 0 else float("nan")
