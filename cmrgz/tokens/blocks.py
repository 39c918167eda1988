"""What kits of token models share about blocks: the condition, the hints, and what comes back when they are decoded."""

from collections.abc import Callable

import torch
from torch import Tensor

from cmrgz.adaptive import ITERATIONS
from cmrgz.hints import Hint, Hints, places
from cmrgz.latents import framewise, lift
from cmrgz.model import Condition, Tokenizer

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


def exactly(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return a framewise function of frames or blocks; of blocks in full precision, also under autocast.

    What is left over of blocks when their hints are taken away is a small difference of large numbers.
    """
    if x.ndim == 4:
        return function(x)
    with torch.autocast(x.device.type, enabled=False):
        return framewise(function, x)


def block_hint(
    hints: Hints,
    tokenizer: Tokenizer,
    x: Tensor,
    known: Tensor,
    condition: Condition | None,
    iterations: int = ITERATIONS,
) -> Hint:
    """Return the hints of blocks x of which `known` (b, 1, t, z, H, W) is known, in full precision."""
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        hint: Hint = hints(tokenizer, torch.where(known, x, 0.0), known, condition, iterations)
    return hint


def with_detail(tokenizer: Tokenizer, vectors: Tensor, hint: Hint, known: Tensor) -> Tensor:
    """Return the blocks (b, 1, t, z, H, W) of vectors, and what the tokenizer loses of their fill.

    Of a block of which nothing is known there is no fill.
    """
    detail = hint.fill - framewise(tokenizer.decode, hint.mean)
    some = known.flatten(1).any(1).view(-1, 1, 1, 1, 1, 1)
    return framewise(tokenizer.decode, vectors) + torch.where(some, detail, 0.0)
