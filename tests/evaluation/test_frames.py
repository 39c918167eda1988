"""Frames are known by their content, heart-centred, and the masks of all methods are theirs alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cmrgz.data import cases
from cmrgz.data.cines import read_cine
from cmrgz.data.scan import Scan, save
from cmrgz.errors import UsageError
from cmrgz.evaluation.frames import Frame, check_choice, read_frames

ITEM, SPACING = (64, 64), 3.6


def known(frame: Frame, mask: str, seed: int) -> NDArray[np.bool_]:
    """Return what a mask gives of a frame, (h, w)."""
    return frame.crop.known(mask, seed)[frame.place]


def test_ends_of_the_cycle_come_first_from_the_middle_outwards(phantoms: Path) -> None:
    found = cases.find(phantoms)[:1]
    places = [(f.role, f.z) for f in read_frames(found, ITEM, "6", spacing=SPACING)]
    assert places == [("ED", 1), ("ES", 1), ("ED", 2), ("ES", 2), ("ED", 0), ("ES", 0)]
    assert len(read_frames(found, ITEM, "1000", spacing=SPACING)) == 6


def padded(folder: Path, slices: int, size: int) -> list[cases.Case]:
    """Return a cine of one slice of noise in a stack of so many, the others empty."""
    voxels = np.zeros((2, slices, size, size), np.int16)
    voxels[:, 0] = np.random.default_rng(0).integers(100, 900, (2, size, size))
    save(folder / "padded.nii.gz", dataclasses.replace(Scan.blank(voxels.shape, (8.0, 1.4, 1.4), 0.04), stored=voxels))
    return cases.find(folder / "padded.nii.gz")


@pytest.mark.parametrize("choice", ["4", "stack", "cine"])
def test_slices_without_tissue_are_not_chosen(tmp_path: Path, choice: str) -> None:
    found = padded(tmp_path, 5, 64)
    assert {frame.z for frame in read_frames(found, ITEM, choice, spacing=1.4)} == {0}


def test_padding_around_a_small_plane_is_no_part_of_a_hole(tmp_path: Path) -> None:
    (frame,) = read_frames(padded(tmp_path, 1, 40), ITEM, "1", spacing=1.4)
    hidden = ~known(frame, "0.9", 0)
    assert hidden[:40, :40].mean() > 0.5 and not hidden[40:].any() and not hidden[:, 40:].any()
    assert not known(frame, "1.0", 0).any(), "of nothing at all there is no hole"


def test_systole_is_where_the_left_ventricle_is_smallest(phantoms: Path) -> None:
    case = cases.find(phantoms)[0]
    labels = read_cine(case, labels=True, spacing=SPACING).labels
    assert labels is not None
    smallest = int((labels == 3).sum((1, 2, 3)).argmin())
    assert [f.t for f in read_frames([case], ITEM, "2", spacing=SPACING)] == [0, smallest]


def test_a_stack_is_all_slices_and_a_cine_all_phases(phantoms: Path) -> None:
    found = cases.find(phantoms)[:1]
    assert sorted((f.z, f.role) for f in read_frames(found, ITEM, "stack", spacing=SPACING)) == [
        (z, role) for z in range(3) for role in ("ED", "ES")
    ]
    cine = read_frames(found, ITEM, "cine", spacing=SPACING)
    assert [f.t for f in cine] == [0, 1, 2] and {f.z for f in cine} == {1}


def test_labels_and_earlier_phases_lie_where_the_pixels_lie(phantoms: Path) -> None:
    case = cases.find(phantoms)[0]
    cine, frame = read_cine(case, labels=True, spacing=SPACING), read_frames([case], (48, 40), "2", spacing=SPACING)[1]
    top, left = (int(c) for c in cine.corner((48, 40)))
    area = slice(top, top + 48), slice(left, left + 40)
    assert cine.labels is not None and frame.label is not None and frame.before is not None
    assert np.array_equal(frame.x, cine.frames[frame.t, frame.z][area])
    assert np.array_equal(frame.label, cine.labels[frame.t, frame.z][area])
    assert np.array_equal(frame.before, cine.frames[frame.t - 1, frame.z][area])


def test_frames_are_at_the_pixel_size_of_the_models(phantoms: Path) -> None:
    """As in inpainting: 3.6 mm are brought to 1.4, and all of a heart is larger; pixels near that stay as they are."""
    (case, *_) = cases.find(phantoms)
    native, scaled = (read_frames([case], (160, 160), "1", spacing=s)[0] for s in (SPACING, 1.4))
    assert (native.crop.spacing, scaled.crop.spacing) == (pytest.approx(3.6), 1.4) and native.id != scaled.id
    assert native.label is not None and scaled.label is not None
    areas = [(frame.label == 3).sum() * frame.crop.spacing**2 for frame in (native, scaled)]
    assert areas[1] == pytest.approx(areas[0], rel=0.1)
    near = read_frames([case], ITEM, "1", spacing=3.0)[0]
    assert near.crop.spacing == pytest.approx(3.6) and np.array_equal(
        near.x, read_frames([case], ITEM, "1", spacing=3.6)[0].x
    )


def test_an_id_is_a_hash_of_the_content(frames: list[Frame], phantoms: Path, tmp_path: Path) -> None:
    assert len({f.id for f in frames}) == len(frames)
    again = read_frames(cases.find(phantoms), ITEM, "2", spacing=SPACING)
    assert [f.id for f in again] == [f.id for f in frames]


def test_nothing_that_is_kept_names_a_patient(frames: list[Frame]) -> None:
    assert not any("sub-" in f.subject or "sub-" in f.scan for f in frames)


@pytest.mark.parametrize("mask", ["patch:0.5,size=8", "box:0.3", "heart:0.5,size=8", "half:top", "irregular:0.4"])
def test_a_mask_is_a_function_of_frame_and_seed(frames: list[Frame], mask: str) -> None:
    first, second = known(frames[0], mask, 0), known(frames[0], mask, 0)
    assert np.array_equal(first, second) and 0.15 < first.mean() < 0.85
    other = dataclasses.replace(frames[0], crop=dataclasses.replace(frames[0].crop, x=-frames[0].crop.x))
    assert np.array_equal(known(other, mask, 0), first), "the pixels play no part"


def test_other_seeds_and_frames_have_other_masks(frames: list[Frame]) -> None:
    mask = "patch:0.5,size=8"
    assert not np.array_equal(known(frames[0], mask, 0), known(frames[0], mask, 1))
    assert not np.array_equal(known(frames[0], mask, 0), known(frames[1], mask, 0))


def test_a_mask_of_whole_frames_is_refused(frames: list[Frame]) -> None:
    with pytest.raises(UsageError):
        known(frames[0], "frames:every=2", 0)


@pytest.mark.parametrize("choice", ["0", "-1", "many", "", "1.5", "1001", "9" * 20_000])
def test_a_choice_that_is_none_is_refused(choice: str) -> None:
    with pytest.raises(UsageError, match="range"):
        check_choice(choice)
