"""The decoding loop: a prefill of what is known, then a few positions a step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cmrgz.model import Condition, Progress
from cmrgz.tokens.network import CausalNetwork
from cmrgz.tokens.orders import prefix_length

SEEN_PER_DRAW = 16
"""A step draws at most one position per this many that it sees: the first ones decide most and are drawn one by one."""

Draw = Callable[[Tensor, Tensor], Tensor]
"""(features (b, m, d), positions (b, m)) -> vectors (b, m, c)."""


def take(values: Tensor, index: Tensor) -> Tensor:
    """Return values (b, m, c) of (b, n, c) at index (b, m)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def decode(
    network: CausalNetwork[Any],
    vectors: Tensor,
    known: Tensor,
    order: Tensor,
    draw: Draw,
    condition: Condition | None = None,
    parallel: int = 1,
    progress: Progress | None = None,
) -> Tensor:
    """Draw the hidden positions of each item in its own order.

    Every step has the same shape for every item, whatever its share of known positions: an item's result does not
    depend on its neighbours in the batch.

    Args:
        network: Gives features of positions from the vectors of others.
        vectors: (b, n, c), by position; used where known.
        known: (b, n) bool, by position.
        order: (b, n) a permutation of the positions. Its known start is prefilled; a known position further on is
            given its vector when its turn comes, as raster order needs it.
        draw: Turns features into vectors.
        condition: As in `Model.sample`.
        parallel: Most positions drawn in one step.
        progress: Told the steps done.

    Returns:
        The vectors (b, n, c), known ones as given.
    """
    b, n, c = vectors.shape
    result = torch.cat([vectors, vectors.new_zeros(b, 1, c)], 1)  # row n takes what inactive places of a step write
    cursor = prefix_length(order, known)
    cache = network.start(b, n, condition)
    network.extend(cache, take(vectors, order), order, torch.arange(n, device=order.device).expand(b, -1))
    places = torch.arange(parallel, device=order.device)
    hidden = int((n - cursor).sum())
    while (left := int((n - cursor).sum())) > 0:
        count = (cursor // SEEN_PER_DRAW).clamp(1, parallel).minimum(n - cursor)
        index = cursor[:, None] + places
        active = places < count[:, None]
        positions = order.gather(1, index.clamp(max=n - 1))
        drawn = draw(network(cache, positions, cursor), positions)
        drawn = torch.where(known.gather(1, positions)[..., None], take(vectors, positions), drawn)
        network.extend(cache, drawn, positions, torch.where(active, index, n))
        result.scatter_(1, torch.where(active, positions, n)[..., None].expand(-1, -1, c), drawn)
        cursor = cursor + count
        if progress is not None:
            progress(hidden - left + int(count.sum()), hidden)
    return result[:, :n]
