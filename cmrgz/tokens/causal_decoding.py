"""The decoding loop: a prefill of what is known, then a few positions a step."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from cmrgz.graphs import Replayed
from cmrgz.model import Condition, Progress
from cmrgz.sending import sent
from cmrgz.tokens.network import Cache, CausalNetwork
from cmrgz.tokens.orders import prefix_length

SEEN_PER_DRAW = 16
"""A step draws at most one position per this many that it sees: the first ones decide most and are drawn one by one."""
PREFILL, LONG, LONG_PREFILL = 32, 1024, 256
"""Slots per call of the prefill: what is hidden everywhere in the batch need not be computed. More of long orders."""

Draw = Callable[[Tensor, Tensor], Tensor]
"""(features (b, m, d), positions (b, m)) -> vectors (b, m, c)."""


def take(values: Tensor, index: Tensor) -> Tensor:
    """Return values (b, m, c) of (b, n, c) at index (b, m)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def reveal(prefix: Tensor, n: int, parallel: int) -> Tensor:
    """Return how many positions each item has before the first step and after each: (steps + 1, b).

    Args:
        prefix: (b,) how many it has from the prefill.
        n: How many it has in the end.
        parallel: Most positions drawn in one step.
    """
    cursors = [prefix]
    while bool((cursors[-1] < n).any()):
        count = (cursors[-1] // SEEN_PER_DRAW).clamp(1, parallel)
        cursors.append((cursors[-1] + count).clamp(max=n))
    return torch.stack(cursors)


def prefill(network: CausalNetwork[Cache], cache: Cache, vectors: Tensor, order: Tensor, length: int) -> None:
    """Write at least the first `length` vectors (b, n, c) in `order` (b, n) to the cache.

    In calls of one shape: an item's bits do not depend on how many more calls its neighbours need.
    """
    slots = torch.arange(order.shape[1], device=order.device).expand_as(order)
    extend = Replayed(lambda content, positions, slots: network.extend(cache, content, positions, slots))
    many = PREFILL if order.shape[1] <= LONG else LONG_PREFILL
    for start in range(0, length, many):
        part = slice(start, start + many)
        extend(take(vectors, order[:, part]), order[:, part], slots[:, part])


@dataclass(frozen=True)
class Given:
    """What is to be drawn from.

    Attributes:
        vectors: (b, n, c), by position; used where known.
        known: (b, n) bool, by position.
        order: (b, n) a permutation of the positions. Its known start is prefilled; a known position further on is
            given its vector when its turn comes, as raster order needs it.
        condition: As in `Model.sample`.
        hints: (b, n, h) what the known pixels alone say of each position.
    """

    vectors: Tensor
    known: Tensor
    order: Tensor
    condition: Condition | None = None
    hints: Tensor | None = None

    @property
    def prefix(self) -> Tensor:
        """How many positions (b,) at the start of the order are known."""
        return prefix_length(self.order, self.known)

    def start(self, network: CausalNetwork[Cache], prefix: Tensor | None = None) -> Cache:
        """Return a cache that holds the known start of every item; `prefix` is what the host knows of it."""
        b, n = self.order.shape
        cache = network.start(b, n, self.condition, self.hints)
        prefill(network, cache, self.vectors, self.order, int((self.prefix if prefix is None else prefix).max()))
        return cache

    def spread(self, k: int) -> "Given":
        """Return every item k times in a row."""
        vectors, known, order = (part.repeat_interleave(k, 0) for part in (self.vectors, self.known, self.order))
        condition = {name: value.repeat_interleave(k, 0) for name, value in (self.condition or {}).items()}
        hints = None if self.hints is None else self.hints.repeat_interleave(k, 0)
        return Given(vectors, known, order, condition, hints)


def ask(network: CausalNetwork[Any], given: Given, positions: Tensor) -> Tensor:
    """Return features (b, m, d) of positions (b, m), all of which see the known start of the order and no more."""
    features: Tensor = network(given.start(network), positions, given.prefix)
    return features


def decode(
    network: CausalNetwork[Any], given: Given, draw: Draw, parallel: int = 1, progress: Progress | None = None
) -> Tensor:
    """Draw the hidden positions of each item in its own order.

    Every step has the same shape for every item, whatever its share of known positions: an item's result does not
    depend on its neighbours in the batch.

    Args:
        network: Gives features of positions from the vectors of others.
        given: What is known, and in which order the rest is drawn.
        draw: Turns features into vectors.
        parallel: Most positions drawn in one step.
        progress: Told the steps done.

    Returns:
        The vectors (b, n, c), known ones as given.
    """
    vectors, known, order = given.vectors, given.known, given.order
    b, n, c = vectors.shape
    result = torch.cat([vectors, vectors.new_zeros(b, 1, c)], 1)  # row n takes what inactive places of a step write
    prefix = given.prefix.cpu()
    cursors = reveal(prefix, n, parallel)  # known in advance: no step waits for the device
    done = (cursors.sum(1) - cursors[0].sum()).tolist()
    cache = given.start(network, prefix)
    places = torch.arange(parallel, device=order.device)

    def one(cursor: Tensor, end: Tensor, last: bool = False) -> None:
        index = cursor[:, None] + places
        active = index < end[:, None]
        positions = order.gather(1, index.clamp(max=n - 1))
        drawn = draw(network(cache, positions, cursor), positions)
        # A known position that comes in the middle of an order, as in raster, is given and not drawn.
        drawn = torch.where(known.gather(1, positions)[..., None], take(vectors, positions), drawn)
        if not last:  # nothing is asked after the last
            network.extend(cache, drawn, positions, torch.where(active, index, n))
        result.scatter_(1, torch.where(active, positions, n)[..., None].expand(-1, -1, c), drawn)

    # The last step is made as it is, for it does other work, and a record repeats one kind alone.
    usual = Replayed(one, network)
    for step, (cursor, end) in enumerate(pairwise(sent(cursors, order.device)), 1):
        if step < len(done) - 1:
            usual(cursor, end)
        else:
            one(cursor, end, last=True)
        if progress is not None:
            progress(done[step], done[-1])
    return result[:, :n]
