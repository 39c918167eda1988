"""Orders are permutations, with the known positions where they belong."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz.latents import training_order
from cmrgz.rng import Streams
from cmrgz.tokens.orders import ORDERS, WALKS, any_order, halton, known_first, orientations, prefix_length, raster

grids = st.tuples(st.integers(1, 9), st.integers(1, 9))
block_grids = st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 7), st.integers(1, 7))
SHAPES = [(1, 1), (5, 3), (12, 1), (1, 5)]


def streams(count: int, seed: int = 0) -> Streams:
    return Streams(seed, [(i,) for i in range(count)])


def is_permutation(order: torch.Tensor) -> bool:
    return torch.equal(order.sort(-1).values, torch.arange(order.shape[-1]).expand_as(order))


def random_known(count: int, n: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, n, generator=generator) < torch.rand(count, 1, generator=generator)


@given(grids)
@settings(deadline=None, max_examples=60)
def test_halton_reaches_each_position_once(grid: tuple[int, int]) -> None:
    assert is_permutation(halton(grid))


def test_halton_starts_as_the_sequence_does() -> None:
    # bases 2 and 3: (1/2, 1/3), (1/4, 2/3), (3/4, 1/9), (1/8, 4/9)
    expected = [
        int(a * 16) * 16 + int(b * 16) for a, b in [(1 / 2, 1 / 3), (1 / 4, 2 / 3), (3 / 4, 1 / 9), (1 / 8, 4 / 9)]
    ]
    assert halton((16, 16))[:4].tolist() == expected


def test_halton_spreads() -> None:
    order = halton((16, 16))
    cells = order[:16] // 64 * 4 + order[:16] % 16 // 4
    assert len(cells.unique()) >= 12  # of 16 cells of 4x4; raster order reaches 4, a random one 10


def test_halton_has_long_grids() -> None:
    assert is_permutation(halton((1, 300))) and is_permutation(halton((300, 1)))


@given(block_grids)
@settings(deadline=None, max_examples=60)
def test_halton_reaches_each_position_of_a_block_once(grid: tuple[int, ...]) -> None:
    assert is_permutation(halton(grid))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_halton_spreads_over_frames_and_in_them(shape: tuple[int, int]) -> None:
    """Any 96 positions in a row, which a step draws together, are in most frames and all over the plane."""
    order = halton((*shape, 16, 16))
    frames = shape[0] * shape[1]
    for start in range(0, len(order) - 96, 96):
        part = order[start : start + 96]
        count = torch.bincount(part // 256, minlength=frames)
        assert count.max() <= 3 * 96 / frames and (count > 0).sum() >= 0.9 * frames
        cells = part % 256 // 64 * 4 + part % 16 // 4
        assert len(cells.unique()) >= (16 if start < len(order) / 2 else 8)  # of 16; the last ones are what is left


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_neighbours_of_a_block_are_far_apart_in_the_order(shape: tuple[int, int]) -> None:
    """Of the pairs that touch in the plane or in time, fewer are drawn in one step than in random order."""
    order = halton((*shape, 16, 16))
    step = order.argsort() // 16
    grid = step.view(*shape, 16, 16)
    together = [float((grid.diff(dim=axis) == 0).float().mean()) for axis in range(4) if grid.shape[axis] > 1]
    assert max(together) < 0.6 * 16 / len(order)


def test_the_frames_of_a_block_are_turned_alike() -> None:
    ways, plane = orientations((3, 2, 4, 5)), orientations((4, 5))
    assert ways.shape == (8, 120) and is_permutation(ways)
    assert torch.equal(ways.unflatten(1, (6, 20)), plane[:, None] + 20 * torch.arange(6)[:, None])


@pytest.mark.parametrize("name", [*ORDERS, *WALKS])
@given(grid=block_grids, seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_every_order_of_a_block_is_a_permutation(name: str, grid: tuple[int, ...], seed: int) -> None:
    n = grid[0] * grid[1] * grid[2] * grid[3]
    known = random_known(4, n, seed)
    order = (ORDERS | WALKS)[name](known, grid, streams(4, seed))
    order = order.expand(4, -1)
    assert order.shape == known.shape and is_permutation(order)
    if name == "any":
        assert torch.equal(prefix_length(order, known), known.sum(1))


@given(grids, st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_known_positions_come_first_and_nothing_else_moves(grid: tuple[int, int], seed: int) -> None:
    n = grid[0] * grid[1]
    known, base = random_known(5, n, seed), streams(5, seed).permutation(n)
    order = known_first(base, known)
    assert is_permutation(order)
    assert torch.equal(prefix_length(order, known), known.sum(1))
    for row, old, given_ in zip(order, base, known, strict=True):
        assert row.tolist() == [p for p in old.tolist() if given_[p]] + [p for p in old.tolist() if not given_[p]]


@given(grids, st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_prefix_length_counts_up_to_the_first_hidden(grid: tuple[int, int], seed: int) -> None:
    n = grid[0] * grid[1]
    known = random_known(5, n, seed)
    expected = [next((i for i, k in enumerate(row) if not k), n) for row in known.tolist()]
    assert prefix_length(raster(known, grid, streams(5)), known).tolist() == expected


@pytest.mark.parametrize("name", ORDERS)
@given(grid=grids, seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_every_order_is_a_permutation(name: str, grid: tuple[int, int], seed: int) -> None:
    known = random_known(4, grid[0] * grid[1], seed)
    order = ORDERS[name](known, grid, streams(4, seed))
    assert order.shape == known.shape and is_permutation(order)


def test_any_order_walks_a_shifted_halton_sequence() -> None:
    known = torch.zeros(40, 35, dtype=torch.bool)
    order, base = any_order(known, (5, 7), streams(40)), halton((5, 7)).tolist()
    starts = set()
    for row in order.tolist():
        start = base.index(row[0])
        assert row == base[start:] + base[:start]
        starts.add(start)
    assert len(starts) > 15  # every item has its own


@pytest.mark.parametrize("name", ORDERS)
def test_an_item_has_its_order_in_any_batch(name: str) -> None:
    known = random_known(6, 64, 3)
    together = ORDERS[name](known, (8, 8), streams(6))
    for i in range(6):
        assert torch.equal(ORDERS[name](known[i : i + 1], (8, 8), Streams(0, [(i,)])), together[i : i + 1])


@given(grids, st.floats(0, 1), st.integers(0, 1000))
@settings(deadline=None, max_examples=80)
def test_training_orders_are_permutations(grid: tuple[int, int], raster_share: float, seed: int) -> None:
    order, known = training_order(grid, raster_share, streams(12, seed))
    assert order.shape == (12, grid[0] * grid[1]) and is_permutation(order)
    assert known.shape == (12,) and (known >= 0).all() and (known < order.shape[1]).all()


@pytest.mark.parametrize("raster_share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_raster_orders(raster_share: float) -> None:
    order, known = training_order((4, 5), raster_share, streams(3000))
    assert (known[(order == torch.arange(20)).all(1)] == 0).all()  # raster order is given nothing
    found = (order == torch.arange(20)).all(1).float().mean()
    assert abs(float(found) - raster_share) <= 4 * (raster_share * (1 - raster_share) / 3000) ** 0.5


def in_blocks(order: torch.Tensor) -> torch.Tensor:
    """Return which orders (b, n) of an 8x8 grid take the four positions of most 2x2 cells one after another."""
    cell = order // 16 * 4 + order % 8 // 2
    return (cell.unflatten(1, (16, 4)) == cell[:, ::4, None]).all(2).float().mean(1) > 0.7


def ring(order: torch.Tensor) -> torch.Tensor:
    """Return which orders (b, n) of an 8x8 grid end in a box: the last nine positions have an extent of at most 4."""
    last = torch.stack([order[:, -9:] // 8, order[:, -9:] % 8])
    return (last.amax(2) - last.amin(2)).amax(0) <= 4


def test_the_families_have_their_shares() -> None:
    """Scattered 30 %, blocks 45 %, boxes 25 %, each told by its own mark."""
    order, _ = training_order((8, 8), 0.0, streams(4000))
    blocks, boxes = in_blocks(order), ring(order) & ~in_blocks(order)
    assert abs(float(blocks.float().mean()) - 0.45) < 0.035
    assert abs(float(boxes.float().mean()) - 0.25) < 0.03


def test_every_position_comes_at_every_place_in_training() -> None:
    order, _ = training_order((4, 4), 0.1, streams(3000))
    count = torch.zeros(16, 16, dtype=torch.long)
    for place in range(16):
        count[place] = torch.bincount(order[:, place], minlength=16)
    assert int(count.min()) > 30  # 188 on average; nothing is never asked for early or late


def test_any_share_is_known_in_training() -> None:
    _, known = training_order((4, 4), 0.0, streams(4000))
    share = torch.bincount(known, minlength=16) / 4000
    assert (share - 1 / 16).abs().max() < 4 * (1 / 16 * 15 / 16 / 4000) ** 0.5
