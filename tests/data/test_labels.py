"""Label maps: their order, their place, their values; and label maps that are taken for scans."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmrgz.data.cases import Case, find
from cmrgz.data.check import check
from cmrgz.data.cines import read_cine
from cmrgz.data.importers.label_order import ACDC, MNMS, LabelOrder
from cmrgz.data.labels import is_label_map, load_labels
from cmrgz.data.masks import parse
from cmrgz.data.scan import Scan, load, load_known, save
from cmrgz.errors import CmrgzError, DataError, UsageError
from cmrgz.scans.hiding import Hiding

SPACING = (10.0, 1.4, 1.4)
N, T = 48, 4


def heart() -> Any:
    """Return labels (1, 1, y, x) as in ACDC: a disc in a ring, a disc beside them."""
    y, x = np.mgrid[:N, :N]
    d, beside = np.hypot(y - 24, x - 26), np.hypot(y - 24, x - 11)
    return np.where(d < 8, 3, np.where(d < 12, 2, np.where(beside < 8, 1, 0)))[None, None].astype(np.uint8)


def write(path: Path, values: Any, spacing: tuple[float, float, float] = SPACING) -> Path:
    save(path, Scan.blank(values.shape, spacing), values, overwrite=True)
    return path


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Return a cine of four frames, with labels of all."""
    values = np.random.default_rng(0).integers(1, 900, (T, 1, N, N), np.int16)
    write(tmp_path / "D7_cine.nii.gz", values)
    write(tmp_path / "D7_label.nii.gz", np.repeat(heart(), T, 0))
    (found,) = find(tmp_path)
    return found


def used(case: Case) -> str | None:
    """Return what a case is refused for, which is the same wherever its labels are used."""
    codes = set()
    for use in (
        lambda: read_cine(case, labels=True),
        lambda: Hiding(parse("lesion")).known(load(case.image), case),
        lambda: [(_ for _ in ()).throw(error) for error in check([case])],
    ):
        try:
            use()
            codes.add(None)
        except CmrgzError as error:
            codes.add(error.code)
    assert len(codes) == 1, codes
    return codes.pop()


# ---------------------------------------------------------------------- order
def test_orders_come_out_as_one(case: Case) -> None:
    assert case.label is not None
    write(case.label, np.repeat(np.array([0, 3, 2, 1], np.uint8)[heart()], T, 0))
    mnms = replace(case, order=MNMS)
    assert used(mnms) is None and np.array_equal(load_labels(mnms, load(case.image)), np.repeat(heart(), T, 0))
    assert used(case) == "label-order"
    with pytest.raises(DataError, match=r"--labels rv=3,myo=2,lv=1"):
        read_cine(case, labels=True)
    (told,) = find(case.image, labels="lv=1,myo=2,rv=3")
    cine = read_cine(told, labels=True)
    assert cine.labels is not None and (cine.labels == 3).sum() == T * (heart() == 3).sum()


def test_several_values_may_mean_one(case: Case) -> None:
    assert case.label is not None
    labels = heart()
    scar = labels.copy()
    scar[(labels == 2) & (np.arange(N) > 26)] = 4
    write(case.label, np.repeat(scar, T, 0))
    order = LabelOrder.parse("rv=1, myo=2+4, lv=3")
    assert np.array_equal(load_labels(replace(case, order=order), load(case.image)), np.repeat(labels, T, 0))
    assert used(replace(case, order=LabelOrder.parse("myo=2,lv=3"))) == "mask-values"  # what 1 and 4 are is not said


@pytest.mark.parametrize("text", ["", "lv", "lv=1,rv=1", "lv=0", "lv=x", "heart=1", "lv=1,lv=2", "lv=300"])
def test_no_order(text: str) -> None:
    with pytest.raises(UsageError, match=r"error\[range\].*--labels"):
        LabelOrder.parse(text)


def test_an_order_is_written_as_it_is_read() -> None:
    assert LabelOrder.parse(str(MNMS)) == MNMS and LabelOrder.parse("rv=1,myo=2,lv=3") == ACDC


# ---------------------------------------------------------------------- place
@pytest.mark.parametrize(
    ("shape", "spacing", "code"),
    [
        ((T, 1, N, N), SPACING, None),
        ((T, 1, N, N), (10.0, 1.4, 1.5), "grid-mismatch"),
        ((T, 1, N, N - 1), SPACING, "shape-mismatch"),
        ((T + 1, 1, N, N), SPACING, "shape-mismatch"),
        ((1, 1, N, N), SPACING, "shape-mismatch"),  # of one frame, and nobody says which
    ],
)
def test_labels_lie_where_the_scan_does(case: Case, shape: Any, spacing: Any, code: str | None) -> None:
    assert case.label is not None
    write(case.label, np.broadcast_to(heart()[..., : shape[-1]], shape).copy(), spacing)
    assert used(case) == code


