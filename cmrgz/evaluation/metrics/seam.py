"""Traces of the edge of a hole and of the grid of tokens: jumps of intensity between neighbouring pixels.

A ratio of jumps is taken of their means over all frames: in a frame of even intensity it would be nothing over nothing.
"""

from functools import partial

import numpy as np

from cmrgz.evaluation.metrics.base import Bools, Floats, Metric, Ratio, Sampled, once

GRID = 8  # edge in pixels of a position of the token grid that the reference models share

Pairs = tuple[Bools, Bools]
"""Which pixels are compared with the one below (h - 1, w), and with the one to the right (h, w - 1)."""


@once
def pairs(frame: Sampled) -> dict[str, Pairs]:
    """Return which pixels are compared, by where: of hidden ones across a line of the token grid, or inside of it.

    `edge` has the pairs of a known and a hidden pixel, `grid` and `inside` those of two hidden ones.
    """
    known = frame.known
    rows, columns = (np.arange(1, n) % GRID == 0 for n in known.shape)
    below, right = ~(known[:-1] | known[1:]), ~(known[:, :-1] | known[:, 1:])
    return {
        "edge": (known[:-1] != known[1:], known[:, :-1] != known[:, 1:]),
        "grid": (below & rows[:, None], right & columns),
        "inside": (below & ~rows[:, None], right & ~columns),
    }


def jump(frame: Sampled, where: str) -> float:
    """Return the mean jump of the samples between pairs of pixels."""
    return _mean_jump(frame.samples, pairs(frame)[where])


def true_jump(frame: Sampled) -> float:
    """Return the mean jump of the truth across the edge of the hole."""
    return _mean_jump(frame.truth[None], pairs(frame)["edge"])


def jump_error(frame: Sampled) -> float:
    """Return the mean difference across the edge of the hole of a sample's jump and the true one."""
    return _mean_jump(frame.samples - frame.truth, pairs(frame)["edge"])


def _mean_jump(x: Floats, between: Pairs) -> float:
    """Return the mean absolute difference of pairs of pixels of frames (n, h, w)."""
    below, right = np.diff(x, axis=1)[:, between[0]], np.diff(x, axis=2)[:, between[1]]
    jumps = np.abs(np.concatenate([below, right], axis=1))
    return float(jumps.mean()) if jumps.size else float("nan")


METRICS = (
    Metric("jump-error-edge", jump_error, "lower"),
    Metric("jump-edge", partial(jump, where="edge"), "none"),
    Metric("true-jump-edge", true_jump, "none"),
    Metric("jump-grid", partial(jump, where="grid"), "none"),
    Metric("jump-inside", partial(jump, where="inside"), "none"),
)

RATIOS = (
    Ratio("seam", "jump-edge", "true-jump-edge", "one"),
    Ratio("blockiness", "jump-grid", "jump-inside", "one"),
)
"""`seam`: 1 is invisible, more an edge, less a blur. `blockiness`: 1 is no trace of the grid, more shows its lines."""
