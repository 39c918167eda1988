"""Blocks to which hints are fitted: parts of larger ones, as a model sees those of a scan."""

from typing import NamedTuple

import torch
from torch import Tensor

from cmrgz.features import error_features
from cmrgz.latents import framewise, known_positions
from cmrgz.model import Tokenizer

MARGINS = (6, 2)
"""Phases and slices by which a block to which hints are fitted is to be longer than one of the model's."""
Rows = tuple[Tensor, Tensor, Tensor]
"""Features (n, FEATURES) of positions, errors of a fill there, and the vectors, (n, c)."""


class Filled(NamedTuple):
    """Voxels, which of them are known, a continuation of what is known, and its reach, all (1, 1, t, z, H, W)."""

    x: Tensor
    known: Tensor
    fill: Tensor
    near: Tensor


class Part(NamedTuple):
    """A block, and one within it, with the fill of the larger."""

    whole: Filled
    inner: Filled


def inner(n: int, margin: int, u: Tensor) -> slice:
    """Return n frames in a row less a margin, or half of few, at a place that a uniform number says."""
    length = n - margin if n > margin else (n + 1) // 2
    start = int(u * (n - length + 1))
    return slice(start, start + length)


def error_rows(tokenizer: Tokenizer, block: Filled, beyond: bool, most: int) -> Rows:
    """Return features, errors of the fill and vectors of at most so many hidden positions, evenly spread."""
    hidden, true = ~known_positions(block.known, tokenizer.patch), framewise(tokenizer.encode, block.x)
    told = torch.tensor([beyond], device=true.device)
    features = error_features(block.fill, block.near, block.known, tokenizer.patch, told)
    error = true - framewise(tokenizer.encode, block.fill)
    # Every n-th instead of the first ones, which would all be of the first phase.
    step = max(1, -(-int(hidden.sum()) // most))
    own, off, exact = (values.movedim(1, -1)[hidden][::step] for values in (features, error, true))
    return own, off, exact
