"""Items that are blocks: shapes, places of their frames, strides around the cycle."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from cmrgz.data import cases
from cmrgz.data.cases import Case
from cmrgz.data.cines import Cine, read_cine
from cmrgz.data.scan import Scan, save
from cmrgz.plugin import Extent
from cmrgz.training.blocks import draw_phases, draw_shape, draw_slices, shapes, spread_starts
from cmrgz.training.frames import Frames, held_out

PLANE = (32, 32)
BLOCK = Extent(("t", "z", "y", "x"), (5, 3, *PLANE))
CINE = Extent(("t", "y", "x"), (6, *PLANE))
STACK = Extent(("z", "y", "x"), (3, *PLANE))
RNG = np.random.default_rng


def case(folder: Path, name: str, t: int, z: int, cycle: float = 1.0) -> Case:
    """Store a scan whose frames can be told: columns say the phase, rows the slice; `cycle` of a cycle is covered."""
    scan = Scan.blank((t, z, 40, 36), (8.0, 1.4, 1.4), 0.05)
    values = np.zeros(scan.shape)
    values[..., :4, :] = 1000
    values += (100 * (1 + np.cos(2 * np.pi * cycle * np.arange(t) / t)))[:, None, None, None]
    values += (37 * np.sin(2 * np.pi * cycle * np.arange(t) / t))[:, None, None, None] + 5 * np.arange(z)[:, None, None]
    save(folder / f"{name}.nii.gz", scan, (values + 50).astype(np.int16))
    return cases.find(folder / f"{name}.nii.gz")[0]


@pytest.fixture
def stored(tmp_path: Path) -> Case:
    return case(tmp_path, "cine", 12, 5)


# ---------------------------------------------------------------------- what is drawn
def test_shapes_have_as_many_frames_or_fewer() -> None:
    assert shapes(BLOCK) == ((5, 3), (15, 1), (1, 5), (3, 5), (1, 1))
    assert shapes(CINE) == ((6, 1), (3, 1), (1, 1))
    assert shapes(STACK) == ((1, 3), (1, 2), (1, 1))
    assert shapes(Extent()) == ((1, 1),)
    for extent in (BLOCK, CINE, STACK):
        assert all(t * z <= extent.phases * extent.slices for t, z in shapes(extent))


def test_most_steps_have_the_shape_of_the_model() -> None:
    count = Counter(draw_shape(BLOCK, RNG(i)) for i in range(1000))
    assert set(count) == set(shapes(BLOCK)) and 0.55 < count[5, 3] / 1000 < 0.65


def test_phases_wrap_around_a_ring_alone_and_never_come_twice() -> None:
    wrapped, strides = 0, Counter[int]()
    for i in range(300):
        ring, straight = (draw_phases(12, 5, ring, RNG(i)) for ring in (True, False))
        assert len(set(ring.tolist())) == 5 and ring.max() < 12
        steps = set(np.diff(ring) % 12)
        assert len(steps) == 1
        strides.update(int(s) for s in steps)
        wrapped += bool((np.diff(ring) < 0).any())
        assert (np.diff(straight) > 0).all() and straight.max() < 12
    assert set(strides) == {1, 2}, "a third of the cycle at every third phase would come round"
    assert min(strides.values()) > 60 and wrapped > 50
    assert {int(np.diff(draw_phases(20, 5, True, RNG(i)))[0] % 20) for i in range(100)} == {1, 2, 3, 4}, "4: spread"
    assert {int(np.diff(draw_phases(20, 5, True, RNG(i), False))[0] % 20) for i in range(100)} == {1}
    assert sorted(draw_phases(4, 4, True, RNG(0)).tolist()) == [0, 1, 2, 3]


def test_slices_are_neighbours_or_every_second() -> None:
    steps = Counter(tuple(np.diff(draw_slices(6, 3, RNG(i)))) for i in range(300))
    assert set(steps) == {(1, 1), (2, 2)} and 0.05 < steps[2, 2] / 300 < 0.3
    assert all((np.diff(draw_slices(3, 3, RNG(i))) == 1).all() for i in range(30))
    assert {tuple(np.diff(draw_slices(6, 3, RNG(i), False))) for i in range(50)} == {(1, 1)}
    assert {tuple(draw_slices(4, 3, RNG(i))) for i in range(50)} == {(0, 1, 2), (1, 2, 3)}


def test_held_out_starts_are_spread() -> None:
    starts = [(int(t[0]), int(z[0])) for t, z in spread_starts((12, 5), (5, 3), True, 4)]
    assert len(set(starts)) == 4 and starts[0] == (0, 0) and starts[-1] == (11, 2)
    assert len(spread_starts((12, 5), (5, 3), False, 1000)) == 8 * 3
    assert all(t.max() < 12 and z.max() < 5 for t, z in spread_starts((12, 5), (5, 3), True, 1000))


# ---------------------------------------------------------------------- batches
@pytest.mark.parametrize(("extent", "ends"), [(BLOCK, 2), (CINE, 1), (STACK, 1)])
def test_a_batch_is_one_tensor_of_the_axes(stored: Case, extent: Extent, ends: int) -> None:
    frames = Frames([[stored]], extent)
    seen = Counter[tuple[int, ...]]()
    for step in range(60):
        batch = frames.batch(0, step, 3)
        assert batch.x.shape[:2] == (3, 1) and batch.x.shape[-2:] == PLANE and batch.x.ndim == 4 + ends
        assert float(batch.x.abs().max()) <= 1
        lengths = batch.condition["time"].shape
        assert batch.x[0, 0, ..., 0, 0].numel() == lengths[1] * lengths[2]
        for name, value in batch.condition.items():
            assert value.shape == ((3,) if name in ("row", "column") else lengths) and value.dtype == torch.float32
        seen[lengths[1], lengths[2]] += 1
    wanted = {(min(t, 12), min(z, 5)) for t, z in shapes(extent)}
    assert set(seen) == wanted and seen.most_common(1)[0][0] == shapes(extent)[0]


def test_a_batch_of_blocks_is_a_function_of_seed_and_step(stored: Case) -> None:
    frames = Frames([[stored]], BLOCK)
    first, again = (Frames([[stored]], BLOCK).batch(3, 7, 4) for _ in range(2))
    assert torch.equal(first.x, again.x)
    for name, value in first.condition.items():
        assert torch.equal(value.nan_to_num(-9), again.condition[name].nan_to_num(-9))
    assert torch.equal(frames.batch(3, 7, 2).x, first.x[:2]), "an item does not depend on the size of the batch"
    threaded = list(frames.batches(3, range(5, 9), 4, 2))
    assert torch.equal(threaded[2].x, first.x)


def test_places_fit_the_frames(stored: Case) -> None:
    """What a frame is called is what it shows: exact crops are found again in the scan, under their phase and slice."""
    cine = read_cine(stored)
    brightness = torch.from_numpy(cine.frames[:, :, -1, -1].astype(np.float32))
    batch = Frames([[stored]], BLOCK, augment=0.0).of_shape(0, 0, 60, (5, 3))
    found = 0
    for i in range(60):
        x, told = batch.x[i, 0, :, :, -1, -1], {name: value[i] for name, value in batch.condition.items()}
        if told["phase"].isnan().any() or told["slice"].isnan().any():
            continue
        t, z = (told["phase"] * 12).round().long(), (told["slice"] * 4).round().long()
        torch.testing.assert_close(x, brightness[t, z], atol=0.02, rtol=0)
        found += 1
        torch.testing.assert_close(told["time"] * 12, ((t - t[0]) % 12).float(), atol=1e-4, rtol=0)
        torch.testing.assert_close(told["height"].abs(), (z - z[:, :1]).abs() * 8.0, atol=1e-4, rtol=0)
    assert found > 25


def test_time_runs_backwards_only_where_no_phase_is_told(stored: Case) -> None:
    """The frames of a block, found in the scan by their brightness, go one way or the other around the cycle."""
    cine = read_cine(stored)
    brightness = torch.from_numpy(cine.frames[:, 0, -1, -1].astype(np.float32))
    batch = Frames([[stored]], BLOCK, augment=0.0).of_shape(1, 0, 300, (5, 1))
    shown = (batch.x[:, 0, :, 0, -1, -1, None] - brightness).abs()
    at_first = batch.condition["slice"][:, 0, 0] == batch.condition["slice"].nan_to_num(1).amin()
    step = (shown.argmin(2).diff(dim=1)[:, 0]) % 12
    backwards = (step > 6)[at_first]
    untold = batch.condition["phase"][:, 0, 0].isnan()[at_first]
    assert not bool((backwards & ~untold).any())
    assert bool((backwards & untold).any()) and bool((~backwards & untold).any())
    assert bool((batch.condition["time"].diff(dim=1) > 0).all()), "time grows all the same"


def test_conditions_are_dropped_for_all_frames_of_a_block_and_places_never(stored: Case) -> None:
    batch = Frames([[stored]], BLOCK).of_shape(0, 0, 200, (3, 2))
    for name, value in batch.condition.items():
        missing = value.isnan().reshape(200, -1)
        assert torch.equal(missing.any(1), missing.all(1))
        assert (0.05 < missing.float().mean() < 0.3) if name not in ("time", "height") else not missing.any()


def test_a_cine_of_part_of_the_cycle_is_no_ring(tmp_path: Path) -> None:
    half = case(tmp_path, "half", 12, 1, cycle=0.5)
    phase = Frames([[half]], BLOCK).of_shape(0, 0, 80, (5, 1)).condition["phase"][:, :, 0]
    phase = phase[~phase.isnan().any(1)]
    assert bool((phase.diff(dim=1) > 0).all())
    ring = Frames([[case(tmp_path, "ring", 12, 1)]], BLOCK).of_shape(0, 0, 80, (5, 1)).condition["phase"][:, :, 0]
    assert bool((ring.diff(dim=1) < 0).any())


def test_all_frames_of_a_block_are_changed_alike(tmp_path: Path) -> None:
    """Of a scan that stands still, all frames of a block are the same, whatever is done to it."""
    rng, scan = np.random.default_rng(0), Scan.blank((9, 3, 40, 36), (8.0, 1.4, 1.4), 0.05)
    plane = rng.integers(0, 500, (40, 36))
    save(tmp_path / "a.nii.gz", scan, np.broadcast_to(plane, scan.shape).astype(np.int16))
    x = Frames([cases.find(tmp_path / "a.nii.gz")], BLOCK, augment=2.0).of_shape(0, 0, 20, (5, 3)).x
    assert torch.equal(x, x[:, :, :1, :1].expand_as(x))
    assert not torch.equal(x[0], x[1])


def test_short_clips_get_steps_of_their_own(tmp_path: Path) -> None:
    """A batch has one shape; a scan of one frame or one slice is seen, and never padded."""
    still, flat, whole = case(tmp_path, "still", 1, 1), case(tmp_path, "flat", 9, 1), case(tmp_path, "whole", 9, 4)
    frames = Frames([[still], [flat, whole]], BLOCK)
    seen = Counter(tuple(frames.batch(0, step, 2).x.shape[2:4]) for step in range(80))
    assert {(1, 1), (5, 1), (5, 3), (9, 1)} <= set(seen)
    assert frames.surroundings == (9, 4)
    assert Frames([[still]], BLOCK).surroundings == (1, 1)
    assert Frames([[still, flat]], BLOCK).surroundings == (9, 1)
    assert Frames([[whole], [flat]], BLOCK, shares=(0.0, 1.0)).surroundings == (9, 1)
    few = Frames([[still]], BLOCK).batch(0, 0, 3)
    assert few.x.shape == (3, 1, 1, 1, *PLANE) and not few.condition["time"].isnan().any()


def test_held_out_blocks_never_change_and_are_spread(stored: Case) -> None:
    cine = read_cine(stored)
    first, again = held_out(cine, BLOCK, 16), held_out(cine, BLOCK, 16)
    assert torch.equal(first.x, again.x) and first.x.shape == (4, 1, 5, 3, *PLANE)
    assert len(held_out(cine, BLOCK, 2).x) == 2 and len(held_out(cine, BLOCK, 300).x) == 20
    assert not first.condition["phase"].isnan().any() and len(first.condition["phase"][:, 0, 0].unique()) > 2
    corner = cine.corner(PLANE)
    assert np.array_equal(first.x[0, 0].numpy(), cine.block(range(5), range(3), corner, PLANE).astype(np.float32))
    assert held_out(cine, CINE, 6).x.shape[1:] == (1, 6, *PLANE) and held_out(cine, STACK, 3).x.shape[1:] == (
        1,
        3,
        *PLANE,
    )


def test_held_out_blocks_of_a_short_clip_are_shorter() -> None:
    cine = Cine("s", np.zeros((1, 2, 40, 40), np.float16), np.full(1, np.nan), np.array([0.0, 1.0]), (20.0, 20.0))
    assert held_out(cine, BLOCK, 16).x.shape == (1, 1, 1, 2, *PLANE)
