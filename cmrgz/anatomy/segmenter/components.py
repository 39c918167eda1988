"""Connected pieces of label maps."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

TOUCHING = np.ones((3, 3), bool)
"""Pixels that meet at a corner are one piece, so that a thin wall is not cut."""


def largest_components(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return label maps (n, h, w) with the largest piece of each class; the others become background."""
    cleaned = np.zeros_like(labels)
    for source, target in zip(labels, cleaned, strict=True):
        for value in np.unique(source[source > 0]):
            target[_largest(source == value)] = value
    return cleaned


def _largest(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest piece of a region (h, w) that is not empty; the first of several."""
    pieces, _ = label(region, TOUCHING)
    return np.asarray(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax())
