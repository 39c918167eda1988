import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmrgz.anatomy import segmenter as package
from cmrgz.anatomy.segmenter import Segmenter, largest_components
from cmrgz.anatomy.segmenter.labelled import BACKGROUND, Labelled, batch, labelled, possible, warped
from cmrgz.anatomy.segmenter.network import SegmentationUNet
from cmrgz.anatomy.segmenter.stored import load, save
from cmrgz.anatomy.segmenter.training import loss, train
from cmrgz.data import cases
from cmrgz.data.cines import Cine, crop, read_cine
from cmrgz.data.phantom import Phantom
from cmrgz.errors import CheckpointError, DataError

WEIGHTS = Path(package.__file__).parents[1] / "weights" / "segmenter.safetensors"
SUNNYBROOK = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "sunnybrook"


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.open()


@pytest.fixture(scope="module")
def phantom() -> tuple[Any, Any]:
    """Return frames (6, 128, 128) in [0, 1] of a subject that no training has seen, and their labels."""
    images, labels = Phantom(9001, spacing=1.4).cine(2, [15.0, 35.0, 55.0])
    return (images / np.percentile(images, 99.5)).clip(0, 1).reshape(6, 128, 128), labels.reshape(6, 128, 128)


def dice(a: Any, b: Any) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


# ---------------------------------------------------------------------- what it finds
def test_it_finds_the_heart_of_an_unseen_phantom(segmenter: Segmenter, phantom: tuple[Any, Any]) -> None:
    images, labels = phantom
    found = segmenter.segment(images)
    assert found.dtype == np.uint8 and found.shape == images.shape
    assert min(dice(found == c, labels == c) for c in (1, 2, 3)) > 0.85


@pytest.mark.parametrize("change", ["darker", "noisy", "moved"])
def test_it_finds_it_in_changed_frames(segmenter: Segmenter, phantom: tuple[Any, Any], change: str) -> None:
    images, labels = phantom
    noise = np.random.default_rng(0).normal(0, 0.04, images.shape)
    changed = {"darker": 0.4 * images, "noisy": (images + noise).clip(0, 1), "moved": np.roll(images, 10, axis=(1, 2))}
    where = np.roll(labels, 10, axis=(1, 2)) if change == "moved" else labels
    assert min(dice(segmenter.segment(changed[change]) == c, where == c) for c in (1, 2, 3)) > 0.75


def test_it_finds_the_left_ventricle_of_a_held_out_patient(segmenter: Segmenter) -> None:
    if not SUNNYBROOK.exists():
        pytest.skip("the real scans are not here")
    cine = read_cine(cases.find(SUNNYBROOK / "SCD0000301_cine.nii.gz")[0], labels=True)
    corner, frames = cine.corner((128, 128)), labelled(cine)
    images = np.stack([crop(f.image, corner, (128, 128), 0) for f in frames])
    found = segmenter.segment(images.astype(np.float32)) == 3
    assert dice(found, np.stack([crop(f.bits, corner, (128, 128), 1) for f in frames]) == 8) > 0.85


def test_features_tell_hearts_from_noise(segmenter: Segmenter, phantom: tuple[Any, Any]) -> None:
    noise = np.random.default_rng(0).random((6, 128, 128))
    hearts, others = segmenter.features(phantom[0]), segmenter.features(noise)
    assert hearts.dtype == np.float32 and hearts.shape == (6, 96)
    within = np.linalg.norm(hearts - hearts.mean(0), axis=1).max()
    assert np.linalg.norm(others.mean(0) - hearts.mean(0)) > within


# ---------------------------------------------------------------------- how it is called
@pytest.mark.parametrize("method", ["segment", "features"])
def test_bits_do_not_depend_on_the_batch(segmenter: Segmenter, phantom: tuple[Any, Any], method: str) -> None:
    images = np.concatenate([phantom[0], phantom[0][::-1] * 0.7, phantom[0][:, ::-1]]).astype(np.float32)
    call = getattr(segmenter, method)
    whole = call(images)
    for size in (1, 3, 8, 11):
        parts = [call(images[i : i + size]) for i in range(0, len(images), size)]
        assert np.array_equal(np.concatenate(parts), whole), size
    order = np.random.default_rng(0).permutation(len(images))
    assert np.array_equal(call(images[order]), whole[order])


