import math
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cmrgz.data import cases
from cmrgz.data.cines import Cine, read_cine
from cmrgz.data.scan import Scan, save
from cmrgz.errors import DataError, UsageError
from cmrgz.plugin import Extent
from cmrgz.rng import derive
from cmrgz.training.crops import exact_crop, turned_crop
from cmrgz.training.frames import DROP, Frames, held_out

ITEM = (32, 32)
EXTENT = Extent(item=ITEM)


@pytest.fixture
def folder(noise_scans: Callable[..., Path]) -> Path:
    return noise_scans("ab", (3, 2, 48, 40))


@pytest.fixture
def frames(folder: Path) -> Frames:
    return Frames([cases.find(folder)], EXTENT)


def test_a_batch_is_a_function_of_seed_and_step(frames: Frames) -> None:
    first, again = frames.batch(3, 7, 8), frames.batch(3, 7, 8)
    assert torch.equal(first.x, again.x)
    for name, value in first.condition.items():
        assert torch.equal(value.nan_to_num(-9), again.condition[name].nan_to_num(-9))
    assert not torch.equal(first.x, frames.batch(3, 8, 8).x)
    assert not torch.equal(first.x, frames.batch(4, 7, 8).x)


def test_an_item_does_not_depend_on_the_size_of_the_batch(frames: Frames) -> None:
    assert torch.equal(frames.batch(0, 1, 2).x, frames.batch(0, 1, 6).x[:2])


def test_threads_make_the_same_batches_in_order(frames: Frames) -> None:
    plain, threaded = (list(frames.batches(0, range(5, 12), 2, workers)) for workers in (0, 3))
    assert len(plain) == 7
    assert all(torch.equal(a.x, b.x) for a, b in zip(plain, threaded, strict=True))


def test_threads_stop_with_the_training(frames: Frames) -> None:
    batches = frames.batches(0, range(10**9), 2, 2)
    next(batches)
    before = threading.active_count()
    batches.close()
    assert threading.active_count() < before


def test_items_are_in_range_and_conditions_are_dropped_sometimes(frames: Frames) -> None:
    batch = frames.batch(0, 0, 200)
    assert batch.x.shape == (200, 1, *ITEM)
    assert float(batch.x.abs().max()) <= 1
    for name, value in batch.condition.items():
        missing = value.isnan().float().mean()
        assert 0.05 < missing < 0.3, name
    phase = batch.condition["phase"]
    assert set(phase[~phase.isnan()].tolist()) <= {np.float32(i / 3).item() for i in range(3)}


def test_shares_weigh_the_data_sets(tmp_path: Path) -> None:
    for name, value in (("dark", 0), ("bright", 400)):
        scan = Scan.blank((1, 1, 40, 40), (10.0, 1.4, 1.4))
        voxels = np.full(scan.shape, value, np.int16)
        voxels[..., ::2] += np.arange(20, dtype=np.int16) * 5 + 5  # not constant, and no label map
        save(tmp_path / f"{name}.nii.gz", scan, voxels)
    dark, bright = (cases.find(tmp_path / f"{name}.nii.gz") for name in ("dark", "bright"))
    share = (Frames([dark, bright], EXTENT, shares=(1.0, 3.0)).batch(0, 0, 400).x.mean((1, 2, 3)) > 0.3).float().mean()
    assert 0.65 < float(share) < 0.85


@pytest.mark.parametrize("shares", [(1.0,), (-1.0, 2.0), (0.0, 0.0)])
def test_wrong_shares_are_refused(folder: Path, shares: tuple[float, ...]) -> None:
    found = cases.find(folder)
    with pytest.raises(UsageError, match="range"):
        Frames([found[:1], found[1:]], EXTENT, shares=shares)


def test_no_data_is_refused() -> None:
    with pytest.raises(DataError, match="empty-dataset"):
        Frames([[]], EXTENT)


def test_a_crop_that_is_not_turned_is_exact() -> None:
    frame = torch.rand(60, 50) * 2 - 1
    exact = exact_crop(frame, (5.0, 7.0), ITEM)
    assert torch.equal(exact[0], frame[5:37, 7:39])
    torch.testing.assert_close(turned_crop(frame, (5.0, 7.0), ITEM, 0.0, 1.0), exact, atol=1e-5, rtol=0)


