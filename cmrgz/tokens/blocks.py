"""What kits of token models share about blocks: the condition, and how long the fill is worked on in training."""

from torch import Tensor

from cmrgz.hints import places
from cmrgz.latents import lift
from cmrgz.model import Condition

QUICK = 12
"""Iterations of the fill in training, where it is made anew for every item."""


def block_condition(condition: Condition | None, x: Tensor, axes: str) -> Condition | None:
    """Return the condition of blocks x (b, 1, t, z, H, W), as which items of such axes are seen; frames keep theirs.

    It always has `time` and `height`, (b, t, z): networks take the shape of a block from them.
    """
    if axes == "yx":
        return condition
    time, height = places(condition, x)
    told = {**(condition or {}), "time": time, "height": height}
    return {name: lift(value, axes) if name == "fill" else value for name, value in told.items()}
