"""What a set metric says of itself, the space that features are compared in, and what reals score against reals."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmrgz.errors import DataError
from cmrgz.evaluation.metrics.base import Better, Floats

Subjects = Sequence[str] | NDArray[Any]
"""Who each row of a set is of: (n,)."""

COMPONENTS = 64  # most principal components for a Frechet distance: its bias grows with their number
FARTHEST = 10.0  # a z-score is cut to it: beyond, one feature would drown the others in a cubic kernel


@dataclass(frozen=True)
class Space:
    """Axes and units of a feature space, fitted once on reference features and frozen.

    Attributes:
        mean: (d,) of the reference.
        scale: (d,) standard deviation of the reference, 1 for a feature that is constant there.
        axes: (d, c) orthonormal, the c principal axes of the reference in units of `scale`.
    """

    mean: Floats
    scale: Floats
    axes: Floats

    @classmethod
    def fit(cls, reference: Floats, components: int = COMPONENTS) -> "Space":
        """Return the space of reference features (m, d), best those of training reals.

        Raises:
            DataError: `shape-mismatch`, `empty-dataset` or `nonfinite`.
        """
        reference = _finite(reference)
        mean, spread = reference.mean(0), reference.std(0)
        # a feature that hardly varies among reals would turn a rounding into many standard deviations
        constant = spread <= 1e-6 * np.abs(mean) + 1e-12
        scale = np.where(constant, 1.0, spread)
        z = _scores(reference, mean, scale)
        axes = np.linalg.eigh(np.cov(z, rowvar=False).reshape(len(mean), -1))[1][:, ::-1]
        # n points span n - 1 axes; what lies beyond them is a rounding
        return cls(mean, scale, axes[:, : min(components, len(reference) - 1)])

    def standard(self, features: Floats) -> Floats:
        """Return features (n, d) as z-scores of the reference, within 10 of its mean."""
        return _scores(np.asarray(features, np.float64), self.mean, self.scale)

    def beyond(self, features: Floats) -> float:
        """Return the share of features (n, d) that lie more than 10 standard deviations from the reference's mean."""
        return float((np.abs(features - self.mean) > FARTHEST * self.scale).mean())

    def principal(self, features: Floats) -> Floats:
        """Return features (n, d) in at most 64 principal components of the reference: (n, c)."""
        return self.standard(features) @ self.axes


@dataclass(frozen=True)
class Score:
    """A number for two sets, or NaN and why it is not defined."""

    value: float
    reason: str = ""


@dataclass(frozen=True)
class SetMetric:
    """A number for a set of generated items beside a set of real ones.

    Attributes:
        name: For example `kid`.
        of: From (generated (n, ...), real (m, ...)) to the number; with `by_subject` it also takes the keyword
            `subjects`, a pair of arrays (n,) and (m,).
        better: Which values are good.
        least: Items that each set needs; with fewer it is NaN.
        on: What it compares: z-scored `features` (n, d), their `principal` components, or `images` (n, h, w).
        unit: For example `x1000`, or "".
        by_subject: Whether it can leave out pairs of one subject, which are no independent draws.
        cite: The source.
    """

    name: str
    of: Callable[..., float]
    better: Better
    least: int
    on: Literal["features", "principal", "images"] = "features"
    unit: str = ""
    by_subject: bool = False
    cite: str = ""

    def score(
        self,
        generated: Floats,
        real: Floats,
        space: Space | None = None,
        subjects: tuple[Subjects, Subjects] | None = None,
    ) -> Score:
        """Return the number, or NaN with a reason: too few items, values that are not finite.

        Args:
            generated: Raw features (n, d) of an extractor, or images (n, h, w) in [0, 1].
            real: Likewise (m, ...).
            space: The feature space; that of `real` if None. Not used for images.
            subjects: Who the generated and the real items are of, where known.
        """
        if reason := self._lacking(generated, real):
            return Score(math.nan, reason)
        if self.on != "images":
            space = space or Space.fit(real)
            to = space.standard if self.on == "features" else space.principal
            generated, real = to(generated), to(real)
        keywords = {"subjects": subjects} if self.by_subject and subjects is not None else {}
        value = float(self.of(generated, real, **keywords))
        return Score(value, "" if math.isfinite(value) else "not defined for these sets")

    def _lacking(self, generated: Floats, real: Floats) -> str:
        n, m = len(generated), len(real)
        if min(n, m) < self.least:
            return f"needs {self.least} items in each set, has {n} generated and {m} real"
        for name, items in (("generated", generated), ("real", real)):
            if odd := int((~np.isfinite(items).reshape(len(items), -1).all(1)).sum()):
                return f"{odd} {name} items are not finite"
        return ""


@dataclass(frozen=True)
class Control:
    """What reals score against reals: the floor of a set metric.

    Attributes:
        values: One for each split into two halves without a common subject.
        n: Items in each half; a biased metric is comparable only at the same number.
    """

    values: tuple[float, ...]
    n: int

    @property
    def mean(self) -> float:
        """The mean over splits, NaN if a split gave none."""
        return float(np.mean(self.values))


def control(
    metric: SetMetric,
    real: Floats,
    subjects: Subjects,
    space: Space | None = None,
    most: int | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> Control:
    """Return what the metric gives for halves of the reals that share no subject, in random splits.

    Of raw features or images, and a space, as `SetMetric.score` takes them; of at most `most` items in each half, to
    match a generated set.
    """
    rng, names = np.random.default_rng(seed), np.asarray(subjects)
    splits = [halves(names, rng) for _ in range(repeats)]
    n = min([len(half) for split in splits for half in split] + ([] if most is None else [most]))
    chosen = [tuple(np.sort(rng.permutation(half)[:n]) for half in split) for split in splits]
    scores = [metric.score(real[a], real[b], space, (names[a], names[b])) for a, b in chosen]
    return Control(tuple(score.value for score in scores), n)


def halves(subjects: Subjects, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of two random sets of about equal size without a common subject."""
    names, of, counts = np.unique(subjects, return_inverse=True, return_counts=True)
    order = rng.permutation(len(names))
    # whole subjects, by the items before them: about half of the items, however unequal the subjects are
    before = np.cumsum(counts[order]) - counts[order] / 2
    first = np.isin(of, order[before < len(of) / 2])
    return np.flatnonzero(first), np.flatnonzero(~first)


def subset(items: Floats, n: int, seed: int) -> Floats:
    """Return `n` random items, all of them in their order if there are no more."""
    if len(items) <= n:
        return items
    return items[np.sort(np.random.default_rng(seed).choice(len(items), n, replace=False))]


def _scores(features: Floats, mean: Floats, scale: Floats) -> Floats:
    return np.clip((features - mean) / scale, -FARTHEST, FARTHEST)


def _finite(reference: Floats) -> Floats:
    reference = np.asarray(reference, np.float64)
    if reference.ndim != 2:
        raise DataError("shape-mismatch", "features", "expected (n, d)", str(reference.shape))
    if len(reference) < 2:
        raise DataError("empty-dataset", "features", "a feature space needs 2 reference items", f"got {len(reference)}")
    if not np.isfinite(reference).all():
        raise DataError("nonfinite", "features", "reference features are not finite")
    return reference
