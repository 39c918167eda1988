"""Every layout gives the same kind of cases; what is wrong with one is named."""

import json
from pathlib import Path

import pytest

from cmrgz.data.cases import find
from cmrgz.data.importers import LAYOUTS, Case
from cmrgz.errors import DataError

SUNNYBROOK = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "sunnybrook"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def names(cases: list[Case]) -> dict[str, str]:
    """Return subject -> name of the image; fails where a subject has several."""
    assert len({c.subject for c in cases}) == len(cases)
    return {c.subject: c.image.name for c in cases}


def refused(path: Path | str, code: str) -> DataError:
    with pytest.raises(DataError) as caught:
        find(path)
    assert caught.value.code == code, caught.value.line
    return caught.value


# ---------------------------------------------------------------------- folders
def test_one_folder_of_scans(tmp_path: Path) -> None:
    touch(tmp_path, "b.nii", "a.nii.gz", "C.NII.GZ", "note.txt", "._a.nii.gz", ".hidden/x.nii")
    assert names(find(tmp_path)) == {"C": "C.NII.GZ", "a": "a.nii.gz", "b": "b.nii"}


def test_a_folder_per_patient(tmp_path: Path) -> None:
    touch(tmp_path, "p1/ed.nii.gz", "p1/es.nii.gz", "p2/ed.nii.gz")
    assert [c.subject for c in find(tmp_path)] == ["p1", "p1", "p2"]


def test_bids_subjects(tmp_path: Path) -> None:
    touch(tmp_path, "sub-01/ses-1/anat/cine.nii.gz", "sub-01/ses-2/anat/cine.nii.gz", "sub-02/anat/cine.nii.gz")
    assert [c.subject for c in find(tmp_path)] == ["sub-01", "sub-01", "sub-02"]


@pytest.mark.parametrize(
    ("image", "label", "subject"),
    [
        ("SCD0000101_cine.nii.gz", "SCD0000101_label.nii.gz", "SCD0000101"),
        ("A0S9V9_sa.nii.gz", "A0S9V9_sa_gt.nii.gz", "A0S9V9"),
        ("heart.nii", "heart_seg.nii.gz", "heart"),
        ("sub-0001/cine.nii.gz", "sub-0001/labels.nii.gz", "sub-0001"),
    ],
)
def test_labels_beside_the_image(tmp_path: Path, image: str, label: str, subject: str) -> None:
    touch(tmp_path, image, label)
    (case,) = find(tmp_path)
    assert (case.image, case.label, case.subject) == (tmp_path / image, tmp_path / label, subject)


def test_two_scans_of_the_same_name_have_ids_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "p1/a.nii.gz", "p2/a.nii.gz", "p2/b.nii.gz")
    assert len({c.id for c in find(tmp_path)}) == 3


@pytest.mark.skipif(not SUNNYBROOK.exists(), reason="the Sunnybrook scans are not here")
def test_sunnybrook() -> None:
    cases = find(SUNNYBROOK)
    assert [c.subject for c in cases] == ["SCD0000101", "SCD0000201", "SCD0000301"]
    assert all(c.label is not None and c.label.name == f"{c.subject}_label.nii.gz" for c in cases)


def test_one_file_has_the_label_beside_it(tmp_path: Path) -> None:
    touch(tmp_path, "x_cine.nii.gz", "x_label.nii.gz", "y_cine.nii.gz")
    (case,) = find(tmp_path / "x_cine.nii.gz")
    assert (case.subject, case.label) == ("x", tmp_path / "x_label.nii.gz")
    assert case in find(tmp_path), "a scan has one id, however it was found"


def test_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "a1.nii.gz", "a2.nii.gz", "b.nii.gz", "a3.txt")
    assert [c.subject for c in find(tmp_path / "a*")] == ["a1", "a2"]
    refused(tmp_path / "z*.nii.gz", "empty-dataset")


