"""What kits of token models share about blocks: the condition, and how long the fill is worked on in training."""

import torch
from torch import Tensor

from cmrgz.hints import places
from cmrgz.latents import lift
from cmrgz.model import Condition

QUICK = 12
"""Iterations of the fill in training, where it is made anew for every item."""


def moments(condition: Condition | None, b: int) -> Tensor:
    """Return where in the cycle the phases of b blocks lie (b, t): their `time` (b, t, z), from their `start` (b,)."""
    told = condition or {}
    time = told["time"][:, :, 0] if "time" in told else torch.zeros(b, 1)
    # Times of an item begin at 0 with its first phase; fields around the cycle need where that lies in it.
    return time + told["start"].to(time)[:, None] if "start" in told else time


def block_condition(condition: Condition | None, x: Tensor, axes: str) -> Condition | None:
    """Return the condition of blocks x (b, 1, t, z, H, W), as which items of such axes are seen; frames keep theirs.

    It always has `time` and `height`, (b, t, z): networks take the shape of a block from them.
    """
    if axes == "yx":
        return condition
    time, height = places(condition, x)
    told = {**(condition or {}), "time": time, "height": height}
    return {name: lift(value, axes) if name == "fill" else value for name, value in told.items()}
