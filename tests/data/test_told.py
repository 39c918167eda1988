"""What data sets say of their patients, as models are told it: of tables, label maps and phantoms."""

from pathlib import Path

import numpy as np
import pytest

from cmrgz.data import cases
from cmrgz.data.phantom.files import write_dataset
from cmrgz.data.phantom.render import Phantom
from cmrgz.data.scan import Scan, save
from cmrgz.data.told import Told, told
from cmrgz.errors import DataError
from cmrgz.vocabulary import NAMES

SPACING = (10.0, 2.0, 2.0)
FRAMES = 4
ML = 10 * 2 * 2 * 1e-3
"""Of a voxel."""


def image(path: Path, frames: int = FRAMES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scan = Scan.blank((frames, 2, 16, 16), SPACING, 0.04)
    save(path, scan, np.random.default_rng(0).integers(0, 900, scan.shape, np.int16))


def labels(path: Path, *sides: int) -> None:
    """Write a label map whose left ventricle is a square of so many pixels along a side in each frame."""
    scan = Scan.blank((len(sides), 2, 16, 16), SPACING, 0.04)
    voxels = np.zeros(scan.shape, np.uint8)
    for frame, side in zip(voxels, sides, strict=True):
        if side:
            frame[:, 1 : 3 + side, 1 : 3 + side], frame[:, 2 : 2 + side, 2 : 2 + side] = 2, 3
    save(path, scan, voxels)


def say(*paths: Path) -> list[Told]:
    return [told(case, NAMES) for case in cases.find_all(paths)[0]]


def test_a_manifest_says_all(tmp_path: Path) -> None:
    for name in "ab":
        image(tmp_path / f"{name}.nii.gz")
    text = "image,group,sex,ef,edv\na.nii.gz,DCM,female,0.31,201.5\nb.nii.gz,,n/a,,\n"
    (tmp_path / "m.csv").write_text(text)
    nothing = dict.fromkeys(NAMES)
    assert say(tmp_path / "m.csv") == [{"group": "DCM", "sex": "F", "ef": 0.31, "edv": 201.5}, nothing]


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [("ef", "58", "0 .. 1.*write 0.58 for 58 %"), ("ef", "-0.1", "0 .. 1"), ("edv", "0.2", "1 .. 1000 ml")],
)
def test_a_number_that_no_heart_has_is_refused_where_it_is_used(
    tmp_path: Path, column: str, value: str, what: str
) -> None:
    image(tmp_path / "a.nii.gz")
    (tmp_path / "m.csv").write_text(f"image,{column}\na.nii.gz,{value}\n")
    case = cases.find(tmp_path / "m.csv")[0]
    assert told(case, ["group"]) == {"group": None}
    with pytest.raises(DataError, match=what) as refused:
        told(case, [column])
    assert refused.value.code == "range"


def test_what_is_no_number_is_refused_at_once(tmp_path: Path) -> None:
    image(tmp_path / "a.nii.gz")
    (tmp_path / "m.csv").write_text("image,ef\na.nii.gz,low\n")
    with pytest.raises(DataError, match="m.csv:2: ef is a number"):
        cases.find(tmp_path / "m.csv")


def test_acdc_has_volumes_of_its_label_maps(tmp_path: Path) -> None:
    folder = tmp_path / "training/patient001"
    image(folder / "patient001_4d.nii.gz")
    (folder / "Info.cfg").write_text("ED: 1\nES: 3\nGroup: DCM\nHeight: 184.0\n")
    labels(folder / "patient001_frame01_gt.nii.gz", 8)
    labels(folder / "patient001_frame03_gt.nii.gz", 6)
    (said,) = say(tmp_path)
    assert said == {"group": "DCM", "sex": None, "ef": pytest.approx(1 - 36 / 64), "edv": pytest.approx(128 * ML)}
    (folder / "patient001_frame03_gt.nii.gz").unlink()
    assert say(tmp_path)[0] == {**said, "ef": None}


def test_a_cine_that_is_labelled_whole_tells_its_ends_itself(tmp_path: Path) -> None:
    image(tmp_path / "a.nii.gz")
    labels(tmp_path / "a_gt.nii.gz", 7, 4, 8, 5)
    (tmp_path / "m.csv").write_text("image,label\na.nii.gz,a_gt.nii.gz\n")
    whole = say(tmp_path / "m.csv")[0]
    assert whole["ef"] == pytest.approx(1 - 16 / 64) and whole["edv"] == pytest.approx(128 * ML)
    (tmp_path / "a_gt.nii.gz").unlink()
    labels(tmp_path / "a_gt.nii.gz", 7, 0, 4, 0)  # two frames of which nobody says which they are
    assert say(tmp_path / "m.csv")[0]["ef"] is None
    (tmp_path / "m.csv").write_text("image,label,ed,es\na.nii.gz,a_gt.nii.gz,1,3\n")
    assert say(tmp_path / "m.csv")[0]["ef"] == pytest.approx(1 - 16 / 49)


def test_a_table_comes_before_label_maps(tmp_path: Path) -> None:
    image(tmp_path / "a.nii.gz")
    labels(tmp_path / "a_gt.nii.gz", 7, 4, 8, 5)
    (tmp_path / "m.csv").write_text("image,label,ef\na.nii.gz,a_gt.nii.gz,0.5\n")
    said = say(tmp_path / "m.csv")[0]
    assert said["ef"] == 0.5 and said["edv"] == pytest.approx(128 * ML)


def test_bids_says_what_its_table_says(tmp_path: Path) -> None:
    for name in ("sub-01", "sub-02"):
        image(tmp_path / f"{name}/{name}_cine.nii.gz")
    rows = ["participant_id\tsex\tgroup\tef\tedv", "sub-01\tF\tHCM\t0.7\t110", "sub-02\tmale\tn/a\tn/a\tn/a"]
    (tmp_path / "participants.tsv").write_text("\n".join(rows) + "\n")
    first, second = say(tmp_path)
    assert first == {"group": "HCM", "sex": "F", "ef": 0.7, "edv": 110.0}
    assert second == {"group": None, "sex": "M", "ef": None, "edv": None}


def test_a_phantom_folder_says_what_was_drawn(tmp_path: Path) -> None:
    phantom = Phantom(3, "DCM", size=32, nsub=1, fit_rv=False)
    (record,) = write_dataset(tmp_path, [phantom], phases=2, slices=1)
    (said,) = say(tmp_path)
    assert (said["group"], said["sex"]) == ("DCM", phantom.subject.sex)
    assert said["ef"] == pytest.approx(record["continuum"]["LVEF"], abs=1e-4)
    assert said["edv"] == pytest.approx(record["continuum"]["LVEDV"], abs=1e-2)
    assert said["ef"] == pytest.approx(phantom.subject.ef, abs=0.01)


def test_built_in_phantoms_say_it_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CMRGZ_CACHE", str(tmp_path))
    (case,) = cases.builtin(1, 5, 32, 5.6, 2)
    said = told(case, NAMES)
    assert said["sex"] in ("F", "M") and 0.1 < float(said["ef"] or 0) < 0.8 and float(said["edv"] or 0) > 60
