"""Which units of a plane are hidden, given their scores: the lowest ones, and how many."""

from math import floor

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def lowest(score: Floats, count: int) -> Bools:
    """Return where the `count` lowest scores are; equal ones in raster order."""
    flat = score.ravel()
    hidden = np.zeros(flat.size, dtype=bool)
    if count > 0:
        # Not a stable sort, which says the same: for the pixels of a plane it takes several times as long.
        last = np.partition(flat, count - 1)[count - 1]
        hidden = flat < last
        hidden[np.flatnonzero(flat == last)[: count - int(hidden.sum())]] = True
    return hidden.reshape(score.shape)


def hidden_units(score: Floats, ratio: float, shape: tuple[int, int], size: int) -> int:
    """Return how many units to hide: floor(ratio * units + 0.5), never rounded to even.

    In a plane that is no multiple of `size` the cut units at the far edges hold fewer pixels. There the number is the
    one whose pixels come nearest to ratio * pixels (the larger of two equally near ones), off by at most half a patch.
    """
    if shape[0] % size == 0 and shape[1] % size == 0:
        return floor(ratio * score.size + 0.5)
    edges = [np.minimum(size, n - np.arange(0, n, size)) for n in shape]
    pixels = np.outer(*edges).ravel()[np.argsort(score, axis=None, kind="stable")]
    gaps = np.abs(np.concatenate([[0], np.cumsum(pixels)]) - ratio * shape[0] * shape[1])
    return len(gaps) - 1 - int(np.argmin(gaps[::-1]))
