"""Crops: masks are drawn on phases and slices, all models are given the same of them, and blocks see the neighbours."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cmrgz.data import cases
from cmrgz.data.phantom import Phantom
from cmrgz.data.phantom.files import write_dataset
from cmrgz.data.scan import load, save
from cmrgz.errors import DataError, UsageError
from cmrgz.evaluation.cells import Grid, Unit
from cmrgz.evaluation.competitors import Method, ModelMethod, known_of
from cmrgz.evaluation.crops import Crop, Span, parts
from cmrgz.evaluation.fills import FILLS
from cmrgz.evaluation.frames import Frame, read_frames
from cmrgz.evaluation.lineup import _model, mask_files
from cmrgz.evaluation.options import SweepOptions, check
from cmrgz.evaluation.references import CropFill
from cmrgz.evaluation.scoring import Scorer, check_leak
from cmrgz.testing.subject import Subject

ITEM, SPACING = (64, 64), 3.6
HARD = "patch:0.75,size=8"


@pytest.fixture(scope="module")
def beating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of two subjects with three slices in eight phases, a full cycle."""
    folder = tmp_path_factory.mktemp("beating") / "phantoms"
    write_dataset(folder, (Phantom(9000 + k, size=64, nsub=1, fit_rv=False) for k in range(2)), 8, 3)
    return folder


@pytest.fixture(scope="module")
def frames(beating: Path) -> list[Frame]:
    """Return ED and ES of each subject in crops of three phases and slices."""
    return read_frames(cases.find(beating), ITEM, "2", spacing=SPACING, span=Span(3, 3))


@pytest.fixture(scope="module")
def on_blocks(tmp_path_factory: pytest.TempPathFactory) -> ModelMethod:
    """Return a small ldm-dit that sees three phases of two slices together."""
    folder = tmp_path_factory.mktemp("blocks") / "checkpoint"
    Subject.every("ldm-dit")[1].save(folder)
    return _model(f"{folder}:steps=1,algorithm=replace", "cpu", None)


def drawn(method: Method, frames: Sequence[Frame], mask: str = HARD, samples: int = 1) -> NDArray[np.float32]:
    """Return what a method draws of frames, (k, n, h, w)."""
    return method.draw(frames, known_of(frames, mask, 0), 0, samples).samples(frames)


def cine(*values: float, ring: bool = False) -> Crop:
    """Return a crop of one slice whose phases are of one value each, in [0, 1]."""
    x = (2 * np.array(values, np.float16)[:, None, None, None] - 1) * np.ones((1, 1, 4, 4), np.float16)
    n = len(values)
    places = np.zeros(n, np.float32), np.zeros(1, np.float32)
    return Crop("", x, None, ((0, 0),), *places, 1 / n, ring, 1.4, 10.0, (2.0, 2.0), None, {})


# ---------------------------------------------------------------------- which
def test_a_crop_lies_about_its_frame_and_around_the_cycle(frames: list[Frame], beating: Path) -> None:
    first, second = frames[:2]
    assert first.crop.shape == (3, 3, 64, 64) and (first.t, first.place) == (0, (1, 1))
    assert second.crop is not first.crop and second.place == (1, 1)
    whole = read_frames(cases.find(beating)[:1], ITEM, "cine", spacing=SPACING, span=Span(1, 3))
    assert {id(frame.crop) for frame in whole} == {id(whole[0].crop)} and whole[0].crop.ring
    assert [frame.place for frame in whole] == [(t, 1) for t in range(8)]
    around = whole[0].crop.x[[7, 0, 1]]
    assert np.array_equal(first.crop.x, around) and not first.crop.ring
    assert first.crop.phases.tolist() == whole[0].crop.phases[[7, 0, 1]].tolist()
    assert first.crop.tempo == whole[0].crop.tempo == 1 / 8


def test_frames_that_lie_near_share_a_crop_and_ends_of_a_stack_bound_it() -> None:
    (first, second) = parts([(0, 0), (1, 1), (4, 2)], (8, 3), Span(3, 2), ring=False)
    assert (first.t.tolist(), first.z.tolist(), first.members) == ([0, 1, 2], [0, 1], ((0, 0), (1, 1)))
    assert (second.t.tolist(), second.z.tolist(), second.members) == ([3, 4, 5], [1, 2], ((4, 2),))
    (whole,) = parts([(7, 0)], (8, 1), Span.of("all"), ring=True)
    assert (len(whole.t), len(whole.z)) == (8, 1)


@pytest.mark.parametrize("text", ["0x3", "3", "3x", "x3", "-1x3", "3x3x3", "", "everything"])
def test_a_context_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="context"):
        Span.of(text)


