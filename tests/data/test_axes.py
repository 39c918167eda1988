"""Which axis is slice and which is time is decided, told and overridden; what is written lies as it was read."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from cmrgz.data.axes import guess, parse
from cmrgz.data.scan import Scan, load, load_known, save
from cmrgz.errors import CmrgzWarning, UsageError

CINE = np.random.default_rng(0).integers(1, 900, (24, 20, 4, 9)).astype(np.int16)  # x y z t
EDGES = {"x": 1.4, "y": 1.6, "z": 8.0}


def write(path: Path, axes: str, array: Any, edges: tuple[float, ...]) -> Path:
    image = nib.Nifti1Image(array, np.diag([-edges[0], -edges[1], edges[2], 1.0]))
    image.header.set_zooms((*edges[:3], *[0.05] * (array.ndim - 3)))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


def stored(path: Path) -> Any:
    return np.asanyarray(nib.load(path).dataobj)


@pytest.mark.parametrize(
    ("axes", "told"),
    [("xyzt", None), ("zxyt", "stored first"), ("xzyt", "second axis"), ("xyz", None), ("zxy", "first")],
)
def test_slices_are_found_by_their_distance(tmp_path: Path, axes: str, told: str | None) -> None:
    array = CINE.transpose(["xyzt".index(a) for a in axes] + ([] if "t" in axes else [3]))
    array = array if "t" in axes else array[..., 0]
    path = write(tmp_path / "a.nii", axes, array, tuple(EDGES[a] for a in axes[:3]))
    if told:
        with pytest.warns(CmrgzWarning, match=rf"axes-guessed.*{told}.*--axes"):
            scan = load(path)
    else:
        scan = load(path)
    wanted = CINE if "t" in axes else CINE[..., :1]
    assert np.array_equal(scan.stored, wanted.T)
    assert scan.spacing == pytest.approx((8.0, 1.6, 1.4))
    save(tmp_path / "b.nii", scan)
    assert np.array_equal(stored(tmp_path / "b.nii"), array)
    before, after = nib.load(path), nib.load(tmp_path / "b.nii")
    assert np.array_equal(before.affine, after.affine) and before.header.get_zooms() == after.header.get_zooms()


@pytest.mark.parametrize("step", [1.0, 0.04, 40.0])
def test_one_slice_over_time_saved_as_a_volume(tmp_path: Path, step: float) -> None:
    path = write(tmp_path / "a.nii", "xyt", CINE[:, :, 0], (1.4, 1.6, step))
    with pytest.warns(CmrgzWarning, match=r"third axis is taken for time \(24x20x9 voxels"):
        scan = load(path)
    assert scan.shape == (9, 1, 20, 24) and np.array_equal(scan.stored[:, 0], CINE[:, :, 0].T)
    assert scan.spacing == pytest.approx((10.0, 1.6, 1.4))
    assert np.isnan(scan.geometry.frame_time) if step == 1 else scan.geometry.frame_time == pytest.approx(0.04)
    save(tmp_path / "b.nii", scan)
    assert np.array_equal(stored(tmp_path / "b.nii"), CINE[:, :, 0])


def test_time_as_the_fifth_axis(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", "xyz1t", CINE[:, :, :, None], (1.4, 1.6, 8.0))
    scan = load(path)
    assert np.array_equal(scan.stored, CINE.T) and scan.geometry.frame_time == pytest.approx(0.05)
    save(tmp_path / "b.nii", scan)
    written = nib.load(tmp_path / "b.nii")
    assert written.shape == (24, 20, 4, 1, 9) and written.header.get_zooms()[4] == pytest.approx(0.05)
    assert np.array_equal(stored(tmp_path / "b.nii"), CINE[:, :, :, None])


def test_a_mask_lies_as_its_scan_does(tmp_path: Path) -> None:
    array = CINE.transpose(2, 0, 1, 3)
    path = write(tmp_path / "a.nii", "zxyt", array, (8.0, 1.4, 1.6))
    mask = np.zeros(array.shape[:3], np.uint8)
    mask[1, 2, 3] = 1
    write(tmp_path / "m.nii", "zxy", mask, (8.0, 1.4, 1.6))
    scan = load(path, axes="zxyt")
    known = load_known(tmp_path / "m.nii", scan)
    assert (~known).sum() == 9 and not known[:, 1, 3, 2].any()


def test_axes_override_the_guess(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", "xyt", CINE[:, :, 0], (1.4, 1.6, 1.0))
    assert load(path, axes="xyz").shape == (1, 9, 20, 24)
    path = write(tmp_path / "b.nii", "xyt", CINE[:, :, 0], (1.4, 1.6, 8.0))
    assert load(path).shape == (1, 9, 20, 24) and load(path, axes="xyt").shape == (9, 1, 20, 24)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((256, 256, 10, 25), (1.4, 1.4, 10.0)),
        ((160, 320, 1, 1), (1.4, 0.7, 10.0)),  # pixels that are not square
        ((256, 256, 1, 30), (1.4, 1.4, 1.0)),
        ((192, 192, 120, 1), (1.3, 1.3, 1.0)),  # a whole heart of 1 mm slices
        ((320, 320, 40, 1), (0.7, 0.7, 2.5)),
        ((128, 128, 96, 1), (1.5, 1.5, 1.5)),
        ((64, 64, 20, 1), (1.0, 1.0, 1.0)),  # nothing was set: nothing is guessed
        ((10, 12, 16, 1), (5.0, 1.0, 1.0)),
    ],
)
def test_usual_files_are_left_as_they_are(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> None:
    assert guess(shape, spacing) == "xyzt"


@pytest.mark.parametrize(("text", "axes"), [("xyt", "xytz"), ("ZXY", "zxyt"), ("xyz1t", "xyzt"), ("xy", "xyzt")])
def test_what_axes_say(text: str, axes: str) -> None:
    assert parse(text) == axes


@pytest.mark.parametrize("text", ["", "xx", "yzt", "xyzc", "xyzzt"])
def test_no_axes(text: str) -> None:
    with pytest.raises(UsageError, match=r"error\[range\].*--axes"):
        parse(text)


def test_a_scan_that_we_make_has_the_usual_axes() -> None:
    assert Scan.blank((2, 3, 4, 5), (10.0, 1.4, 1.4)).geometry.axes == "xyzt"