def test_acdc(tmp_path: Path) -> None:
    for n, group in ((1, "DCM"), (2, "NOR")):
        folder = f"training/patient{n:03d}"
        touch(tmp_path, f"{folder}/patient{n:03d}_4d.nii.gz", f"{folder}/patient{n:03d}_frame01.nii.gz",
              f"{folder}/patient{n:03d}_frame01_gt.nii.gz")  # fmt: skip
        (tmp_path / folder / "Info.cfg").write_text(f"ED: 1\nES: 12\nGroup: {group}\nHeight: 184.0\n")
    assert names(find(tmp_path)) == {"patient001": "patient001_4d.nii.gz", "patient002": "patient002_4d.nii.gz"}
    assert [c.group for c in find(tmp_path / "training")] == ["DCM", "NOR"]


def test_nnunet(tmp_path: Path) -> None:
    touch(tmp_path, "dataset.json", "imagesTr/c1_0000.nii.gz", "imagesTr/c1_0001.nii.gz", "labelsTr/c1.nii.gz",
          "imagesTs/c2_0000.nii.gz")  # fmt: skip
    first, second = find(tmp_path)
    assert (first.subject, first.label) == ("c1", tmp_path / "labelsTr/c1.nii.gz")
    assert (second.subject, second.label) == ("c2", None)


def test_layouts_have_names_of_their_own() -> None:
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)


# ---------------------------------------------------------------------- manifests
def manifest(root: Path, text: str, name: str = "manifest.csv") -> Path:
    touch(root, "a.nii.gz", "b.nii.gz", "a_label.nii.gz")
    path = root / name
    path.write_text(text, "utf-8")
    return path


CSV = "image,subject,label,group,split,age\na.nii.gz,P1,a_label.nii.gz,DCM,train,61\nb.nii.gz,P2,,,validation,\n"
JSONL = (
    '{"image": "a.nii.gz", "subject": "P1", "label": "a_label.nii.gz", "group": "DCM", "split": "train"}\n\n'
    '{"image": "b.nii.gz", "subject": "P2", "label": null, "split": "val"}\n'
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (CSV, "manifest.csv"),
        ("\ufeff" + CSV.replace("\n", "\r\n"), "excel.csv"),
        (CSV.replace(",", ";"), "european.csv"),
        (CSV.replace(",", "\t"), "manifest.tsv"),
        (CSV.replace("image,subject", " Image , SUBJECT"), "spaced.csv"),
        (JSONL, "manifest.jsonl"),
    ],
)
def test_manifest(tmp_path: Path, text: str, name: str) -> None:
    first, second = find(manifest(tmp_path, text, name))
    assert (first.subject, first.group, first.split) == ("P1", "DCM", "train")
    assert (first.image, first.label) == (tmp_path / "a.nii.gz", tmp_path / "a_label.nii.gz")
    assert (second.subject, second.group, second.label, second.split) == ("P2", None, None, "val")


def test_manifest_says_what_a_layout_says(tmp_path: Path) -> None:
    text = "image,sex,vendor,ed,es,label_ed,label_es,labels,mask\n"
    text += 'a.nii.gz,F,GE,,13,b.nii.gz,a_label.nii.gz,"lv=1,myo=2",b.nii.gz\n'
    (case,) = find(manifest(tmp_path, text))
    assert (case.sex, case.vendor, case.ed, case.es, str(case.order)) == ("F", "GE", None, 12, "myo=2,lv=1")
    assert case.phase_labels == ((12, tmp_path / "a_label.nii.gz"),)
    assert case.loose_labels == (tmp_path / "b.nii.gz",) and case.mask == tmp_path / "b.nii.gz"


def test_folder_with_manifest_is_its_manifest(tmp_path: Path) -> None:
    manifest(tmp_path, "image\nb.nii.gz\n")
    assert names(find(tmp_path)) == {"b": "b.nii.gz"}


