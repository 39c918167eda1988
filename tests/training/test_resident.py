"""Frames on a device: the batches of those on the host, cut in one piece of work that waits for nothing."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from cmrgz.data import cases
from cmrgz.data.scan import Scan, save
from cmrgz.plugin import Extent
from cmrgz.testing.card import CardTensor, Costs, card, held, on_card
from cmrgz.testing.elsewhere import moved
from cmrgz.testing.subject import Subject
from cmrgz.training import resident
from cmrgz.training.banking import make_bank
from cmrgz.training.frames import Batch, Frames
from cmrgz.training.resident import ResidentFrames, on_device
from cmrgz.training.shards import give_gradients

CPU = torch.device("cpu")
FRAME = Extent(item=(32, 32))
BLOCK = Extent(("t", "z", "y", "x"), (5, 3, 32, 40))
STACK = Extent(("z", "y", "x"), (3, 32, 32))
MOST = 60
"""Kernels of a step."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cines of different sizes, of which one has smaller planes than an item, and one fewer phases and slices."""
    root, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    for name, shape in (("a", (6, 4, 48, 40)), ("b", (9, 3, 24, 50)), ("c", (12, 5, 70, 61)), ("d", (3, 2, 40, 44))):
        scan = Scan.blank(shape, (10.0, 1.4, 1.4), 0.05)
        save(root / f"{name}.nii.gz", scan, rng.integers(0, 500, shape).astype(np.int16))
    return root


def frames_of(folder: Path, extent: Extent) -> Frames:
    found = cases.find(folder)
    return Frames([found[:3], found[3:]], extent, shares=(3.0, 1.0), augment=2.0)


def equal(first: Batch, other: Batch, apart: float = 0.0) -> None:
    assert first.x.shape == other.x.shape and first.x.dtype == other.x.dtype
    assert float((first.x - other.x).abs().max()) <= apart
    assert first.condition.keys() == other.condition.keys()
    for name, value in first.condition.items():
        assert torch.equal(value.nan_to_num(-9), other.condition[name].nan_to_num(-9)), name


@pytest.mark.parametrize("extent", [FRAME, BLOCK, STACK], ids=["frames", "blocks", "stacks"])
def test_batches_are_those_of_the_host(folder: Path, extent: Extent) -> None:
    frames = frames_of(folder, extent)
    there = ResidentFrames(frames, CPU)
    sources, turns = set(), 0
    for step, batch in enumerate(there.batches(5, range(8), 12)):
        equal(batch, frames.batch(5, step, 12), apart=1e-5)
        cuts = [cut for cut, _ in frames.planned(5, step, 12)]
        exact = [i for i, cut in enumerate(cuts) if cut.turn is None]
        assert torch.equal(batch.x[exact], frames.batch(5, step, 12).x[exact])
        sources.update(cut.source for cut in cuts)
        turns += len(cuts) - len(exact)
    assert len(sources) == 4 and turns > 20


def test_what_lies_outside_of_a_plane_is_air(folder: Path) -> None:
    small = Frames([cases.find(folder / "b.nii.gz")], FRAME)
    x = ResidentFrames(small, CPU)._batch(ResidentFrames(small, CPU)._planned(0, 16, 0)).x
    assert torch.equal(x == -1, small.batch(0, 0, 16).x == -1)
    assert float((x == -1).float().mean()) > 0.1


def test_some_of_the_items_of_a_step_are_theirs_and_threads_change_nothing(folder: Path) -> None:
    there = ResidentFrames(frames_of(folder, BLOCK), CPU)
    whole, threaded = (list(there.batches(1, range(3, 6), 6, workers)) for workers in (0, 2))
    shard = list(there.batches(1, range(3, 6), [1, 4]))
    for a, b, part in zip(whole, threaded, shard, strict=True):
        equal(a, b)
        equal(Batch(a.x[[1, 4]], {name: value[[1, 4]] for name, value in a.condition.items()}), part)


def test_a_bank_is_sent_as_files_are(folder: Path, tmp_path: Path) -> None:
    make_bank(cases.find(folder), tmp_path / "bank")
    files, bank = (Frames([found], BLOCK) for found in (cases.find(folder), cases.find(tmp_path / "bank", banks=True)))
    equal(*(next(ResidentFrames(frames, CPU).batches(0, range(1), 6)) for frames in (files, bank)))


def counted(frames: Frames, items: int) -> tuple[Batch, Costs]:
    """Return a batch that was made on the card, and what one step costs."""
    with on_card():
        batches = ResidentFrames(frames, card()).batches(5, range(2), items)
        next(batches)
    with on_card() as costs:
        batch = next(batches)
    assert isinstance(batch.x, CardTensor) and all(isinstance(v, CardTensor) for v in batch.condition.values())
    return Batch(held(batch.x), {name: held(value) for name, value in batch.condition.items()}), costs


@pytest.mark.parametrize("extent", [FRAME, BLOCK], ids=["frames", "blocks"])
def test_a_step_asks_little_of_a_gpu_and_waits_for_nothing(folder: Path, extent: Extent) -> None:
    frames = frames_of(folder, extent)
    (few, asked), (many, more) = (counted(frames, items) for items in (2, 9))
    equal(few, Batch(many.x[:2], {name: value[:2] for name, value in many.condition.items()}))
    equal(many, frames.batch(5, 1, 9), apart=1e-5)
    assert not asked.waits and not more.waits and not more.down
    assert asked.launches.total() == more.launches.total() <= MOST
    assert more.up.total() == 2 + len(many.condition)


def test_the_shards_of_a_step_are_taken_from_what_was_cut_there(folder: Path) -> None:
    subject = Subject.of("ldm-dit")
    frames, losses = Frames([cases.find(folder)], subject.extent), []
    for there in (False, True):
        model = moved(subject.model)
        with on_card() as costs, torch.random.fork_rng():
            read = ResidentFrames(frames, card()) if there else frames
            batch = next(read.batches(5, range(1), 4))
            costs.waits.clear()
            losses.append(float(held(give_gradients(model, batch, 5, 0, "fp32", shards=2))))
        assert not [line for line in costs.waits if "training.resident" in line or "sending" in line]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_frames_are_held_where_they_fit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    frames = frames_of(folder, FRAME)
    size = sum(cine.frames.nbytes for part in frames.sources for cine in part)
    caplog.set_level(logging.INFO, "cmrgz.training")
    for free, kind in ((4 * size, ResidentFrames), (4 * size - 4, Frames)):
        monkeypatch.setattr(resident, "free_memory", lambda device, free=free: free)
        with on_card():
            assert type(on_device(frames, card(), quiet=False)) is kind
        assert on_device(frames, CPU, quiet=False) is frames
    assert ["card:0" in line or "host" in line for line in caplog.messages] == [True, True]


def test_the_memory_of_an_unknown_device_is_not_filled(folder: Path) -> None:
    frames = frames_of(folder, FRAME)
    assert on_device(frames, torch.device("meta")) is frames
