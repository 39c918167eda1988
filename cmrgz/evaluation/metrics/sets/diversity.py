"""How alike the items of a set are to one another, beside how alike reals are: the sign of a collapse."""

import numpy as np
from numpy.typing import NDArray

from cmrgz.evaluation.metrics.base import Floats, Sampled
from cmrgz.evaluation.metrics.structure import ms_ssim

PAIRS = 500


def ms_ssim_gap(generated: Floats, real: Floats, seed: int = 0) -> float:
    """Return the mean MS-SSIM of 500 random pairs of generated items less that of reals.

    0 is right; above it the generated items are too alike (collapse), below it they vary too much. Odena et al. 2017,
    arXiv:1610.09585.

    Args:
        generated: (n, h, w) in [0, 1], at least 96 pixels each way.
        real: (m, h, w) in [0, 1], best one frame a subject: frames of one subject are alike.
        seed: Of the pairs.

    Returns:
        NaN for smaller images.
    """
    means = [_of_set(items, seed) for items in (generated, real)]
    return means[0] - means[1]


def random_pairs(n: int, seed: int) -> NDArray[np.int64]:
    """Return 500 pairs of different indices below n, no pair twice, all pairs if there are fewer: (p, 2)."""
    total = n * (n - 1) // 2
    chosen = np.sort(np.random.default_rng(seed).choice(total, min(PAIRS, total), replace=False))
    second = ((1 + np.sqrt(1 + 8 * chosen)) // 2).astype(np.int64)  # pair c is (c - s (s - 1) / 2, s)
    return np.stack([chosen - second * (second - 1) // 2, second], axis=1)


def _of_set(items: Floats, seed: int) -> float:
    none = np.zeros(items.shape[1:], dtype=bool)
    pairs = (Sampled(truth=items[i], known=none, drawn=items[j, None]) for i, j in random_pairs(len(items), seed))
    return float(np.mean([ms_ssim(pair) for pair in pairs]))