def test_no_frames_give_no_labels(segmenter: Segmenter) -> None:
    none = np.zeros((0, 128, 128))
    assert segmenter.segment(none).shape == (0, 128, 128) and segmenter.features(none).shape == (0, 96)


def test_constant_frames_are_allowed(segmenter: Segmenter) -> None:
    assert np.isfinite(segmenter.features(np.full((1, 128, 128), 0.5))).all()


@pytest.mark.parametrize("shape", [(128, 128), (1, 120, 128), (1, 0, 16), (1, 1, 128, 128)])
def test_other_shapes_are_refused(segmenter: Segmenter, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="shape-mismatch"):
        segmenter.segment(np.zeros(shape))


def test_values_that_are_not_finite_are_refused(segmenter: Segmenter) -> None:
    with pytest.raises(DataError, match="nonfinite"):
        segmenter.segment(np.full((1, 128, 128), np.nan))


def test_importing_it_needs_no_torch() -> None:
    code = "import sys, cmrgz.anatomy.segmenter; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0


# ---------------------------------------------------------------------- pieces
def test_small_pieces_go_and_a_second_left_ventricle_only_when_cleaned(
    segmenter: Segmenter, phantom: tuple[Any, Any]
) -> None:
    heart = phantom[0][0, 24:104, 24:104]
    two = np.zeros((1, 128, 256))
    two[0, 24:104, 24:104], two[0, 24:104, 152:232] = heart, heart
    raw, clean = segmenter.segment(two, clean=False) == 3, segmenter.segment(two) == 3
    assert raw[..., :128].any() and raw[..., 128:].any()
    assert clean[..., :128].any() != clean[..., 128:].any()


def test_the_largest_piece_of_each_class_stays() -> None:
    before = np.array([[[1, 1, 0, 3, 0], [0, 1, 0, 0, 0], [0, 0, 2, 0, 1], [3, 0, 0, 2, 0], [3, 0, 2, 0, 0]]], np.uint8)
    after = np.array([[[1, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 2, 0, 0], [3, 0, 0, 2, 0], [3, 0, 2, 0, 0]]], np.uint8)
    assert np.array_equal(largest_components(before), after)
    assert np.array_equal(largest_components(after), after)
    assert not largest_components(np.zeros((2, 4, 4), np.uint8)).any()


# ---------------------------------------------------------------------- weights
def test_the_bundled_weights_are_small_and_named_by_their_hash(segmenter: Segmenter) -> None:
    data = WEIGHTS.read_bytes()
    assert len(data) < 2 << 20 and segmenter.sha256 == hashlib.sha256(data).hexdigest()
    assert sum(p.numel() for p in SegmentationUNet().parameters()) < 500_000


def test_weights_come_back(tmp_path: Path) -> None:
    network = SegmentationUNet()
    save(tmp_path / "a.safetensors", network)
    read, _ = load(tmp_path / "a.safetensors")
    for name, tensor in read.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name].half().float())
    x = np.random.default_rng(0).random((2, 32, 32))
    assert np.array_equal(Segmenter.open(tmp_path / "a.safetensors").features(x), Segmenter(read, "").features(x))


def test_damaged_and_missing_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(WEIGHTS.read_bytes()[:-9])
    for name in ("a.safetensors", "b.safetensors"):
        with pytest.raises(CheckpointError):
            Segmenter.open(tmp_path / name)


# ---------------------------------------------------------------------- labels
def cine(labels: Any) -> Cine:
    frames = np.zeros(labels.shape, np.float16)
    return Cine("a", frames, np.zeros(len(labels)), np.zeros(labels.shape[1]), (8.0, 8.0), labels=labels)


