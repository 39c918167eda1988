"""What is hidden in training: every kind of part that is missing in use, any share, and streams of its own an item."""

import torch

from cmrgz.holes import training_known, training_order
from cmrgz.rng import Streams

GRID = (5, 3, 16, 16)


def known(n: int = 600, grid: tuple[int, ...] = GRID, seed: int = 0) -> torch.Tensor:
    return training_known(grid, Streams(seed, [(i,) for i in range(n)]))


def test_every_kind_of_hole_comes_up() -> None:
    k = known()
    frames = k.flatten(3)
    whole = frames.all(-1) | ~frames.any(-1)
    planes = whole.all(1).all(1)
    something = k.flatten(1).any(1)
    by_slice = planes & something & (k == k[:, :1]).flatten(1).all(1)
    by_phase = planes & something & (k == k[:, :, :1]).flatten(1).all(1)
    held = ~planes & (k == k[:, :1]).flatten(1).all(1)
    moving = ~planes & ~(k == k[:, :1]).flatten(1).all(1)
    shares = [float(kind.float().mean()) for kind in (~something, by_slice, by_phase, held, moving)]
    assert shares[0] > 0.06 and min(shares[1:4]) > 0.06 and shares[4] > 0.25, shares


def test_shares_range_from_little_to_much() -> None:
    share = known().flatten(1).float().mean(1)
    assert float(share.min()) == 0 and float(share.max()) > 0.9
    assert all(((share >= low) & (share < low + 0.2)).float().mean() > 0.05 for low in (0.0, 0.2, 0.4, 0.6, 0.8))


def test_a_hole_is_a_function_of_its_stream() -> None:
    assert torch.equal(known(8)[3:4], training_known(GRID, Streams(0, [(3,)])))
    assert not torch.equal(known(8), known(8, seed=1))


def test_orders_of_blocks_put_the_known_first() -> None:
    keys = [(i,) for i in range(40)]
    order, count = training_order(GRID, 0.3, Streams(0, keys))
    shown = training_known(GRID, Streams(0, keys)).flatten(1)
    assert torch.equal(order.sort(1).values, torch.arange(shown.shape[1]).expand_as(order))
    for own, n, k in zip(order, count, shown, strict=True):
        assert k[own[:n]].all() and not k[own[n:]].any()


def test_any_lengths() -> None:
    for grid in ((1, 1, 4, 4), (12, 1, 8, 8), (1, 5, 8, 8), (2, 2, 2, 2)):
        assert known(50, grid).shape == (50, *grid)
