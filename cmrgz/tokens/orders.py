"""In which order positions are predicted.

An order is a permutation of the n positions per item. Decoding reads it from the left: the positions at its start that
are known go into the cache in one prefill, the rest are drawn one after another (or several a step).
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrgz.rng import Streams
from cmrgz.sending import sent

BASES = (5, 7, 2, 3)
"""Of the Halton sequence along t, z, rows and columns."""


def _van_der_corput(index: NDArray[np.int64], base: int) -> NDArray[np.float64]:
    value, scale = np.zeros(index.shape), 1.0
    while index.any():
        index, digit = np.divmod(index, base)
        scale /= base
        value += digit * scale
    return value


@lru_cache(maxsize=64)
def halton(grid: tuple[int, ...]) -> Tensor:
    """Return the positions (n,) of a grid (h, w) or (t, z, h, w) in the order in which a Halton sequence reaches them.

    Neighbours in the order are far apart in all axes, so positions drawn in one step hardly depend on each other
    (Besnier et al. 2025, arXiv 2503.17076). Kept: not to be changed.
    """
    n, start = math.prod(grid), 1
    seen = np.empty(0, dtype=np.int64)
    while len(seen) < n:
        index = np.arange(start, start + 16 * n)
        cell = np.zeros(len(index), dtype=np.int64)
        for side, base in zip(grid, BASES[-len(grid) :], strict=True):
            cell = cell * side + (_van_der_corput(index, base) * side).astype(np.int64)
        found = np.concatenate([seen, cell])
        # The sequence comes back to cells; only first visits count.
        seen = found[np.sort(np.unique(found, return_index=True)[1])]
        start += len(index)
    return torch.from_numpy(seen)


def known_first(order: Tensor, known: Tensor) -> Tensor:
    """Return `order` (b, n) with the known positions moved to its start; `known` (b, n) is indexed by position."""
    # A stable sort by known or not leaves each of both in the order that it had.
    rank = known.gather(1, order).logical_not()
    return order.gather(1, rank.long().argsort(dim=1, stable=True))


def halton_walk(known: Tensor, grid: tuple[int, ...], rng: Streams) -> Tensor:
    """A Halton sequence that starts at a random place, whatever is known."""
    base = halton(grid)
    # Alike, since two draws can only be opposite where they are made in one order.
    shift = (rng.uniform(1, alike=True) * len(base)).long()
    return sent(base[(torch.arange(len(base)) + shift) % len(base)], known.device)


def random_walk(known: Tensor, grid: tuple[int, ...], rng: Streams) -> Tensor:
    """Any order with equal chance, whatever is known."""
    return sent(rng.permutation(math.prod(grid)), known.device)


def any_order(known: Tensor, grid: tuple[int, ...], rng: Streams) -> Tensor:
    """Known positions first, then the hidden ones along a Halton sequence that starts at a random place.

    Every hidden position sees all the evidence: exact for a model that is trained in any order.
    """
    return known_first(halton_walk(known, grid, rng), known)


def raster(known: Tensor, grid: tuple[int, ...], rng: Streams) -> Tensor:
    """Row by row, known positions forced where they come: the paper's baseline. Later evidence is not seen.

    Of blocks frame after frame, the slices of a phase one after another.
    """
    del rng
    return torch.arange(math.prod(grid), device=known.device).expand(len(known), -1)


def orientations(grid: tuple[int, ...]) -> Tensor:
    """Return the eight raster orders (8, n): from each corner, by rows and by columns; the first is `raster`.

    The frames of a block follow as ever, all of them turned alike.
    """
    plane, frames = torch.arange(grid[-2] * grid[-1]), math.prod(grid[:-2])
    base = plane.view(grid[-2:])
    turned = [base.flip(axes) for axes in ((), (0,), (1,), (0, 1))]
    ways = torch.stack([way.flatten() for whole in turned for way in (whole, whole.T)])
    return (torch.arange(frames)[:, None] * len(plane) + ways[:, None]).flatten(1)


def best_orientation(known: Tensor, grid: tuple[int, ...], rng: Streams) -> Tensor:
    """The one of the eight raster orders of which hidden positions see most of what is known; forced, as `raster`.

    A hole at an edge becomes what comes last. Later evidence is not seen.
    """
    del rng
    ways = sent(orientations(grid), known.device)
    own = known[:, ways.flatten()].unflatten(1, ways.shape)
    # Summed over the hidden positions, how many known ones come before each.
    seen = (own.long().cumsum(2) * ~own).sum(2)
    return ways[seen.argmax(1)]


Order = Callable[[Tensor, tuple[int, ...], Streams], Tensor]
ORDERS: dict[str, Order] = {"any": any_order, "forced": raster, "orient": best_orientation, "smc": raster}
WALKS: dict[str, Order] = {"halton": halton_walk, "random": random_walk}
"""Orders of masked decoding, which takes the hidden positions of each as they come: see `schedule.turns`."""


def prefix_length(order: Tensor, known: Tensor) -> Tensor:
    """Return how many positions at the start of `order` (b, n) are known: (b,)."""
    return known.gather(1, order).long().cumprod(1).sum(1)