# ---------------------------------------------------------------------- masks
@pytest.mark.parametrize("mask", ["frames:every=2", "slices:every=2", "frames:0.4", "slices:every=3", "frames:2"])
def test_what_is_scored_is_hidden_where_planes_are(frames: list[Frame], mask: str) -> None:
    for frame in frames:
        known = frame.crop.known(mask, 0)
        whole = known.all((2, 3))
        assert not whole[frame.place] and whole.any(), "and something is given"


def test_of_a_cine_every_second_phase_is_hidden(beating: Path) -> None:
    whole = read_frames(cases.find(beating)[:1], ITEM, "cine", spacing=SPACING, span=Span(1, 3))
    known = [bool(whole[0].crop.known("frames:every=2", 0)[frame.place].all()) for frame in whole]
    assert known == [True, False] * 4
    assert not any(whole[0].crop.known("slices:every=2", 0)[frame.place].any() for frame in whole)


def test_a_mask_that_is_held_is_the_same_in_all_planes(frames: list[Frame]) -> None:
    held, free = (frames[0].crop.known(mask, 0) for mask in ("patch:0.5,size=8,hold=tz", "patch:0.5,size=8"))
    assert (held == held[:1, :1]).all() and not (free == free[:1, :1]).all()


def test_a_mask_of_planes_needs_several(frames: list[Frame], beating: Path) -> None:
    check(SweepOptions(patterns=("slices:every=2",), context="1x3"))
    check(SweepOptions(patterns=("frames:every=2",), context="1x3", frames="cine"))
    with pytest.raises(UsageError, match="context is 3x1"):
        check(SweepOptions(patterns=("slices:every=2",), context="3x1"))
    (single,) = read_frames(cases.find(beating)[:1], ITEM, "1", spacing=SPACING, span=Span(3, 1))
    mean = [CropFill(name, fill) for name, (fill, _) in FILLS.items()]
    grid = Grid("", [single, *frames], mean, ["slices:every=2", "patch:0.5"], [0], 1)
    cells = [frame for unit in grid.units() for frame in unit.frames]
    assert len(grid) == len(cells) == 4 * (2 * len(frames) + 1)


def with_mask(beating: Path, folder: Path) -> tuple[Path, NDArray[np.bool_]]:
    """Return a manifest of a scan with a mask that hides its last slice, and the voxels that are known."""
    case = cases.find(beating)[0]
    scan = load(case.image)
    hidden = np.zeros(scan.shape, np.int16)
    hidden[:, 2] = 1
    save(folder / "mask.nii.gz", dataclasses.replace(scan, stored=hidden, slope=1.0, inter=0.0))
    (folder / "manifest.csv").write_text(f"image,mask\n{case.image},{folder / 'mask.nii.gz'}\n")
    return folder / "manifest.csv", hidden == 0


@pytest.mark.parametrize("what", ["file", "manifest"])
def test_a_mask_file_hides_what_it_says(beating: Path, tmp_path: Path, what: str) -> None:
    from cmrgz.evaluation.lineup import _files_of

    manifest, known = with_mask(beating, tmp_path)
    pattern = "manifest" if what == "manifest" else str(tmp_path / "mask.nii.gz")
    files = mask_files(SweepOptions(patterns=(pattern,)))
    (name,) = files
    assert name.startswith(what) and str(tmp_path) not in name
    found = cases.find(manifest)
    read = read_frames(found, ITEM, "6", spacing=SPACING, span=Span(3, 3), masks=lambda case: _files_of(case, files))
    for frame in read:
        assert frame.crop.takes(name)
        assert np.array_equal(frame.crop.known(name, 0).all((2, 3)), known[:3].all((2, 3)))
    other = dataclasses.replace(read[0].crop, files={name: ~read[0].crop.files[name]})
    assert other.mask_key(name) != read[0].crop.mask_key(name), "another mask, another address"
    with pytest.raises(DataError, match="mask-empty"):
        _files_of(cases.find(beating)[1], mask_files(SweepOptions(patterns=("manifest",))))


# ---------------------------------------------------------------------- blocks
def test_a_model_of_blocks_draws_crops_whatever_shares_a_unit(on_blocks: ModelMethod, frames: list[Frame]) -> None:
    together = drawn(on_blocks, frames[:3], samples=2)
    assert together.shape == (2, 3, 64, 64) and np.isfinite(together).all()
    assert np.array_equal(drawn(on_blocks, frames[1:2])[0, 0], together[0, 1])
    assert not np.array_equal(together[0], together[1])


