"""False and missed edges: contours that were drawn and are not there, and those that are there and were not drawn.

What must be expected of them where nothing is invented are the values of the tokenizer's round trip, and those of the
frame before in time (the baseline of temporal copies).
"""

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter

from cmrgz.evaluation.metrics.base import Bools, Floats, Metric, Sampled, average, once

# Least gradient a pixel of an edge, the same for all frames: a percentile of each would find edges in a blur. It lies
# between the 75th percentiles of heart-centred training frames, 0.047 of phantoms and 0.033 of real scans.
FLAT = 0.04
NEAR = 2  # pixels by which an edge may be off
DISC = np.hypot(*np.mgrid[-NEAR : NEAR + 1, -NEAR : NEAR + 1])[None] <= NEAR
ROWS, COLUMNS = np.array([0, 1, 1, 1]), np.array([1, 1, 0, -1])
"""The neighbour along the gradient, by its direction in eighths of a turn."""


def edges(x: Floats) -> Bools:
    """Return the pixels of frames (n, h, w) at which the gradient is above `FLAT` and largest along its direction.

    Gradients of a Gaussian of 1 pixel and non-maximum suppression in four directions, as Canny 1986 has them,
    doi:10.1109/TPAMI.1986.4767851; no hysteresis.
    """
    slopes = np.stack([gaussian_filter(x, 1, order=order, axes=(1, 2)) for order in ((1, 0), (0, 1))])
    size = np.hypot(*slopes)
    n, row, column = at = np.nonzero(size > FLAT)
    direction = np.round(np.arctan2(slopes[0][at], slopes[1][at]) / (np.pi / 4)).astype(int) % 4
    down, right = ROWS[direction], COLUMNS[direction]
    around = np.pad(size, ((0, 0), (1, 1), (1, 1)))
    ahead, behind = around[n, row + 1 + down, column + 1 + right], around[n, row + 1 - down, column + 1 - right]
    found = np.zeros(x.shape, dtype=bool)
    found[at] = (size[at] >= ahead) & (size[at] > behind)
    return found


def near(marked: Bools) -> Bools:
    """Return the pixels of frames (n, h, w) within 2 pixels of a marked one."""
    return np.asarray(binary_dilation(marked, DISC))


@once
def drawn_and_true(frame: Sampled) -> tuple[Bools, Bools]:
    """Return the edges of the samples (k, h, w) and of the truth (1, h, w)."""
    found = edges(np.concatenate([frame.samples, frame.truth[None]]))
    return found[:-1], found[-1:]


def false_edges(frame: Sampled) -> float:
    """Return the share of the samples' edges in the hole that have no edge of the truth within 2 pixels."""
    drawn, true = drawn_and_true(frame)
    return _share(~near(true), drawn & frame.hidden)


def missed_edges(frame: Sampled) -> float:
    """Return the share of the truth's edges in the hole that have no edge of the sample within 2 pixels."""
    drawn, true = drawn_and_true(frame)
    return _share(~near(drawn), true & frame.hidden)


def _share(event: Bools, among: Bools) -> float:
    """Return the share of `among` that is `event`, all samples together; NaN of none."""
    event, among = np.broadcast_arrays(event, among)
    return average(event[among])


METRICS = (
    Metric("fpe-hole", false_edges, "lower"),
    Metric("fne-hole", missed_edges, "lower"),
)