def test_augmentation_has_a_strength(folder: Path) -> None:
    """0 leaves the pixels of the scan; more moves items further from them."""
    found = [cases.find(folder)]
    plain, usual, strong = (Frames(found, EXTENT, augment=strength).batch(0, 0, 64).x for strength in (0.0, 1.0, 2.0))
    away = [float((x - plain).abs().mean()) for x in (usual, strong)]
    assert 0 < away[0] < away[1]
    rows = torch.cat([torch.from_numpy(cine.frames).float().flatten() for cine in Frames(found, EXTENT).sources[0]])
    near = (plain.flatten()[:200, None] - rows).abs().amin(1)
    assert float(near.max()) < 1e-4


def test_a_turned_crop_turns_about_its_centre() -> None:
    frame = torch.rand(61, 61) * 2 - 1
    quarter = turned_crop(frame, (14.0, 14.0), (33, 33), math.pi / 2, 1.0)[0]
    plain = exact_crop(frame, (14.0, 14.0), (33, 33))[0]
    assert torch.allclose(quarter, plain.rot90(1), atol=1e-4) or torch.allclose(quarter, plain.rot90(-1), atol=1e-4)


def test_a_small_plane_is_padded_with_air() -> None:
    crop = exact_crop(torch.ones(20, 24), (0.0, 0.0), ITEM)
    assert crop.shape == (1, *ITEM)
    assert bool((crop[0, 20:] == -1).all()) and bool((crop[0, :20, :24] == 1).all())


def test_place_counts_items_from_the_heart() -> None:
    frames = np.zeros((2, 3, 64, 64), np.float16)
    cine = Cine("s", frames, np.array([0.0, 0.5]), np.array([0.0, 0.5, 1.0]), (32.0, 20.0))
    there = cine.place(1, 2, (16.0, 20.0), ITEM)
    assert there == {"phase": 0.5, "slice": 1.0, "row": 0.0, "column": 0.5}


def test_held_out_items_never_change_and_are_spread(folder: Path) -> None:
    cine = read_cine(cases.find(folder)[0])
    first, again = held_out(cine, EXTENT, 4), held_out(cine, EXTENT, 4)
    assert torch.equal(first.x, again.x)
    assert len(first.x) == 4
    assert len(held_out(cine, EXTENT, 100).x) == 6
    assert not first.condition["slice"].isnan().any()


# ---------------------------------------------------------------------- as before there were blocks
def frame_item(
    frames: Frames, shares: np.ndarray, seed: int, step: int, i: int
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return an item as it was drawn when items were frames: which draws there are, and in which order."""
    rng = np.random.default_rng(derive(seed, "item", step, i))
    cines = frames.sources[rng.choice(len(frames.sources), p=shares)]
    cine = cines[rng.integers(len(cines))]
    t, z = (int(rng.integers(n)) for n in cine.frames.shape[:2])
    room = [max(n - m, 0) for n, m in zip(cine.frames.shape[2:], ITEM, strict=True)]
    if rng.random() < 0.5:
        start = [c - m / 2 + rng.normal(0, 8) for c, m in zip(cine.centre, ITEM, strict=True)]
    else:
        start = [rng.uniform(0, r) for r in room]
    corner = tuple(float(np.clip(round(c), 0, r)) for c, r in zip(start, room, strict=True))
    frame = torch.from_numpy(cine.frames[t, z]).float()
    if rng.random() < 0.5:
        x = exact_crop(frame, corner, ITEM)
    else:
        angle, zoom, gain, gamma = rng.uniform(-1, 1, 4)
        x = turned_crop(frame, corner, ITEM, math.radians(9 * angle), math.exp(0.15 * zoom))
        shade = ((x + 1) / 2).clamp(min=0) ** math.exp(0.15 * gamma)
        x = (2 * shade * math.exp(0.15 * gain) - 1).clamp(-1, 1)
    condition = cine.place(t, z, corner, ITEM)
    jitter = rng.normal(0, 0.03, 2)
    condition["row"] += jitter[0]
    condition["column"] += jitter[1]
    return x, {name: math.nan if rng.random() < DROP else value for name, value in condition.items()}


def test_frames_are_what_they_were_to_the_bit(folder: Path) -> None:
    found = cases.find(folder)
    frames = Frames([found[:1], found[1:]], EXTENT, shares=(1.0, 3.0))
    for step in range(4):
        batch = frames.batch(5, step, 8)
        for i in range(8):
            x, condition = frame_item(frames, np.array([0.25, 0.75]), 5, step, i)
            assert torch.equal(batch.x[i], x)
            for name, value in condition.items():
                same = torch.tensor(float(value)).nan_to_num(-9), batch.condition[name][i].nan_to_num(-9)
                assert torch.equal(*same), name
        assert set(batch.condition) == {"phase", "slice", "row", "column"}