def test_a_mirrored_label_map_is_refused(case: Case) -> None:
    assert case.label is not None
    scan = Scan.blank((T, 1, N, N), SPACING)
    sform = scan.geometry.sform.copy()
    sform[0, 0] *= -1
    affine = np.vstack([sform, [0, 0, 0, 1]])
    turned = replace(scan.geometry, sform=sform, affine=affine, qform_code=0)
    save(case.label, replace(scan, geometry=turned), np.repeat(heart(), T, 0), overwrite=True)
    assert used(case) == "grid-mismatch"


def test_labels_of_known_frames_are_put_there(case: Case, tmp_path: Path) -> None:
    ends = ((0, write(tmp_path / "ed.nii", heart())), (2, write(tmp_path / "es.nii", heart())))
    ended = replace(case, label=None, phase_labels=ends)
    labels = load_labels(ended, load(case.image))
    assert labels is not None and used(ended) is None
    assert [bool(frame.any()) for frame in labels] == [True, False, True, False]
    assert used(replace(ended, phase_labels=((T, ends[0][1]),))) == "shape-mismatch"


def test_acdc_ends_of_the_cycle(tmp_path: Path) -> None:
    folder = tmp_path / "patient001"
    folder.mkdir()
    write(folder / "patient001_4d.nii.gz", np.random.default_rng(0).integers(1, 900, (T, 1, N, N), np.int16))
    for frame in (1, 3):
        write(folder / f"patient001_frame{frame:02d}_gt.nii.gz", heart())
    (case,) = find(tmp_path)
    assert [frame for frame, _ in case.phase_labels] == [0, 2] and used(case) is None


def test_a_manifest_says_which_frame(case: Case, tmp_path: Path) -> None:
    assert case.label is not None
    write(case.label, heart())
    path = tmp_path / "m.csv"
    path.write_text(f"image,label,frame\n{case.image.name},{case.label.name},3\n")
    (told,) = find(path)
    assert used(told) is None and read_cine(told, labels=True).labels[2].any()  # type: ignore[index]
    path.write_text(f"image,label,frame\n{case.image.name},{case.label.name},ED\n")
    with pytest.raises(DataError, match=r"error\[range\].*frame"):
        find(path)


# ---------------------------------------------------------------------- values
@pytest.mark.parametrize(
    ("scale", "code"), [(1.0, None), (1 + 2e-7, None), (85.0, None), (21845.0, None), (0.5, "mask-values")]
)
def test_scales_and_rounding_of_labels(case: Case, scale: float, code: str | None) -> None:
    assert case.label is not None
    write(case.label, np.repeat(heart(), T, 0).astype(np.float64) * scale)
    assert used(case) == code
    if code is None:
        assert np.array_equal(load_labels(case, load(case.image)), np.repeat(heart(), T, 0))


def test_partial_labels_keep_their_meaning(case: Case) -> None:
    """Myocardium alone is no scaled mask."""
    assert case.label is not None
    write(case.label, np.where(np.repeat(heart(), T, 0) == 2, 2, 0).astype(np.uint8))
    labels = load_labels(case, load(case.image))
    assert labels is not None and set(np.unique(labels)) == {0, 2}


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (0, 1000.0), (0.0, 0.9999999), (1e-9, 254.99998)])
def test_scaled_masks_are_masks(case: Case, tmp_path: Path, low: float, high: float) -> None:
    hidden = np.zeros((1, 1, N, N), dtype=bool)
    hidden[..., 10:20, 5:9] = True
    values = np.where(hidden, high, low).astype(np.float32 if isinstance(high, float) else np.uint8)
    known = load_known(write(tmp_path / "m.nii", values), load(case.image))
    assert np.array_equal(known, np.broadcast_to(~hidden, known.shape))


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 0.5), (-1, 0), (0, 128, 255)])
def test_what_is_no_mask(case: Case, tmp_path: Path, values: tuple[float, ...]) -> None:
    array = np.resize(np.float32(values), (1, 1, N, N))
    with pytest.raises(DataError, match=r"error\[mask-values\]"):
        load_known(write(tmp_path / "m.nii", array), load(case.image))


# ---------------------------------------------------------------------- label maps in place of scans
@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        (heart(), True),
        (heart().astype(np.float32), True),
        (np.where(heart() == 3, 255, 0).astype(np.uint8), True),
        (np.repeat(heart(), 3, 0), True),
        (np.where(heart() == 3, 500, 100).astype(np.int16), False),  # a disc in tissue: nothing is 0
        (np.arange(N * N).reshape(1, 1, N, N).astype(np.int16) % 12, False),
        (heart() * np.uint8(40), False),
    ],
)
def test_label_maps_are_no_scans(tmp_path: Path, values: Any, wrong: bool) -> None:
    (case,) = find(write(tmp_path / "X1.nii.gz", values))
    assert is_label_map(replace(Scan.blank(values.shape, SPACING), stored=values)) == wrong
    if wrong:
        assert [error.code for error in check([case])] == ["label-map"]
        with pytest.raises(DataError, match=r"error\[label-map\]"):
            read_cine(case)
