"""No patient stands on two sides, however data sets are laid out and named."""

import warnings
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz.data import sides
from cmrgz.data.cases import Case, find
from cmrgz.data.scan import Scan, save
from cmrgz.errors import CmrgzWarning, DataError
from cmrgz.evaluation.lineup import find_cases
from cmrgz.evaluation.options import SweepOptions

MakeScan = Callable[..., Path]


def write(path: Path, seed: int, frames: int = 1) -> Path:
    """Write a small scan; of one seed all frames but the first differ with their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (frames, 1, 8, 8)
    values = np.random.default_rng(seed).integers(0, 900, shape, np.int16)
    save(path, Scan.blank(shape, (10.0, 1.4, 1.4)), values)
    return path


def several(root: Path, names: Sequence[str], seed: int = 0, frames: int = 1) -> Path:
    for k, name in enumerate(names):
        write(root / f"{name}.nii.gz", seed + k, frames)
    return root


def split(*roots: Path, seed: int = 0) -> dict[str, set[str]]:
    """Return the patients that train and those that are validated on."""
    parts = sides.split_together([find(root) for root in roots], (0.5, 0.5, 0.0), seed)
    return {name: {case.subject for part in parts for case in part[name]} for name in ("train", "val")}


def evaluated(data: Path, bank: Path) -> tuple[list[Case], list[Case]]:
    return find_cases(SweepOptions(data=(str(data),), bank=(str(bank),)))


def test_frames_of_a_patient_are_one(tmp_path: Path) -> None:
    frames = [f"imagesTr/patient{p:03d}_{frame}_0000" for p in range(1, 13) for frame in ("frame01", "frame12")]
    found = find(several(tmp_path, frames))
    assert len(found) == 24 and {c.subject for c in found} == {f"patient{p:03d}" for p in range(1, 13)}
    assert {c.told_by for c in found} == {"file names"}


def test_a_patient_of_two_data_sets_is_on_one_side(tmp_path: Path) -> None:
    cine = several(tmp_path / "c02_cine", [f"P{p:02d}" for p in range(1, 21)])
    late = several(tmp_path / "c02_lge", [f"P{p:02d}" for p in range(1, 21, 3)], seed=100)
    for seed in range(5):
        found = split(cine, late, seed=seed)
        assert not found["train"] & found["val"] and 9 <= len(found["train"]) <= 11
    with pytest.raises(DataError, match=r"error\[leak\].*of 13 patients.*dataset"):
        evaluated(cine, late)


def test_hospitals_that_count_from_001_are_told_apart(tmp_path: Path) -> None:
    a = several(tmp_path / "c20_A", ["001", "002", "003"], 0)
    b = several(tmp_path / "c20_B", ["001", "002", "003"], 10)
    with pytest.warns(CmrgzWarning, match=r"warning\[same-names\].*3 of 3 names"):
        test, bank = evaluated(a, b)
    assert len({c.subject_id for c in [*test, *bank]}) == len({c.id for c in [*test, *bank]}) == 6
    with pytest.warns(CmrgzWarning, match="same-names"):
        both = split(a, b)
    assert len(both["train"] | both["val"]) == 6


def test_bare_numbers_of_one_hospital_are_one_patient(tmp_path: Path) -> None:
    cine, late = several(tmp_path / "A/cine", ["001", "002"], 0), several(tmp_path / "A/lge", ["001", "002"], 10)
    with pytest.raises(DataError, match=r"error\[leak\]"):
        evaluated(cine, late)


def test_a_manifest_tells_data_sets_apart(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 10)):
        root = several(tmp_path / name, ["P01", "P02"], seed)
        (root / "manifest.csv").write_text(f"image,dataset\nP01.nii.gz,{name}\nP02.nii.gz,{name}\n")
    with pytest.warns(CmrgzWarning, match="same-names"):
        test, bank = evaluated(tmp_path / "a", tmp_path / "b")
    assert len({c.subject for c in [*test, *bank]}) == 4


def test_equal_scans_under_other_names_are_one_patient(tmp_path: Path) -> None:
    cine = several(tmp_path / "here", ["anna", "bert"], frames=3)
    whole = Scan.blank((3, 1, 8, 8), (10.0, 1.4, 1.4))
    values = np.random.default_rng(1).integers(0, 900, whole.shape, np.int16)
    (tmp_path / "there").mkdir()
    save(tmp_path / "there/P9.nii", Scan.blank((1, 1, 8, 8), (10.0, 1.4, 1.4)), values[2:].astype(np.float32))
    with pytest.warns(CmrgzWarning, match="same-contents"), pytest.raises(DataError, match=r"leak.*1 by content"):
        evaluated(cine, tmp_path / "there")
    with pytest.warns(CmrgzWarning, match="same-contents"):
        found = split(cine, tmp_path / "there")
    assert len(found["train"] | found["val"]) == 2


def test_empty_frames_make_no_patients_one(tmp_path: Path) -> None:
    for name in ("anna", "bert"):
        path = write(tmp_path / f"{name}.nii.gz", len(name) + ord(name[0]))
        values = np.zeros((2, 1, 8, 8), np.int16)
        values[0, 0, 0, 0] = ord(name[0])
        save(path, Scan.blank(values.shape, (10.0, 1.4, 1.4)), values, overwrite=True)
    found = split(tmp_path)
    assert len(found["train"]) == len(found["val"]) == 1


# ---------------------------------------------------------------------- prescribed
def test_prescribed_splits_hold(tmp_path: Path) -> None:
    root = several(tmp_path, ["imagesTr/P01_0000", "imagesTr/P02_0000", "imagesTs/P03_0000"])
    found = find(root)
    with pytest.warns(CmrgzWarning, match=r"warning\[prescribed\].*1 of 3"):
        assert {c.subject for c in sides.to_learn(found)} == {"P01", "P02"}
    with pytest.warns(CmrgzWarning, match="prescribed"):
        assert {c.subject for c in sides.to_validate(found)} == {"P01", "P02"}
    with pytest.warns(CmrgzWarning, match="prescribed"):
        assert {c.subject for c in sides.to_test(found)} == {"P03"}
    found = [c for c in found if c.split == "test"]
    for use in (sides.to_learn, sides.to_validate):
        with pytest.raises(DataError, match=r"error\[split\].*all is test"):
            use(found)


def test_the_bank_holds_no_prescribed_test_patient(tmp_path: Path) -> None:
    root = several(
        tmp_path / "acdc", [f"{k}/patient{p:03d}/patient{p:03d}_4d" for k, p in (("training", 1), ("testing", 2))]
    )
    with pytest.warns(CmrgzWarning, match="prescribed"):
        test, bank = evaluated(root, root)
    assert [c.subject for c in test] == ["patient002"] and [c.subject for c in bank] == ["patient001"]


# ---------------------------------------------------------------------- any layout
PATTERNS = (
    *("{p}_{k}", "{p}-{k}", "{k}_{p}", "{p}.{k}", "{k}/{p}", "{p}/{k}", "{k}/{p}/{k}", "train/{p}_{k}", "HCM/{p}/{k}"),
    *("{p}/2020-01-0{n}/{k}", "sub-{p}/ses-{n}/anat/{k}", "sub-{p}_ses-{n}_{k}", "imagesTr/{p}_{k}_0000"),
)
KINDS = ("cine", "sa", "lge", "ED", "ES", "frame0{n}", "ph{n}", "slice{n}", "t1map", "4d", "2ch", "sa_ED")
PATIENTS = ("P{i:02d}", "patient{i:03d}", "10000{i:02d}", "{i:03d}", "SCD00{i}01", "A{i}S9V{i}")

kinds = st.lists(st.sampled_from(KINDS), min_size=1, max_size=3, unique=True)
sets = st.lists(st.tuples(st.sampled_from(PATTERNS), kinds), min_size=1, max_size=2)
layouts = st.tuples(st.sampled_from(PATIENTS), sets, st.integers(0, 9))


@settings(deadline=None, max_examples=25)
@given(layouts)
def test_no_patient_stands_on_two_sides(layout: tuple[str, list[tuple[str, list[str]]], int]) -> None:
    """Names alone must do: no scan is equal to another."""
    patient, sets, seed = layout
    groups, truth = [], {}
    for number, (pattern, kinds) in enumerate(sets):
        folder = Path("/data/mine", ("cine", "lge")[number])
        paths = [
            (i, folder / (pattern.format(p=patient.format(i=i), k=kind.format(n=n), n=n) + ".nii.gz"))
            for i in range(1, 7)
            for n, kind in enumerate(kinds, 1)
        ]
        groups.append(_found(folder, [path for _, path in paths]))
        truth |= {path: i for i, path in paths}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CmrgzWarning)
        parts = sides.split_together(groups, (0.5, 0.3, 0.2), seed)
    stand = [{truth[case.image] for part in parts for case in part[name]} for name in ("train", "val", "test")]
    assert not any(a & b for a, b in combinations(stand, 2))
    assert set.union(*stand) == set(range(1, 7))


def _found(folder: Path, paths: Sequence[Path]) -> list[Case]:
    """Return what `find` returns of such files; that they are not there saves time, and no content can tell."""
    from cmrgz.data.contents import BUILT_IN
    from cmrgz.data.importers.patients import data_set, patients_of

    found = patients_of([path.relative_to(folder) for path in paths], folder.name)
    return [
        Case(str(path), whose.name, path, told_by=BUILT_IN, dataset=data_set(folder))
        for path, whose in zip(paths, found, strict=True)
    ]
