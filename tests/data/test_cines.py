"""Cines: one pixel size for all, native pixels to the bit, labels that name no new class."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cmrgz.data.cases import Case, find
from cmrgz.data.cines import Cine, crop, read_cine
from cmrgz.data.intensity import Scale
from cmrgz.data.orientation import Orientation
from cmrgz.data.scan import Scan, load, save
from cmrgz.data.window import Window, heart_centre

DIAMETER = 60.0
PLANES = [(0.7, 0.7), (1.4, 1.4), (1.4, 0.7), (0.7, 1.4), (2.1, 2.1)]


def disc(spacing: tuple[float, float], field: float = 200.0) -> NDArray[np.bool_]:
    """Return a disc of 60 mm about the middle of a field of view."""
    y, x = (((np.arange(round(field / s)) + 0.5) * s - field / 2) for s in spacing)
    return np.hypot(y[:, None], x[None]) < DIAMETER / 2


@pytest.fixture
def stored(tmp_path: Path) -> Case:
    """Return a scan of a disc, with its label map."""
    return write(tmp_path, (1.4, 1.4))


def write(folder: Path, spacing: tuple[float, float], t: int = 2, z: int = 2) -> Case:
    inside = np.broadcast_to(disc(spacing), (t, z, *disc(spacing).shape))
    scan = Scan.blank(inside.shape, (8.0, *spacing), 0.05)
    save(folder / "a.nii.gz", scan, (50 + 400 * inside).astype(np.int16))
    save(folder / "a_label.nii.gz", scan, (3 * inside).astype(np.uint8))
    (case,) = find(folder / "a.nii.gz")
    return Case(**{**case.__dict__, "label": folder / "a_label.nii.gz"})


@pytest.mark.parametrize("spacing", PLANES)
def test_a_disc_has_one_size_in_pixels(tmp_path: Path, spacing: tuple[float, float]) -> None:
    """60 mm at 1.4 mm are 42.9 pixels, along rows and columns, whatever the pixels of the scan."""
    cine = read_cine(write(tmp_path, spacing), labels=True)
    bright, label = cine.frames[0, 0] > 0, cine.labels[0, 0] == 3  # type: ignore[index]  # there is one
    for found in (bright, label):
        assert [int(found.any(axis).sum()) for axis in (0, 1)] == pytest.approx([DIAMETER / 1.4] * 2, abs=2.0)
        assert found.sum() == pytest.approx(np.pi * (DIAMETER / 1.4 / 2) ** 2, rel=0.04)
    assert cine.spacing == pytest.approx((8.0, 1.4, 1.4))
    assert cine.centre == pytest.approx([(n - 1) / 2 for n in cine.frames.shape[2:]], abs=0.51)
    assert cine.heights.tolist() == [0.0, 8.0]


@pytest.mark.parametrize("spacing", [(1.4, 1.4), (1.06, 1.06), (1.87, 1.87), (1.4, 1.35)])
def test_native_pixels_are_kept_to_the_bit(tmp_path: Path, spacing: tuple[float, float]) -> None:
    case = write(tmp_path, spacing)
    scan = load(case.image)
    turn = Orientation.of_geometry(scan.geometry)
    voxels = np.ascontiguousarray(turn.apply(scan.voxels))
    known = np.ones(voxels.shape, dtype=bool)
    cine = read_cine(case, labels=True)
    assert np.array_equal(cine.frames, Scale.fit(voxels, known).to_unit(voxels).astype(np.float16))
    assert cine.centre == heart_centre(voxels, known) and cine.spacing[1:] == pytest.approx(spacing)
    assert np.array_equal(cine.labels, turn.apply(load(case.label).stored))  # type: ignore[arg-type]  # there is one


@pytest.mark.parametrize("spacing", [(0.7, 0.7), (2.1, 2.1), (1.4, 0.7)])
def test_planes_are_those_of_inpainting(tmp_path: Path, spacing: tuple[float, float]) -> None:
    case = write(tmp_path, spacing)
    cine, scan = read_cine(case), load(case.image)
    voxels = np.ascontiguousarray(Orientation.of_geometry(scan.geometry).apply(scan.voxels))
    known = np.ones(voxels.shape, dtype=bool)
    window = Window.plan((voxels.shape[2], voxels.shape[3]), scan.spacing[1:], (32, 32), 1.4, multiple=8, overlap=8)
    expected, _ = window.to_model(Scale.fit(voxels, known).to_unit(voxels)[1], known[1])
    h, w = window.inner
    assert np.array_equal(cine.frames[1], expected[:, :h, :w].astype(np.float16))


def test_another_pixel_size_can_be_asked_for(stored: Case) -> None:
    assert read_cine(stored, spacing=2.8).frames.shape[2:] == tuple(n // 2 for n in read_cine(stored).frames.shape[2:])
    assert read_cine(stored, spacing=None).frames.shape == read_cine(stored).frames.shape
    assert read_cine(stored, spacing=2.8).spacing == (8.0, 2.8, 2.8)


def test_resampled_labels_name_no_new_class(tmp_path: Path) -> None:
    """Between 1 and 3 lies no 2; the larger share of a pixel wins."""
    scan = Scan.blank((1, 1, 80, 80), (10.0, 0.7, 0.7))
    labels = np.ones((1, 1, 80, 80), np.uint8)
    labels[..., 40:] = 3
    labels[..., 10:13, :] = 7
    save(tmp_path / "a.nii.gz", scan, np.arange(6400).reshape(scan.shape).astype(np.int16))
    save(tmp_path / "l.nii.gz", scan, labels)
    (case,) = find(tmp_path / "a.nii.gz")
    cine = read_cine(Case(**{**case.__dict__, "label": tmp_path / "l.nii.gz"}), labels=True)
    assert cine.labels is not None and cine.labels.shape == cine.frames.shape == (1, 1, 40, 40)
    assert set(np.unique(cine.labels)) == {1, 3, 7}
    assert np.array_equal(cine.labels[0, 0, 20], [1] * 20 + [3] * 20) or np.array_equal(
        cine.labels[0, 0, 20], [3] * 20 + [1] * 20
    )


# ---------------------------------------------------------------------- blocks
def cine_of(t: int, z: int) -> Cine:
    frames = np.arange(t * z * 64 * 48, dtype=np.float32).reshape(t, z, 64, 48) % 97 / 97
    phases, slices = np.arange(t, dtype=np.float32) / t, np.linspace(0, 1, z, dtype=np.float32)
    return Cine("s", frames.astype(np.float16), phases, slices, (32.0, 20.0), (9.0, 1.4, 1.4))


def test_a_block_is_its_frames(stored: Case) -> None:
    cine = cine_of(6, 4)
    block = cine.block([4, 5, 0], [1, 3], (3.0, 5.0), (32, 32))
    assert block.shape == (3, 2, 32, 32) and block.dtype == np.float16
    for i, t in enumerate((4, 5, 0)):
        for j, z in enumerate((1, 3)):
            assert np.array_equal(block[i, j], crop(cine.frames[t, z], (3.0, 5.0), (32, 32), -1.0))
    padded = cine.block([0], [0], (0.0, 0.0), (80, 64))
    assert (padded[..., 64:, :] == -1).all() and (padded[..., 48:] == -1).all()


def test_places_of_a_block_wrap_around_the_cycle() -> None:
    cine = cine_of(6, 4)
    told = cine.places([4, 5, 0], [1, 3], (16.0, 20.0), (32, 32))
    assert {name: value.shape for name, value in told.items()} == {
        "phase": (3, 2), "slice": (3, 2), "row": (), "column": (), "time": (3, 2), "height": (3, 2),
    }  # fmt: skip
    assert all(value.dtype == np.float32 for value in told.values())
    assert told["phase"][:, 0] == pytest.approx([4 / 6, 5 / 6, 0])
    assert told["time"][:, 1] == pytest.approx([0, 1 / 6, 2 / 6])
    assert told["height"][0].tolist() == [0.0, 18.0] and told["slice"][2] == pytest.approx([1 / 3, 1])
    assert told["row"] == cine.place(4, 1, (16.0, 20.0), (32, 32))["row"]


def test_places_of_frames_are_known_where_phase_and_slice_are_not() -> None:
    """A scan of one phase or slice says neither; the coordinates of a block say 0."""
    cine = cine_of(1, 1)
    cine = Cine("s", cine.frames, np.full(1, np.nan), np.full(1, np.nan), cine.centre)
    told = cine.places([0], [0], (0.0, 0.0), (32, 32))
    assert np.isnan(told["phase"]).all() and np.isnan(told["slice"]).all()
    assert told["time"].tolist() == [[0.0]] and told["height"].tolist() == [[0.0]]