def test_patients_of_paths_elsewhere(tmp_path: Path) -> None:
    """What lies above all scans names none of them, be it `ward7`."""
    touch(tmp_path / "ward7", "P01_ED.nii.gz", "P01_ES.nii.gz", "P02_ED.nii.gz")
    images = [tmp_path / "ward7" / f"{name}.nii.gz" for name in ("P01_ED", "P01_ES", "P02_ED")]
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "m.csv"
    path.write_text("\n".join(["image", *map(str, images)]))
    assert [c.subject for c in find(path)] == ["P01", "P01", "P02"]


def test_subject_column(tmp_path: Path) -> None:
    path = manifest(tmp_path, "image,patient\na.nii.gz,X\nb.nii.gz,X\n")
    assert [c.subject for c in find(path)] == ["a", "b"]
    assert [c.subject for c in find(path, subject_column="patient")] == ["X", "X"]
    with pytest.raises(DataError, match="did you mean 'patient'"):
        find(path, subject_column="patients")


@pytest.mark.parametrize(
    ("text", "name", "code", "says"),
    [
        ("path,subject\na.nii.gz,1\n", "m.csv", "unknown-key", "no column 'image'"),
        ("image,splt\na.nii.gz,train\n", "m.csv", "unknown-key", "did you mean 'split'"),
        ("image,split\na.nii.gz,tset\n", "m.csv", "unknown-key", "did you mean 'test'"),
        ("image,subject\na.nii.gz,1,2,3\n", "m.csv", "syntax", "m.csv:2"),
        ('image\n"a.nii.gz\n', "m.csv", "syntax", "not CSV"),
        ("image,subject\n,1\n", "m.csv", "syntax", "names no image"),
        ("image\na.nii.gz\nc.nii.gz\nd.nii.gz\n", "m.csv", "not-found", "2 of 3 rows"),
        ("image,label\na.nii.gz,c.nii.gz\n", "m.csv", "not-found", "m.csv"),
        ("image,label_ed\na.nii.gz,c.nii.gz\n", "m.csv", "not-found", "m.csv"),
        ("image,mask\na.nii.gz,c.nii.gz\n", "m.csv", "not-found", "m.csv"),
        ("image,es\na.nii.gz,last\n", "m.csv", "range", "es is a whole number"),
        ('image,labels\na.nii.gz,"lv=1,rv=1"\n', "m.csv", "range", "labels must say which values"),
        ("image\na.nii.gz\n./a.nii.gz\n", "m.csv", "duplicate", "more than once"),
        ("image,subject,split\na.nii.gz,1,train\nb.nii.gz,1,test\n", "m.csv", "leak", "two splits"),
        ("image\n", "m.csv", "empty-dataset", "no scan"),
        ("", "m.csv", "empty-dataset", "no scan"),
        ("{not json}\n", "m.jsonl", "syntax", "m.jsonl:1"),
        ("[" * 100000 + "\n", "m.jsonl", "syntax", "m.jsonl:1"),
        ("[1]\n", "m.jsonl", "type", "expected an object"),
    ],
)
def test_bad_manifests(tmp_path: Path, text: str, name: str, code: str, says: str) -> None:
    assert says in refused(manifest(tmp_path, text, name), code).line


def test_manifest_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes("image,subject\na.nii.gz,Müller\n".encode("latin-1"))
    assert "Müller" not in refused(path, "encoding").line


def test_huge_numbers_in_json_are_text(tmp_path: Path) -> None:
    path = manifest(tmp_path, json.dumps({"image": "a.nii.gz", "subject": 10**30}) + "\n", "m.jsonl")
    assert find(path)[0].subject == str(10**30)


# ---------------------------------------------------------------------- refusals
def test_what_cannot_be_a_data_set(tmp_path: Path) -> None:
    refused(tmp_path, "empty-dataset")
    refused(tmp_path / "gone", "not-found")
    refused(touch(tmp_path, "scan.png") / "scan.png", "wrong-extension")
    refused("/dev/null", "not-a-file")
