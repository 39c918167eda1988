"""Does a model give back its training data? Distances to training items, and holes that come back too well.

Features are of one extractor, z-scored by the training reals (`sets.Space`), of generated items (n, d), training frames
(m, d) and held-out ones (l, d), the last two with the subjects that they are of, (m,) and (l,). Frames of one subject
are near copies of one another, so what counts as near is measured between subjects.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from cmrgz.errors import DataError
from cmrgz.evaluation.metrics.base import Floats
from cmrgz.evaluation.metrics.sets.base import Space, Subjects
from cmrgz.evaluation.metrics.sets.neighbours import distances

Indices = NDArray[np.int64]
ROWS = 1024
QUANTILE = 0.01
BOOTSTRAPS = 2000


@dataclass(frozen=True)
class Audit:
    """What distances say of copying.

    Attributes:
        ratio: Share of generated items nearer to training than 99 % of held-out reals are: 0.01 without copying.
        authentic: Percentage of generated items that are farther from their nearest training item than that is from
            other subjects (AuthPct).
        c_t: Standard score of distances to training, generated against held-out: below -3 is copying, above 3 is
            unlike the data; between them chance explains it, with ten held-out subjects or fewer.
    """

    ratio: float
    authentic: float
    c_t: float


@dataclass(frozen=True)
class Probe:
    """How well hole errors tell training frames from held-out ones.

    Attributes:
        auc: Probability that a held-out frame has the larger error: 0.5 without memorisation.
        low, high: Its 95 % interval over patients.
    """

    auc: float
    low: float
    high: float


def audit(generated: Floats, train: Floats, test: Floats, train_subjects: Subjects, test_subjects: Subjects) -> Audit:
    """Return the distances' verdict on raw features: of items drawn independently, training frames, held-out ones.

    Raises:
        DataError: `split` where a subject is in both, `empty-dataset`, or `nonfinite`.
    """
    _check_split(train_subjects, test_subjects)
    # The training reals set the scale: fitted to what was drawn, a copy would shape the space that it is found in.
    space = Space.fit(train)
    x, bank, held = (space.standard(items) for items in (generated, train, test))
    near, which = nearest(x, bank)
    reference = nearest(held, bank)[0]
    return Audit(
        ratio=nearest_ratio(near, reference),
        authentic=auth_pct(near, which, bank, train_subjects),
        c_t=c_t(near, reference, test_subjects),
    )


def nearest(x: Floats, bank: Floats, apart: tuple[Subjects, Subjects] | None = None) -> tuple[Floats, Indices]:
    """Return the distance of each item (n, d) to its nearest in the bank (m, d), infinite for none, and its index.

    With `apart`, who the items and those of the bank are of, one of the same subject is not counted.
    """
    nearest_of, which = np.empty(len(x)), np.empty(len(x), np.int64)
    for start in range(0, len(x), ROWS):  # all distances of a large run would not fit in memory
        rows = slice(start, start + ROWS)
        distance = distances(x[rows], bank)
        if apart is not None:
            distance[np.asarray(apart[0])[rows, None] == np.asarray(apart[1])] = np.inf
        nearest_of[rows], which[rows] = distance.min(1), distance.argmin(1)
    return nearest_of, which


def nearest_ratio(generated: Floats, test: Floats) -> float:
    """Return the share of generated items nearer to training than the lowest percentile of held-out reals.

    Of distances to the nearest training item, (n,) and (l,); of few held-out subjects, the percentile is rough.
    """
    return float((generated < np.quantile(test, QUANTILE)).mean())


def auth_pct(near: Floats, which: Indices, train: Floats, subjects: Subjects) -> float:
    """Return the percentage of authentic items; NaN for training items of one subject alone.

    Alaa et al. 2022, arXiv:2102.08921, of the distances and indices of what is `nearest` in training.
    """
    names = np.asarray(subjects)
    nearest_of, at = np.unique(which, return_inverse=True)  # many results may have one nearest item
    # To another subject: between frames of one, next to nothing is room enough, and a copy would pass for authentic.
    spacing = nearest(train[nearest_of], train, (names[nearest_of], names))[0]
    return float(100 * (near > spacing[at]).mean()) if np.isfinite(spacing).all() else math.nan


def c_t(generated: Floats, test: Floats, test_subjects: Subjects) -> float:
    """Return the standard score of `P(d(generated) > d(test)) - 1/2`; negative is copying.

    The Mann-Whitney statistic of Meehan et al. 2020, arXiv:2004.05675, with one cell. Frames of one patient are no
    independent draws: the variance is that of patients' sums (Obuchowski 1997, doi:10.2307/2533958), else a few
    patients look like a proof. Of distances to the nearest training item, (n,) and (l,); NaN where there is nothing to
    compare, or one subject alone.
    """
    if min(len(generated), len(test)) < 2:
        return math.nan
    # Under the null the place of a test item among the generated is its place among the tests, also if all are copies
    variance = 1 / (12 * len(generated)) + _variance(exceeding(test, test), test_subjects)
    return float((exceeding(generated, test).mean() - 0.5) / math.sqrt(variance))


def exceeding(x: Floats, y: Floats) -> Floats:
    """Return for each of x (n,) the share of y (m,) below it, ties counting half: (n,)."""
    # The rank among all, less that among its own, is how many of the others lie below: n log n, not n m comparisons.
    ranks = rankdata(np.concatenate([x, y]))[: len(x)]
    return (ranks - rankdata(x)) / len(y)


def inpainting_probe(
    train: Floats, test: Floats, train_subjects: Subjects, test_subjects: Subjects, seed: int = 0
) -> Probe:
    """Return whether holes in training frames come back better than holes in frames of other subjects.

    Hide 90 to 100 % of both with the same masks; a model that memorised a scan needs little of it. The membership
    attack of Yeom et al. 2018, arXiv:1709.01604, with the error of the hole, one a frame, as its loss. The seed is that
    of the bootstrap, which draws patients of each side.

    Raises:
        DataError: `split` where a subject is in both, or `empty-dataset`.
    """
    _check_split(train_subjects, test_subjects)
    won, sizes = _between_subjects(train, test, train_subjects, test_subjects)
    rng = np.random.default_rng(seed)
    # Patients of both sides are drawn again, as counts, so that all resamples are two products of matrices.
    a, b = (rng.multinomial(k, np.full(k, 1 / k), BOOTSTRAPS).astype(float) for k in won.shape)
    drawn = ((a @ won) * b).sum(1) / ((a @ sizes) * b).sum(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Probe(float(won.sum() / sizes.sum()), float(low), float(high))


def _between_subjects(x: Floats, y: Floats, of_x: Subjects, of_y: Subjects) -> tuple[Floats, Floats]:
    """Return in how many pairs of frames y exceeds x, and of how many, for each pair of subjects."""
    (names, at_x), (others, at_y) = (np.unique(of, return_inverse=True) for of in (of_x, of_y))
    groups = [x[at_x == i] for i in range(len(names))]
    won = [len(group) * np.bincount(at_y, exceeding(y, group), len(others)) for group in groups]
    return np.array(won), np.outer(np.bincount(at_x), np.bincount(at_y)).astype(float)


def _variance(share: Floats, of: Subjects | NDArray[Any]) -> float:
    """Return the variance of the mean of `share` when subjects are drawn, not items."""
    names, at = np.unique(of, return_inverse=True)
    sums = np.bincount(at, share - share.mean())
    return float((sums**2).sum() / len(share) ** 2 * len(names) / (len(names) - 1)) if len(names) > 1 else math.nan


def _check_split(train: Subjects, test: Subjects) -> None:
    if both := sorted({str(s) for s in train} & {str(s) for s in test}):
        facts = f"{len(both)}: {', '.join(both[:3])}"
        raise DataError("split", "memorisation", "a subject is both in training and held out", facts)
    if not (len(train) and len(test)):
        raise DataError("empty-dataset", "memorisation", "both training and held-out frames are needed")
