"""Traces of the edge of a hole and of the grid of tokens: jumps of intensity between neighbouring pixels.

A ratio of jumps is taken of their means over all frames: in a frame of even intensity it would be nothing over nothing.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from cmrgz.evaluation.metrics.base import Bools, Floats, Metric, Ratio, Sampled, once

GRID = 8
"""Edge in pixels of a position of the token grid that the reference models share."""

Pairs = tuple[Bools, Bools]
"""Which pixels are compared with the one below (h - 1, w), and with the one to the right (h, w - 1)."""


@once
def edge(frame: Sampled) -> Pairs:
    """Return the pairs of a known and a hidden pixel."""
    known = frame.known
    return known[:-1] != known[1:], known[:, :-1] != known[:, 1:]


@once
def inside(frame: Sampled) -> Pairs:
    """Return the pairs of hidden pixels within a position of the token grid."""
    (below, right), (rows, columns) = _hidden(frame), _lines(frame)
    return below & ~rows, right & ~columns


@once
def grid(frame: Sampled) -> Pairs:
    """Return the pairs of hidden pixels on both sides of a line of the token grid."""
    (below, right), (rows, columns) = _hidden(frame), _lines(frame)
    return below & rows, right & columns


def jump(frame: Sampled, pairs: Callable[[Sampled], Pairs]) -> float:
    """Return the mean jump of the samples between pairs of pixels."""
    return _mean_jump(frame.samples, pairs(frame))


def true_jump(frame: Sampled, pairs: Callable[[Sampled], Pairs]) -> float:
    """Return the mean jump of the truth between pairs of pixels."""
    return _mean_jump(frame.truth[None], pairs(frame))


def jump_error(frame: Sampled) -> float:
    """Return the mean difference across the edge of the hole of a sample's jump and the true one."""
    return _mean_jump(frame.samples - frame.truth, edge(frame))


def _hidden(frame: Sampled) -> Pairs:
    hidden = frame.hidden
    return hidden[:-1] & hidden[1:], hidden[:, :-1] & hidden[:, 1:]


def _lines(frame: Sampled) -> Pairs:
    """Return which pairs are parted by a line of the grid, to be broadcast."""
    below, right = (np.arange(1, n) % GRID == 0 for n in frame.known.shape)
    return below[:, None], right[None]


def _mean_jump(x: Floats, pairs: Pairs) -> float:
    """Return the mean absolute difference of pairs of pixels of frames (n, h, w)."""
    below, right = np.diff(x, axis=1)[:, pairs[0]], np.diff(x, axis=2)[:, pairs[1]]
    jumps = np.abs(np.concatenate([below, right], axis=1))
    return float(jumps.mean()) if jumps.size else float("nan")


METRICS = (
    Metric("jump-error-edge", jump_error, "lower"),
    Metric("jump-edge", partial(jump, pairs=edge), "none"),
    Metric("true-jump-edge", partial(true_jump, pairs=edge), "none"),
    Metric("jump-grid", partial(jump, pairs=grid), "none"),
    Metric("jump-inside", partial(jump, pairs=inside), "none"),
)

RATIOS = (
    Ratio("seam", "jump-edge", "true-jump-edge", "one"),
    Ratio("blockiness", "jump-grid", "jump-inside", "one"),
)
"""`seam`: 1 is invisible, more an edge, less a blur. `blockiness`: 1 is no trace of the grid, more shows its lines."""
