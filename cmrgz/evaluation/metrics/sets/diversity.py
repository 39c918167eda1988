"""How alike the items of a set are to one another, beside how alike reals are: the sign of a collapse."""

import math

import numpy as np
from numpy.typing import NDArray

from cmrgz.evaluation.metrics.base import Floats, Sampled
from cmrgz.evaluation.metrics.sets.base import Subjects
from cmrgz.evaluation.metrics.structure import ms_ssim

PAIRS = 500
DRAWN = 4 * PAIRS  # more than are needed, since those of one subject are left out


def ms_ssim_gap(
    generated: Floats, real: Floats, subjects: tuple[Subjects, Subjects] | None = None, seed: int = 0
) -> float:
    """Return the mean MS-SSIM of 500 random pairs of generated items less that of reals.

    0 is right; above it the generated items are too alike (collapse), below it they vary too much. Odena et al. 2017,
    arXiv:1610.09585. Of images (n, h, w) and (m, h, w) in [0, 1], NaN for less than 96 pixels each way, or where a set
    has no pair: frames of one subject are alike and make none.
    """
    of = subjects if subjects is not None else (np.arange(len(generated)), np.arange(len(real)))
    return _of_set(generated, of[0], seed) - _of_set(real, of[1], seed)


def random_pairs(subjects: Subjects, seed: int) -> NDArray[np.int64]:
    """Return about 500 pairs of items of different subjects, no pair twice, fewer if there are fewer: (p, 2)."""
    names = np.asarray(subjects)
    total = len(names) * (len(names) - 1) // 2
    drawn = np.random.default_rng(seed).choice(total, min(DRAWN, total), replace=False)
    second = ((1 + np.sqrt(1 + 8 * drawn)) // 2).astype(np.int64)  # pair c is (c - s (s - 1) / 2, s)
    first = drawn - second * (second - 1) // 2
    apart = np.flatnonzero(names[first] != names[second])[:PAIRS]
    return np.stack([first[apart], second[apart]], axis=1)


def _of_set(items: Floats, subjects: Subjects, seed: int) -> float:
    none = np.zeros(items.shape[1:], dtype=bool)
    pairs = (Sampled(truth=items[i], known=none, drawn=items[j, None]) for i, j in random_pairs(subjects, seed))
    values = [ms_ssim(pair) for pair in pairs]
    return float(np.mean(values)) if values else math.nan