def test_a_class_that_was_not_drawn_may_be_in_the_background() -> None:
    label = np.array([[0, 2, 3]], np.uint8)
    assert possible(label, {2, 3}).tolist() == [[0b0011, 0b0100, 0b1000]]
    assert possible(label, {1, 2, 3}).tolist() == [[0b0001, 0b0100, 0b1000]]


def test_slices_without_labels_are_background_only_where_everything_was_drawn() -> None:
    labels = np.zeros((3, 2, 16, 16), np.uint8)
    labels[0, 0, 0, :3] = 1, 2, 3
    labels[1, 0, 0, :2] = 2, 3
    frames = labelled(cine(labels))
    assert [(f.bits == BACKGROUND).all() for f in frames] == [False, True, False]
    assert frames[0].bits.max() == 8 and (frames[2].bits[1:] == 0b0011).all()


def test_labels_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(DataError, match="empty-dataset"):
        labelled(cine(np.zeros((1, 1, 16, 16), np.uint8)))
    with pytest.raises(DataError, match="mask-values"):
        labelled(cine(np.full((1, 1, 16, 16), 4, np.uint8)))


def as_labelled(images: Any, labels: Any) -> list[Labelled]:
    pairs = zip(images.astype(np.float16), (1 << labels).astype(np.uint8), strict=True)
    return [Labelled(image, bits, (64.0, 64.0)) for image, bits in pairs]


def test_labels_move_with_the_image() -> None:
    rows, columns = np.indices((160, 150))
    heart = np.hypot(rows - 80, columns - 70) < 25
    frame = Labelled(heart.astype(np.float16), np.where(heart, 8, 1).astype(np.uint8), (80.0, 70.0))
    places = []
    for seed in range(8):
        image, bits = warped(frame, np.random.default_rng(seed))
        assert np.abs((image[0] > 0.5).numpy() ^ (bits == 8).numpy()).mean() < 0.01
        assert set(np.unique(bits)) == {1, 8}
        places.append(np.argwhere(bits.numpy() == 8).mean(0))
    assert np.std(places, axis=0).min() > 4 and np.abs(np.mean(places, axis=0) - 63.5).max() < 12


def test_a_batch_is_a_function_of_the_stream(phantom: tuple[Any, Any]) -> None:
    frames = as_labelled(*phantom)
    (x, bits), (again, _), (other, _) = (batch([frames], [1.0], 4, np.random.default_rng(s)) for s in (0, 0, 1))
    assert torch.equal(x, again) and not torch.equal(x, other)
    assert x.shape == (4, 1, 128, 128) and bits.shape == (4, 128, 128)
    assert x.min() >= 0 and x.max() <= 1


# ---------------------------------------------------------------------- training
def test_the_loss_has_its_closed_form() -> None:
    bits = torch.tensor([[[1, 2], [4, 8]]], dtype=torch.uint8)
    uniform, sure = torch.zeros(1, 4, 2, 2), 100.0 * torch.eye(4).reshape(1, 4, 2, 2)
    assert float(loss(sure, bits)) == pytest.approx(0, abs=1e-5)
    dice = (2 * 0.25 + 50) / (1 + 1 + 50)
    assert float(loss(uniform, bits)) == pytest.approx(np.log(4) + 1 - dice, abs=1e-5)


def test_what_a_pixel_may_be_is_not_held_against_it() -> None:
    bits = torch.full((1, 8, 8), 0b0011, dtype=torch.uint8)
    logits = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    swapped = logits[:, [1, 0, 2, 3]]
    assert float(loss(logits, bits)) == pytest.approx(float(loss(swapped, bits)))
    sure = torch.zeros(1, 4, 8, 8)
    sure[:, 1] = 100
    assert float(loss(sure, bits)) == pytest.approx(0, abs=1e-4)
    sure[:, 3] = 200
    assert float(loss(sure, bits)) > 50


def test_training_learns_and_repeats(phantom: tuple[Any, Any]) -> None:
    frames = as_labelled(*phantom)
    losses: list[float] = []
    first = train([frames], 12, size=4, report=lambda step, value: losses.append(value))
    second = train([frames], 12, size=4)
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.2
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
