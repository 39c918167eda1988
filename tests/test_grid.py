"""Blocks of a scan: each hidden voxel is drawn once, blocks overlap and wrap, nothing leaks through time or slices."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cmrgz.adaptive import adaptive_continuation
from cmrgz.blocks import Box, blocks_in_turn, whole_fill
from cmrgz.data.finer import Finer
from cmrgz.data.masks import parse
from cmrgz.data.scan import Scan, Shape
from cmrgz.errors import PluginError
from cmrgz.grid import Block, Grid, is_cycle
from cmrgz.model import Model
from cmrgz.plugin import Extent
from cmrgz.tasks import Setting, inpaint

BLOCK = Extent(("t", "z", "y", "x"), (5, 3, 32, 32))
EXTENTS = {
    "frame": Extent(item=(32, 32)),
    "clip": Extent(("t", "y", "x"), (5, 32, 32)),
    "stack": Extent(("z", "y", "x"), (3, 32, 32)),
    "block": BLOCK,
}


class Smooth(Model):
    """Draws the mean of what it knows of its item, and keeps what it was asked."""

    def __init__(self, extent: Extent = BLOCK) -> None:
        super().__init__()
        self.extent = extent
        self.asked: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = []

    def loss(self, x: Tensor, *, condition: Any = None, rng: Any) -> Tensor:
        raise AssertionError

    def sample(self, x: Tensor, known: Tensor, *, condition: Any = None, rng: Any, progress: Any = None) -> Tensor:
        assert not x[~known].any()
        self.asked.append((x.clone(), known.clone(), {k: v.clone() for k, v in condition.items()}))
        count = known.flatten(1).sum(1).clamp(min=1)
        mean = x.flatten(1).sum(1) / count
        return mean.view(-1, *[1] * (x.ndim - 1)).expand_as(x) + 0.01 * rng.normal(*x.shape[1:])


def moving(shape: Shape, seed: int = 0) -> Scan:
    rng = np.random.default_rng(seed)
    t, z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    row = shape[2] / 2 + 4 * np.cos(2 * np.pi * t / shape[0]) + z
    values = 500 * np.exp(-((y - row) ** 2 + (x - shape[3] / 2) ** 2) / 60) + 20 * rng.random(shape)
    return replace(Scan.blank(shape, (8.0, 1.4, 1.4), 0.04), stored=values.astype(np.int16))


def grid_of(scan: Scan, extent: Extent = BLOCK) -> Grid:
    return Grid.of(scan, scan.voxels, np.ones(scan.shape, dtype=bool), extent, 8)


def place_of(grid: Grid, block: Block) -> tuple[Any, ...]:
    """Return the index of a block in a cine (t, z, h', w')."""
    area = [range(part.start, part.stop) for part in grid.area(block)]
    return np.ix_(grid.phases_of(block), grid.slices_of(block), *area)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 13), st.integers(1, 6), st.sampled_from([17, 32, 50]), st.sampled_from([32, 70])),
    kind=st.sampled_from(sorted(EXTENTS)),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_every_wanted_pixel_is_drawn_once(shape: Shape, kind: str, share: float, seed: int) -> None:
    scan = moving(shape)
    known = np.random.default_rng(seed).random(shape) < share
    grid = Grid.of(scan, scan.voxels, known, EXTENTS[kind], 8)
    _, seen, wanted = grid.to_model(scan.voxels, known)
    covered = seen.copy()
    for blocks in blocks_in_turn(grid, seen, wanted):
        frames = np.zeros(shape[:2], int)
        for block in blocks:
            assert (wanted & ~covered)[np.ix_(grid.phases_of(block), grid.slices_of(block))].any()
            frames[np.ix_(grid.phases_of(block), grid.slices_of(block))] += 1
            covered[place_of(grid, block)] = True
        assert frames.max() == 1, "blocks of a round share a frame"
    assert covered[wanted].all()


@pytest.mark.parametrize("kind", EXTENTS)
def test_what_is_cut_is_what_stands_at_the_place(kind: str) -> None:
    grid = grid_of(moving((12, 4, 40, 40)), EXTENTS[kind])
    cine = np.random.default_rng(0).random((12, 4, *grid.window.padded)).astype(np.float32)
    for t in grid.starts[0]:
        for z in grid.starts[1]:
            block = next(iter(blocks_in_turn(grid, np.zeros(cine.shape, bool), np.ones(cine.shape, bool))))[0]
            block = block._replace(t=t, z=z)
            assert np.array_equal(grid.cut(cine, block).ravel(), cine[place_of(grid, block)].ravel())


def test_blocks_of_a_cycle_wrap_and_overlap() -> None:
    grid = grid_of(moving((12, 4, 32, 32)))
    assert grid.ring
    phases = [set((start + np.arange(5)) % 12) for start in grid.starts[0]]
    assert set.union(*phases) == set(range(12)) and all(
        a & b for a, b in zip(phases, [*phases[1:], phases[0]], strict=True)
    )
    assert grid.starts[1] == [0, 1]


@pytest.mark.parametrize(("kind", "first"), [("frame", 48), ("clip", 4), ("stack", 12), ("block", 1)])
def test_where_nothing_is_known_what_belongs_together_grows_from_one_block(kind: str, first: int) -> None:
    """Blocks drawn side by side, given nothing, would be parts of different hearts."""
    shape = (12, 4, 32, 32)
    grid = grid_of(moving(shape), EXTENTS[kind])
    known = np.zeros((*shape[:2], 32, 32), dtype=bool)
    rounds = list(blocks_in_turn(grid, known, ~known))
    assert len(rounds[0]) == first
    for number, blocks in enumerate(rounds):
        seen = [known[np.ix_(grid.phases_of(block), grid.slices_of(block))].any() for block in blocks]
        assert all(seen) or number == 0
        for block in blocks:
            known[np.ix_(grid.phases_of(block), grid.slices_of(block))] = True
    assert known.all()


def test_the_block_that_begins_is_spread_over_the_cycle() -> None:
    """A motion that is drawn bit by bit ends anywhere, and need not come back."""
    scan, model = moving((20, 3, 32, 32)), Smooth()
    inpaint(model, scan, np.zeros(scan.shape, dtype=bool), Setting())
    time = torch.cat([condition["time"][:, :, 0] for _, _, condition in model.asked])
    steps = {round(20 * float(row.diff().mean())) for row in time}
    assert torch.allclose(time[0], torch.arange(5) / 5) and steps == {1, 4}
    grid = grid_of(moving((23, 3, 32, 32)))
    block = grid.spread(Block(0, 0, 0, 0))
    assert grid.phases_of(block).tolist() == [0, 4, 8, 12, 16] and block.key != block._replace(stride=1).key
    assert grid_of(moving((8, 3, 32, 32))).spread(Block(0, 0, 0, 0)).stride == 1


@pytest.mark.parametrize("kind", EXTENTS)
def test_tiles_of_blocks_are_few_where_something_is_known(kind: str) -> None:
    scan = moving((4, 3, 72, 56))
    known = np.zeros(scan.shape, dtype=bool)
    void = Grid.of(scan, scan.voxels, known, EXTENTS[kind], 8)
    known[:2] = True
    tiles = Grid.of(scan, scan.voxels, known, EXTENTS[kind], 8).window.tiles
    assert len(tiles) == 6 if kind != "frame" else tiles == void.window.tiles


def test_blocks_around_a_cycle_have_something_in_common() -> None:
    """What they draw alike has the key of their sample, slices and tile, and they are told where they begin."""

    class Common(Smooth):
        def sample(self, x: Tensor, known: Tensor, *, condition: Any = None, rng: Any, progress: Any = None) -> Tensor:
            self.asked.append((rng.around("noise").uniform(), rng.child("noise").uniform(), condition))
            return torch.zeros_like(x)

    model, scan = Common(), moving((12, 3, 32, 32))
    inpaint(model, scan, parse("0.5").draw(scan.shape, seed=0), Setting(samples=2))
    common, own, starts = (
        torch.cat(part) for part in zip(*[(a, b, c["start"]) for a, b, c in model.asked], strict=True)
    )
    assert len(set(common.tolist())) == 2 and len(set(own.tolist())) == 2 * 3
    assert sorted(set((12 * starts).round().int().tolist())) == grid_of(scan).starts[0]


@pytest.mark.parametrize(("recorded", "count"), [(12, 24), (3, 5), (6, 11)])
def test_a_finer_grid_is_told_as_it_is(recorded: int, count: int) -> None:
    """Half the steps in time and between slices, as many a cycle as there are; a part of a cycle is a part of it."""
    whole = moving((12, 3, 32, 32))
    scan = replace(whole, stored=whole.stored[:recorded])
    known = np.ones(scan.shape, dtype=bool)
    coarse = grid_of(scan)
    made, seen = Finer(z=2, t=2).refined(scan, known, coarse.ring)
    fine = Grid.of(made, np.where(seen, made.voxels, 777), seen, BLOCK, 8)
    assert fine.shape[:2] == (count, 5) and fine.ring == coarse.ring == (recorded == 12)
    assert fine.tempo == pytest.approx(coarse.tempo / 2) and (coarse.step, fine.step) == (8, 4)
    model = Smooth()
    drawn = inpaint(model, made, seen, Setting())
    assert np.array_equal(drawn.mean[::2, ::2], scan.voxels)
    for _, known_, condition in model.asked:
        time, height = condition["time"], condition["height"]
        assert torch.allclose(time.diff(dim=1), torch.tensor(fine.tempo)) and (height.diff(dim=2) == 4).all()
        if condition["start"][0] == 0:
            assert torch.allclose(condition["phase"][0, :3, 0], fine.tempo * torch.arange(3)) or recorded == 6
        assert known_.any() and not known_.all()


def test_a_part_of_a_cycle_is_no_ring() -> None:
    scan = moving((20, 2, 32, 32))
    half = replace(scan, stored=scan.stored[:10])
    assert is_cycle(scan.voxels, np.ones(scan.shape, bool)) and not is_cycle(half.voxels, np.ones(half.shape, bool))
    assert grid_of(half).starts[0][-1] == 5


def test_no_hidden_voxel_tells_whether_it_is_a_ring() -> None:
    scan = moving((20, 2, 32, 32))
    known = parse("frames:0.5").draw(scan.shape, seed=1)
    noise = np.where(known, scan.voxels, np.nan)
    assert is_cycle(noise, known) == is_cycle(np.where(known, scan.voxels, 0), known)


@pytest.mark.parametrize("mask", ["0.7", "slices:every=2", "frames:every=2", "box:0.5"])
@pytest.mark.parametrize("kind", EXTENTS)
def test_nothing_hidden_reaches_a_draw_through_time_or_slices(kind: str, mask: str) -> None:
    scan = moving((9, 3, 40, 56))
    known = parse(mask).draw(scan.shape, seed=2)
    drawn = inpaint(Smooth(EXTENTS[kind]), scan, known, Setting(samples=2))
    other = replace(scan, stored=np.where(known, scan.voxels, np.nan).astype(np.float32))
    again = inpaint(Smooth(EXTENTS[kind]), other, known, Setting(samples=2))
    assert np.array_equal(drawn.samples, again.samples)
    assert all(np.array_equal(part[known], scan.voxels[known]) for part in drawn.samples)


@pytest.mark.parametrize("kind", EXTENTS)
def test_the_number_in_flight_does_not_matter(kind: str) -> None:
    scan = moving((9, 3, 32, 56))
    known = parse("0.6").draw(scan.shape, seed=2)
    wanted = inpaint(Smooth(EXTENTS[kind]), scan, known, Setting(samples=2))
    for size in (1, 3, 8):
        got = inpaint(Smooth(EXTENTS[kind]), scan, known, Setting(samples=2, batch_size=size))
        assert np.array_equal(got.samples, wanted.samples)


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (1, 5, 32, 32), (12, 1, 32, 32), (2, 2, 32, 32)])
def test_short_scans_give_short_items(shape: Shape) -> None:
    model, scan = Smooth(), moving(shape)
    drawn = inpaint(model, scan, parse("0.5").draw(shape, seed=0), Setting())
    assert np.isfinite(drawn.samples).all()
    item = (min(5, shape[0]), min(3, shape[1]), 32, 32)
    for x, known, condition in model.asked:
        assert x.shape[2:] == known.shape[2:] == item
        assert all(condition[name].shape[1:] == item[:2] for name in ("time", "height", "phase", "slice"))
        assert condition["fill"].shape == (len(x), 2, *x.shape[2:]) and condition["row"].ndim == 1


def test_places_are_told_in_cycles_and_mm() -> None:
    model, scan = Smooth(), moving((20, 4, 32, 32))
    inpaint(model, scan, parse("0.5").draw(scan.shape, seed=0), Setting())
    _, _, condition = model.asked[0]
    assert condition["time"][0, :, 0].tolist() == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert condition["height"][0, 0].tolist() == pytest.approx([0, 8, 16])
    steps = condition["phase"][0, :, 0].diff() % 1
    assert torch.allclose(steps, torch.full_like(steps, 0.05), atol=1e-6)


def test_a_fill_of_the_whole_scan_sees_beyond_the_block() -> None:
    scan = moving((20, 2, 32, 32))
    known = np.ones(scan.shape, dtype=bool)
    known[5] = False
    grid = Grid.of(scan, scan.voxels, known, BLOCK, 8)
    x, seen, _ = grid.to_model((scan.voxels / 250 - 1).astype(np.float32), known)
    fill, near = whole_fill(Smooth(), grid, x, seen)
    mean = (x[4] + x[6]) / 2
    assert np.array_equal(fill[seen], x[seen])
    assert np.abs(fill[5] - mean).mean() < 0.1 * np.abs(x[4] - x[6]).mean() + 0.02
    assert (near[seen] == 1).all() and (near[5] < 1).all() and near.min() > 0.9, "one phase of twenty is not far"


def test_slabs_of_a_large_scan_hardly_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = moving((8, 9, 32, 32))
    known = parse("0.7").draw(scan.shape, seed=0)
    grid = Grid.of(scan, scan.voxels, known, BLOCK, 8)
    x, seen, _ = grid.to_model((scan.voxels / 250 - 1).astype(np.float32), known)
    whole = whole_fill(Smooth(), grid, x, seen)
    monkeypatch.setattr("cmrgz.blocks.SLAB", 3 * 8 * 32 * 32)
    parts = whole_fill(Smooth(), grid, x, seen)
    assert parts.shape == whole.shape and np.abs(parts - whole).mean() < 0.02


def test_what_lies_far_from_a_hole_does_not_change_its_fill() -> None:
    scan = moving((5, 2, 160, 160))
    known = np.ones(scan.shape, dtype=bool)
    known[:, :, 60:80, 50:75] = False
    grid = Grid.of(scan, scan.voxels, known, BLOCK, 8)
    x = (scan.voxels / 250 - 1).astype(np.float32)
    box = Box(slice(0, 2), slice(56, 88), slice(48, 80))
    near, whole = whole_fill(Smooth(), grid, x, known, box), whole_fill(Smooth(), grid, x, known)
    assert near.shape == (2, 5, 2, 32, 32) and np.abs(near - whole[:, :, :, 56:88, 48:80]).mean() < 0.002
    far = np.where(np.arange(160) < 120, x, 0.0).astype(np.float32)
    assert np.array_equal(whole_fill(Smooth(), grid, far, known, box), near)
    known[:, :, 20:120, 10:110] = False
    seen = whole_fill(Smooth(), grid, x, known, box)
    assert seen[0].any(), "where nothing near is known what is far off counts"


def test_a_small_hole_in_a_large_scan_is_continued_from_little(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = moving((5, 9, 160, 160))
    known = np.ones(scan.shape, dtype=bool)
    known[2:4, 4:6, 60:80, 50:75] = False
    grid = Grid.of(scan, scan.voxels, known, BLOCK, 8)
    x, sizes = (scan.voxels / 250 - 1).astype(np.float32), []

    def continued(given: Tensor, seen: Tensor, *rest: Any) -> Tensor:
        sizes.append(tuple(given.shape))
        return adaptive_continuation(given, seen, *rest)

    monkeypatch.setattr("cmrgz.blocks.adaptive_continuation", continued)
    fill, near = whole_fill(Smooth(), grid, x, known)
    assert sizes == [(1, 1, 5, 4, 84, 89)], "the hole, a slice and 32 pixels around it"
    assert np.array_equal(fill[known], x[known]) and (near[known] == 1).all() and (near[~known] < 1).all()


@settings(deadline=None)
@given(st.lists(st.tuples(*(st.integers(0, n - 1) for n in (2, 3, 6, 7))), max_size=4), st.integers(0, 2))
def test_a_hull_is_the_least_box(places: list[tuple[int, int, int, int]], first: int) -> None:
    cine = np.zeros((2, 3, 6, 7), dtype=bool)
    for place in places:
        cine[place] = True
    box = Box(slice(first, 3), slice(1, 6), slice(0, 5))
    inside = cine[:, box.z, box.rows, box.columns].any(0)
    hull = Box.hull(cine, box)
    assert (hull is None) == (not inside.any())
    if hull is not None:
        for part, outer, found in zip(hull, box, np.nonzero(inside), strict=True):
            assert (part.start, part.stop) == (outer.start + found.min(), outer.start + found.max() + 1)


@pytest.mark.parametrize(
    ("axes", "item"), [(("x", "y"), (8, 8)), (("t", "x"), (8, 8)), (("y", "x"), (4, 8, 8)), ((), ())]
)
def test_axes_that_there_are_not(axes: tuple[str, ...], item: tuple[int, ...]) -> None:
    with pytest.raises(PluginError, match="axes"):
        Extent(axes, item)
