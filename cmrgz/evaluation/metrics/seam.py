"""Traces of the edge of a hole and of the grid of tokens: jumps of intensity between neighbouring pixels.

A ratio of jumps is taken of their means over all frames: in a frame of even intensity it would be nothing over nothing.
"""

from functools import partial
from typing import Literal

import numpy as np

from cmrgz.evaluation.metrics.base import Bools, Metric, Ratio, Sampled, average, once

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


def jump(frame: Sampled, where: str, of: Literal["samples", "truth", "error"] = "samples") -> float:
    """Return the mean jump between pairs of pixels; that of the `error` is how far a sample's is from the true one."""
    x = {"samples": frame.samples, "truth": frame.truth[None], "error": frame.samples - frame.truth}[of]
    below, right = pairs(frame)[where]
    return average(np.abs(np.concatenate([np.diff(x, axis=1)[:, below], np.diff(x, axis=2)[:, right]], axis=1)))


METRICS = (
    Metric("jump-error-edge", partial(jump, where="edge", of="error"), "lower"),
    Metric("jump-edge", partial(jump, where="edge"), "none"),
    Metric("true-jump-edge", partial(jump, where="edge", of="truth"), "none"),
    Metric("jump-grid", partial(jump, where="grid"), "none"),
    Metric("jump-inside", partial(jump, where="inside"), "none"),
)

RATIOS = (
    Ratio("seam", "jump-edge", "true-jump-edge", "one"),
    Ratio("blockiness", "jump-grid", "jump-inside", "one"),
)
"""`seam`: 1 is invisible, more an edge, less a blur. `blockiness`: 1 is no trace of the grid, more shows its lines."""
