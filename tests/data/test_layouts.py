"""Data sets as they are shipped: the right scans, patients, labels and groups, and what is left out is told."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cmrgz.cli.data import app
from cmrgz.data.cases import find, look, look_all, split
from cmrgz.data.cines import read_cine
from cmrgz.data.importers import LAYOUTS, Case
from cmrgz.data.importers.label_order import ACDC, MNMS
from cmrgz.data.scan import Scan, save
from cmrgz.errors import CmrgzWarning, DataError

SPACING = (10.0, 2.0, 2.0)
FRAMES = 4
ED, ES = 0, 2


def write(path: Path, frames: int = FRAMES, seed: int = 0) -> None:
    shape = (frames, 2, 16, 16)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, Scan.blank(shape, SPACING, 0.04), np.random.default_rng(seed).integers(0, 900, shape, np.int16))


def label(path: Path, frames: int = 1, lv: int = 3) -> None:
    shape = (frames, 2, 16, 16)
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.zeros(shape, np.uint8)
    voxels[..., 4:10, 4:10], voxels[..., 6:8, 6:8] = 2, lv
    save(path, Scan.blank(shape, SPACING, 0.04), voxels)


def acdc(root: Path) -> None:
    for part, n, group in (("training", 1, "DCM"), ("training", 2, "NOR"), ("testing", 101, "DCM")):
        name = f"patient{n:03d}"
        folder = root / part / name
        write(folder / f"{name}_4d.nii.gz", seed=n)
        (folder / "Info.cfg").write_text(f"ED: {ED + 1}\nES: {ES + 1}\nGroup: {group}\nHeight: 184.0\n")
        for k in (ED, ES):
            write(folder / f"{name}_frame{k + 1:02d}.nii.gz", 1)
            label(folder / f"{name}_frame{k + 1:02d}_gt.nii.gz")


def mnms(root: Path) -> None:
    table = ",External code,VendorName,Vendor,Centre,ED,ES,Age,Pathology,Sex,Height,Weight\n"
    for n, part in enumerate(("Training/Labeled", "Training/Unlabeled", "Validation", "Testing")):
        name = f"A{n}S9V9"
        write(root / part / name / f"{name}_sa.nii.gz", seed=n)
        if part != "Training/Unlabeled":
            label(root / part / name / f"{name}_sa_gt.nii.gz", FRAMES, 1)
        table += f"{n},{name},{'Siemens' if n else 'GE'},B,1,{ED},{ES},58,{'HCM' if n else 'NOR'},F,165,70\n"
    (root / "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv").write_text(table)


def mnms2(root: Path) -> None:
    table = "SUBJECT_CODE,DISEASE,VENDOR,SCANNER,FIELD\n"
    for n, disease in ((1, "NOR"), (161, "LV"), (360, "LV")):
        for view in ("SA", "LA"):
            name = root / f"dataset/{n:03d}/{n:03d}_{view}"
            write(Path(f"{name}_CINE.nii.gz"), seed=n)
            for phase in ("ED", "ES"):
                write(Path(f"{name}_{phase}.nii.gz"), 1)
                label(Path(f"{name}_{phase}_gt.nii.gz"), lv=1)
        table += f"{n},{disease},SIEMENS,Symphony,1.5\n"
    (root / "dataset_information.csv").write_text(table)


def ukbb(root: Path) -> None:
    for n in range(3):
        folder = root / f"100000{n}"
        for name in ("sa", "la_2ch", "la_4ch", "sa_ED"):
            write(folder / f"{name}.nii.gz", 1 if name == "sa_ED" else FRAMES, n)
        for name in ("label_sa_ED", "label_sa_ES", "seg_sa_ED", "label_la_4ch_ED"):
            label(folder / f"{name}.nii.gz", lv=1)


def nnunet(root: Path) -> None:
    for n in range(3):
        write(root / f"imagesTr/c{n}_0000.nii.gz", 1, n)
        write(root / f"imagesTr/c{n}_0001.nii.gz", 1)
        label(root / f"labelsTr/c{n}.nii.gz")
    write(root / "imagesTs/c9_0000.nii.gz", 1, 9)
    labels = {"background": 0, "RV": 1, "MLV": 2, "LVC": 3}
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))


def decathlon(root: Path) -> None:
    for n in range(3):
        write(root / f"imagesTr/la_{n:03d}.nii.gz", 1, n)
        write(root / f"imagesTr/._la_{n:03d}.nii.gz", 1)
        label(root / f"labelsTr/la_{n:03d}.nii.gz")
    write(root / "imagesTs/la_009.nii.gz", 1, 9)
    (root / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "left atrium"}}))


def emidec(root: Path) -> None:
    for name in ("Case_N006", "Case_P001", "Case_012"):
        write(root / f"{name}/Images/{name}.nii.gz", 1)
        if name != "Case_012":
            label(root / f"{name}/Contours/{name}.nii.gz", lv=1)
    (root / "Case P001.txt").write_text("Case P001\nSEX : F\nAge : 60\n")


def bids(root: Path) -> None:
    root.mkdir()
    (root / "dataset_description.json").write_text("{}")
    (root / "participants.tsv").write_text("participant_id\tsex\tgroup\nsub-01\tF\tHCM\nsub-02\tmale\tn/a\n")
    for subject, session in (("sub-01", "ses-1"), ("sub-01", "ses-2"), ("sub-02", "ses-1")):
        name = f"{subject}_{session}"
        write(root / f"{subject}/{session}/anat/{name}_cine.nii.gz")
        write(root / f"derivatives/cmrgz/{subject}/{session}/{name}_desc-inpainted_cine.nii.gz")
        label(root / f"derivatives/manual/{subject}/{session}/{name}_dseg.nii.gz", FRAMES)
        write(root / f"sourcedata/{subject}/{name}_cine.nii.gz")


Expected = tuple[str, Callable[[Path], None], dict[str, Any]]
KINDS: list[Expected] = [
    ("ACDC", acdc, {"scans": 3, "subjects": 3, "labels": 3, "groups": {"DCM": 2, "NOR": 1}, "out": 6,
                    "splits": {"test": 1}, "phases known": {"ED": 3, "ES": 3}}),
    ("M&Ms", mnms, {"scans": 4, "subjects": 4, "labels": 3, "groups": {"HCM": 3, "NOR": 1}, "out": 0,
                    "vendors": {"GE": 1, "Siemens": 3}, "splits": {"test": 1, "train": 2, "val": 1}, "sex": {"F": 4},
                    "order of labels": {"rv=3,myo=2,lv=1": 3}}),
    ("M&Ms-2", mnms2, {"scans": 3, "subjects": 3, "labels": 3, "groups": {"LV": 2, "NOR": 1}, "out": 21,
                       "vendors": {"SIEMENS": 3}, "splits": {"test": 1, "train": 1, "val": 1}}),
    ("UK Biobank", ukbb, {"scans": 3, "subjects": 3, "labels": 3, "phases known": {"ED": 3}, "out": 15,
                          "order of labels": {"rv=3,myo=2,lv=1": 3}}),
    ("nnU-Net", nnunet, {"scans": 4, "subjects": 4, "labels": 3, "out": 3, "splits": {"test": 1},
                         "order of labels": {"rv=1,myo=2,lv=3": 3}}),
    ("Decathlon", decathlon, {"scans": 4, "subjects": 4, "labels": 3, "out": 0, "splits": {"test": 1}}),
    ("EMIDEC", emidec, {"scans": 3, "subjects": 3, "labels": 2, "groups": {"MINF": 1, "NOR": 1}, "sex": {"F": 1},
                        "splits": {"test": 1}, "out": 0}),
    ("BIDS", bids, {"scans": 3, "subjects": 2, "labels": 3, "groups": {"HCM": 2}, "sex": {"F": 2, "M": 1}, "out": 6}),
]  # fmt: skip
NAMES = [kind[0] for kind in KINDS]


def check(*paths: str | Path) -> dict[str, Any]:
    """Return what `data check --json` says; no scan may be bad."""
    result = CliRunner().invoke(app, ["check", "--json", *map(str, paths)])
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


@pytest.fixture(scope="module", params=KINDS, ids=NAMES)
def laid_out(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    name, make, expected = request.param
    root = tmp_path_factory.mktemp("data") / "set"
    make(root)
    yield root, {"layouts": [name]} | expected


@pytest.mark.filterwarnings("ignore::cmrgz.errors.CmrgzWarning")
def test_check_says_what_is_there(laid_out: tuple[Path, dict[str, Any]]) -> None:
    root, expected = laid_out
    told = check(root)
    told |= told["says"] | {"out": sum(row["count"] for row in told["left_out"])}
    assert {name: told.get(name) for name in expected} == expected


@pytest.mark.filterwarnings("ignore::cmrgz.errors.CmrgzWarning")
def test_a_pattern_a_list_and_a_folder_give_the_same_cases(laid_out: tuple[Path, dict[str, Any]]) -> None:
    root, _ = laid_out
    cases = find(root)
    assert find(f"{root}/**/*.nii.gz") == cases
    (listed,) = look_all([str(path) for path in root.rglob("*.nii.gz") if not path.name.startswith(".")])
    assert listed.cases == cases
    for case in cases:
        assert find(case.image) == [case], "a scan has one id, however it was found"


def test_every_layout_is_tried_here() -> None:
    assert [layout.name for layout in LAYOUTS] == [*NAMES, "folder"] or {x.name for x in LAYOUTS} == {*NAMES, "folder"}


def test_no_scan_is_left_out_in_silence(tmp_path: Path) -> None:
    acdc(tmp_path)
    write(tmp_path / "training/patient007.nii.gz")
    with pytest.warns(CmrgzWarning, match=r"left-out.*patient007.*not named as this layout"):
        assert len(find(tmp_path)) == 3


def test_a_label_map_named_alone_is_told(tmp_path: Path) -> None:
    ukbb(tmp_path)
    with pytest.warns(CmrgzWarning, match=r"left-out.*label_la_4ch_ED.*named alone"):
        (case,) = find(tmp_path / "1000001/label_la_4ch_ED.nii.gz")
    assert case.image.name == "label_la_4ch_ED.nii.gz"


def test_acdc_without_its_cines_has_its_frames(tmp_path: Path) -> None:
    acdc(tmp_path)
    for path in tmp_path.rglob("*_4d.nii.gz"):
        path.unlink()
    cases = find(tmp_path / "training")
    assert [(c.subject, c.image.name, c.label and c.label.name) for c in cases[:2]] == [
        ("patient001", f"patient001_frame{k + 1:02d}.nii.gz", f"patient001_frame{k + 1:02d}_gt.nii.gz")
        for k in (ED, ES)
    ]
    assert {c.group for c in cases} == {"DCM", "NOR"} and {c.ed for c in cases} == {None}


def test_label_maps_of_phases_are_read_where_they_belong(tmp_path: Path) -> None:
    acdc(tmp_path)
    cine = read_cine(find(tmp_path)[0], labels=True)
    assert cine.labels is not None and cine.labels.shape[0] == FRAMES
    assert [bool(frame.any()) for frame in cine.labels] == [k in (ED, ES) for k in range(FRAMES)]


def test_the_test_part_of_a_data_set_is_not_trained_on(tmp_path: Path) -> None:
    acdc(tmp_path)
    parts = split(find(tmp_path), (0.5, 0.5, 0.0))
    assert [case.subject for case in parts["test"]] == ["patient101"]


def test_m_and_ms_beside_one_another_in_one_folder(tmp_path: Path) -> None:
    write(tmp_path / "A0S9V9_sa.nii.gz")
    label(tmp_path / "A0S9V9_sa_gt.nii.gz", FRAMES, 1)
    (case,) = find(tmp_path)
    assert (case.subject, case.order) == ("A0S9V9", MNMS) and case.label is not None


@pytest.mark.parametrize("text", ["{", "[1]", '{"labels": 3}', '{"labels": {"RV": [1, 2]}}', "[" * 100000])
def test_a_dataset_json_that_says_nothing(tmp_path: Path, text: str) -> None:
    nnunet(tmp_path)
    (tmp_path / "dataset.json").write_text(text)
    assert {case.order for case in find(tmp_path)} == {ACDC}


def test_links_are_followed_and_no_folder_is_read_twice(tmp_path: Path) -> None:
    ukbb(tmp_path / "far")
    root = tmp_path / "near"
    root.mkdir()
    for name in os.listdir(tmp_path / "far"):
        (root / name).symlink_to(tmp_path / "far" / name)
    (root / "1000009").symlink_to(tmp_path / "far/1000001")
    (tmp_path / "far/1000001/up").symlink_to(root)
    found = look(root)
    assert [case.subject for case in found.cases] == ["1000000", "1000001", "1000002"]
    assert {path.name for path, why in found.left_out.items() if "read already" in why} == {"1000009", "up"}


def test_a_link_to_itself_holds_no_scan(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError, match="empty-dataset"):
        find(tmp_path)


def test_two_data_sets_in_one_folder(tmp_path: Path) -> None:
    acdc(tmp_path / "a")
    emidec(tmp_path / "e")
    found = look(tmp_path)
    assert (found.layout, len(found.cases)) == ("ACDC, EMIDEC", 6)
    assert found.cases == find(tmp_path / "a") + find(tmp_path / "e")


def test_two_folders_in_one_pattern(tmp_path: Path) -> None:
    bids(tmp_path / "set")
    assert [c.subject for c in find(f"{tmp_path}/set/sub-*")] == ["sub-01", "sub-01", "sub-02"]


def test_facts_of_a_case(tmp_path: Path) -> None:
    mnms(tmp_path)
    of: dict[str, Case] = {case.subject: case for case in find(tmp_path)}
    case = of["A1S9V9"]
    assert (case.group, case.sex, case.vendor, case.split) == ("HCM", "F", "Siemens", "train")
    assert (case.ed, case.es, case.label, case.order) == (ED, ES, None, MNMS)


# ---------------------------------------------------------------------- in use
BUILD = {"vocab": 8, "levels": 2, "width": 8, "fine_width": 4, "blocks": 1, "lloyd": 2}
OPTIONS = {"steps": 4, "batch_size": 2, "warmup": 1, "save_every": 4, "validate_every": 4, "validation_items": 2}


@pytest.mark.slow
@pytest.mark.parametrize("make", [part[1] for part in KINDS], ids=[part[0] for part in KINDS])
@pytest.mark.filterwarnings("ignore::cmrgz.errors.CmrgzWarning")
def test_train_and_evaluate(make: Callable[[Path], None], tiny_checkpoint: Path, tmp_path: Path) -> None:
    from cmrgz.cli import main
    from cmrgz.training.options import TrainOptions
    from cmrgz.training.plan import Plan
    from cmrgz.training.run import train

    make(tmp_path / "set")
    if make is emidec:  # of two patients that are no test ones none is left to train on
        for name in ("Case_N007", "Case_P002"):
            write(tmp_path / f"set/{name}/Images/{name}.nii.gz", 1, seed=len(name))
    data = str(tmp_path / "set")
    made = train(
        Plan(name="vq", output=tmp_path / "run", data=[data], build=BUILD, train=TrainOptions(**OPTIONS, fit_items=4))
    )
    assert (made / "weights.safetensors").exists()
    told = ["evaluate", data, "--model", str(tiny_checkpoint), "--mask", "0.5", "--subjects", "2", "--samples", "2"]
    assert main([*told, "-d", "cpu", "-o", str(tmp_path / "evaluated")]) == 0
