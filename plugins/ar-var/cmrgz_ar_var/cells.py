"""Cells of a scale: which are trained on, and the draw of those that are hidden."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from cmrgz.graphs import Replayed
from cmrgz.rng import Streams
from cmrgz.tokens.causal_decoding import take
from cmrgz.tokens.drawer import Truncation
from cmrgz.tokens.network import Logits
from cmrgz.tokens.sampling import draw

PART, ON_CPU = 64, 32
"""Cells per call of a head, or of the quantiser: what nobody in the batch asks for need not be computed. A GPU is given
more, since there a call costs more than its cells."""

Coupled = Literal["phases", "none"]
"""Frames of a block that share their random numbers."""


def numbers(rng: Streams, frames: Sequence[int], cells: int, depth: int, coupled: Coupled) -> Tensor:
    """Return numbers (f, cells, depth) in [0, 1) to draw codes with, of frames, `()`, or of blocks, `(t, z)`.

    Cells that are drawn at once cannot agree with each other, not even a cell with itself at the next phase. With the
    same number both come out alike where the model says about the same of both, and each still as it says.
    """
    if not frames:
        return rng.uniform(cells, depth)
    t, z = frames
    # Slices are not coupled: neighbouring ones differ far more than neighbouring phases.
    u = rng.uniform(1 if coupled == "phases" else t, z, cells, depth)
    return u.expand(-1, t, -1, -1, -1).flatten(0, 2)


def asked_cells(known: Tensor, rng: Streams, half: bool) -> Tensor:
    """Return which of the cells (b, n) are trained on: those that are hidden, at most half of them if `half`.

    On the CPU, as `known` is.
    """
    if not half:
        return ~known
    n = known.shape[1]
    order = (rng.uniform(n) + known).argsort(dim=1)[:, : max(n // 2, 1)]
    return torch.zeros_like(known).scatter(1, order, True) & ~known


def parts(asked: Tensor, most: int) -> Iterator[Tensor]:
    """Yield the cells (b, <= part) of `asked` (b, n), part by part, as many parts as the item with `most` needs.

    In parts of one shape: an item's bits do not depend on how many cells its neighbours ask for. Where an item has no
    more, its other cells follow.
    """
    # Stable, so that parts are the same on every device.
    size = ON_CPU if asked.device.type == "cpu" else PART
    order = (~asked).long().argsort(dim=1, stable=True)
    for start in range(0, most, size):
        yield order[:, start : start + size]


def draw_hidden(
    logits: Logits,
    states: Tensor,
    known: Tensor,
    u: Tensor,
    how: Truncation,
    orders: Tensor | None = None,
    most: int | None = None,
) -> Tensor:
    """Return codes (b, n, levels) drawn at the hidden cells; those at known ones are of no use.

    Args:
        logits: Gives them.
        states: (b, n, d) features.
        known: (b, n) bool.
        u: (b, n, levels) in [0, 1): one number for each code.
        how: How codes are drawn from logits.
        most: Hidden cells of the item with most of them, if the host knows.
        orders: (levels, vocab) in which a number runs through the codes, by default that of their own numbers.
    """
    result = torch.zeros(*u.shape, dtype=torch.long, device=states.device)

    def part(at: Tensor) -> None:
        own, number, codes = take(states, at), take(u, at), at[..., None][..., :0]
        for level in range(u.shape[-1]):
            order = None if orders is None else orders[level]
            code = draw(logits(own, codes, level), number[..., level], how.temperature, how.top_k, how.top_p, order)
            codes = torch.cat([codes, code[..., None]], -1)
        result.scatter_(1, at[..., None].expand_as(codes), codes)

    usual = Replayed(part)
    for at in parts(~known, int((~known).sum(1).max()) if most is None else most):
        usual(at)
    return result
