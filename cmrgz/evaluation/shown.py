"""Frames as the items that a model is shown: of a model of blocks each is a block of its own."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.calls import Items
from cmrgz.evaluation.frames import Frame, stacked

FRAMED = ("phase", "slice", "time", "height")
"""Conditions that a model of blocks is told frame by frame."""

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


def items_of(frames: Sequence[Frame], known: Bools, samples: int, axes: Sequence[str]) -> Items:
    """Return the items of all samples, sample by sample; a model of blocks is shown blocks of one frame."""
    names = sorted({name for frame in frames for name in frame.condition})
    condition = {
        name: np.tile(np.array([f.condition.get(name, math.nan) for f in frames], dtype=np.float32), samples)
        for name in names
    }
    keys = [(k, frame.id) for k in range(samples) for frame in frames]
    x, known = np.tile(stacked(frames), (samples, 1, 1)), np.tile(known, (samples, 1, 1))
    if len(axes) == 2:
        return Items(x, known, keys, condition)
    item = (len(x), *(1 for _ in axes[:-2]), *x.shape[1:])
    return Items(x.reshape(item), known.reshape(item), keys, _of_single_frames(condition, len(x)))


def _of_single_frames(condition: Mapping[str, Floats], n: int) -> dict[str, NDArray[np.float32]]:
    """Return the conditions of n blocks of one frame: what may differ from frame to frame is (n, 1, 1)."""
    told = {**condition, "time": np.zeros(n), "height": np.zeros(n)}
    shaped = {name: value[:, None, None] if name in FRAMED else value for name, value in told.items()}
    return {name: np.asarray(value, dtype=np.float32) for name, value in shaped.items()}