def test_a_model_of_blocks_sees_what_lies_beside_a_frame(on_blocks: ModelMethod, frames: list[Frame]) -> None:
    frame, mask = frames[0], "frames:every=2"
    changed = frame.crop.x.copy()
    changed[0] = -changed[0]
    beside = dataclasses.replace(frame, crop=dataclasses.replace(frame.crop, x=changed))
    assert not np.array_equal(drawn(on_blocks, [frame], mask), drawn(on_blocks, [beside], mask))


@pytest.mark.parametrize("mask", [HARD, "frames:every=2", "slices:0.5"])
def test_no_hidden_voxel_of_a_crop_is_looked_at(on_blocks: ModelMethod, frames: list[Frame], mask: str) -> None:
    for method in (on_blocks, *(CropFill(name, fill) for name, (fill, _) in FILLS.items())):
        known = known_of(frames[:1], mask, 0)
        check_leak(Unit(method, mask, 0, 1, frames[:1], ["a"]), known, method.draw(frames[:1], known, 0, 1))


def test_a_crop_larger_than_a_block_is_drawn_in_blocks(on_blocks: ModelMethod, beating: Path) -> None:
    whole = read_frames(cases.find(beating)[:1], ITEM, "cine", spacing=SPACING, span=Span(1, 1)._replace(slices=3))
    draws = on_blocks.draw(whole, known_of(whole, HARD, 0), 0, 1)
    assert len({draws.blocks[frame.key] for frame in whole}) > 1 and draws.pasted


def test_a_crop_of_one_frame_is_a_frame_alone(on_blocks: ModelMethod, beating: Path) -> None:
    alone = read_frames(cases.find(beating)[:1], ITEM, "2", spacing=SPACING)
    assert alone[0].crop.shape[:2] == (1, 1) and drawn(on_blocks, alone).shape == (1, 2, 64, 64)


def test_known_pixels_are_bit_equal_and_motion_is_measured(on_blocks: ModelMethod, frames: list[Frame]) -> None:
    unit = Unit(on_blocks, HARD, 0, 2, frames[:2], ["a", "b"])
    arrays, _ = Scorer().run(unit, leak=True)
    values = dict(zip(arrays["names"].tolist(), arrays["metrics"].T, strict=True))
    assert arrays["exact"].all() and np.isfinite(values["motion-correlation-moving"]).all()
    assert np.isnan(values["psnr-known-drawn"]).all(), "what is pasted tells nothing of the model"


# ---------------------------------------------------------------------- fills
def filled(name: str, crop: Crop, hidden: Sequence[int]) -> list[float]:
    """Return the value of each phase of a crop of even phases after a fill of some."""
    known = np.ones(crop.shape, dtype=bool)
    known[list(hidden)] = False
    given = np.where(known, crop.unit, np.float32(np.nan))
    return FILLS[name][0](crop, given, known)[:, 0, 0, 0].tolist()


def test_lines_over_time_are_those_of_interpolation() -> None:
    ramp = cine(0.0, 0.9, 0.9, 0.9, 0.5)
    assert filled("linear-time", ramp, [1, 2, 3]) == pytest.approx([0, 0.125, 0.25, 0.375, 0.5], abs=1e-3)
    assert filled("linear-time", ramp, [3, 4]) == pytest.approx([0, 0.9, 0.9, 0.9, 0.9], abs=1e-3)
    cycle = cine(0.0, 0.4, 0.8, 0.9, ring=True)
    assert filled("linear-time", cycle, [3]) == pytest.approx([0, 0.4, 0.8, 0.4], abs=1e-3)


def test_the_nearest_frame_is_the_earlier_of_two() -> None:
    assert filled("nearest-frame", cine(0.1, 0.9, 0.3), [1]) == pytest.approx([0.1, 0.1, 0.3], abs=1e-3)
    assert filled("nearest-frame", cine(0.9, 0.9, 0.9, 0.2, ring=True), [0, 1]) == pytest.approx(
        [0.2, 0.9, 0.9, 0.2], abs=1e-3
    )


def test_the_harmonic_fill_of_a_line_is_the_line() -> None:
    assert filled("harmonic-4d", cine(0.0, 0.9, 0.5), [1]) == pytest.approx([0, 0.25, 0.5], abs=0.01)


@pytest.mark.parametrize("name", FILLS)
def test_fills_keep_what_is_known_and_fill_what_is_not(frames: list[Frame], name: str) -> None:
    crop = frames[0].crop
    for mask in (HARD, "frames:every=2", "slices:every=2", "patch:1"):
        known = crop.known(mask, 0)
        found = FILLS[name][0](crop, np.where(known, crop.unit, np.float32(0)), known)
        assert np.array_equal(found[known], crop.unit[known]) or np.allclose(found[known], crop.unit[known], atol=1e-6)
        assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1
