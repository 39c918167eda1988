"""A folder of DICOM files is read as the cine that it is, or refused; none of its text is kept."""

import os
import random
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmrgz.data.cases import find, look, look_all, split, split_hash
from cmrgz.data.nifti.reader import count_frames
from cmrgz.data.phantom import Phantom
from cmrgz.data.phantom.files import write_subject
from cmrgz.data.scan import Scan, load, save
from cmrgz.errors import CmrgzWarning, DataError, ResourceError

pydicom = pytest.importorskip("pydicom")

PHI = ("DOE^JANE", "MRN12345", "Dr. Who", "20200102")
Change = Callable[[Any, int, int], None]


def plane(scan: Scan, t: int, z: int, series: str) -> Any:
    """Return the data set of one slice at one phase, as a scanner would write it."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    affine = scan.geometry.affine
    to_lps = np.array([-1, -1, 1])
    dx, dy, dz = scan.geometry.zooms
    axes = [affine[:3, i] * to_lps / edge for i, edge in ((0, dx), (1, dy))]
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    d = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    d.SOPClassUID, d.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    d.PatientName, d.PatientID, d.OperatorsName, d.StudyDate = PHI
    d.StudyInstanceUID, d.SeriesInstanceUID, d.Modality = "1.2.3", series, "MR"
    d.Rows, d.Columns = scan.shape[2:]
    d.PixelSpacing = [f"{dy:.8g}", f"{dx:.8g}"]
    d.SliceThickness, d.SpacingBetweenSlices = dz - 2, dz
    d.ImagePositionPatient = [f"{v:.8g}" for v in (affine @ [0, 0, z, 1])[:3] * to_lps]
    d.ImageOrientationPatient = [f"{v:.8g}" for axis in axes for v in axis]
    d.TriggerTime = f"{1000 * t * scan.geometry.frame_time:.8g}"
    d.InstanceNumber = 1 + z * scan.shape[0] + t
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
    d.PixelData = scan.stored[t, z].astype("<u2").tobytes()
    return d


def export(scan: Scan, folder: Path, series: str = "1.2.3.4", change: Change = lambda d, t, z: None) -> Path:
    """Write a scan as DICOM files whose names say nothing of their order."""
    folder.mkdir(parents=True)
    names = [f"IM-{k:04d}.dcm" for k in range(scan.shape[0] * scan.shape[1])]
    random.Random(0).shuffle(names)
    for t in range(scan.shape[0]):
        for z in range(scan.shape[1]):
            d = plane(scan, t, z, series)
            change(d, t, z)
            d.save_as(folder / names.pop(), enforce_file_format=True)
    return folder


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    folder = tmp_path_factory.mktemp("phantom") / "sub-0001"
    write_subject(folder, Phantom(1, size=32, spacing=6.0, nsub=1, fit_rv=False), phases=3, slices=4)
    return load(folder / "cine.nii.gz")


def same(read: Scan, scan: Scan) -> None:
    """Fail unless two scans have equal voxels, and geometries that are equal but for the digits of DICOM's decimals."""
    assert read.stored.dtype == scan.stored.dtype
    np.testing.assert_array_equal(read.stored, scan.stored)
    np.testing.assert_array_equal(read.voxels, scan.voxels)
    for field in fields(scan.geometry):
        a, b = (getattr(geometry, field.name) for geometry in (read.geometry, scan.geometry))
        if isinstance(a, str):
            assert a == b
        else:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=field.name)
    np.testing.assert_allclose(read.geometry.frame_time, scan.geometry.frame_time, rtol=1e-5)
    np.testing.assert_array_equal(read.phases, scan.phases)
    np.testing.assert_array_equal(read.slice_positions, scan.slice_positions)


def test_sunnybrook_is_the_scan_that_it_was(phantom: Scan, tmp_path: Path) -> None:
    export(phantom, tmp_path / "SCD0000101/CINESAX_300")
    export(phantom, tmp_path / "SCD0000101/CINELAX_301", "1.2.3.5")
    (tmp_path / "scd_patientdata.csv").write_text("PatientID,Gender,Age,Pathology\nSCD0000101,Male,60,Hypertrophy\n")
    found = look(tmp_path)
    (case,) = found.cases
    assert (found.layout, case.subject, case.group, case.sex) == ("Sunnybrook DICOM", "SCD0000101", "Hypertrophy", "M")
    assert {path.name for path in found.left_out} == {"CINELAX_301"}
    same(load(case.image), phantom)
    assert count_frames(case.image) == phantom.shape[0]


def test_an_oblique_stack(phantom: Scan, tmp_path: Path) -> None:
    from dataclasses import replace

    from scipy.spatial.transform import Rotation

    turned = phantom.geometry.affine.copy()
    turned[:3] = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix() @ turned[:3]
    scan = Scan(phantom.stored, 1.0, 0.0, replace(phantom.geometry, affine=turned, sform=turned[:3]))
    read = load(export(scan, tmp_path / "set/p1"))
    np.testing.assert_array_equal(read.stored, scan.stored)
    np.testing.assert_allclose(read.geometry.affine, turned, atol=1e-4)
    assert read.geometry.qform is not None
    np.testing.assert_allclose(read.geometry.qform, turned, atol=1e-4)


def test_the_science_bowl_has_a_folder_a_slice(phantom: Scan, tmp_path: Path) -> None:
    study = tmp_path / "validate/501/study"
    for z in range(phantom.shape[1]):
        one = Scan(phantom.stored[:, z : z + 1], 1.0, 0.0, phantom.geometry)

        def move(d: Any, t: int, _: int, z: int = z) -> None:
            d.ImagePositionPatient = plane(phantom, t, z, "").ImagePositionPatient

        export(one, study / f"sax_{5 + z}", f"1.2.3.{z}", move)
    export(phantom, study / "2ch_21", "1.2.4")
    (case,) = find(tmp_path)
    assert (case.subject, case.split, case.image) == ("501", "val", study)
    same(load(case.image), phantom)
    again = Scan(phantom.stored[:, :1] + 1, 1.0, 0.0, phantom.geometry)
    export(again, study / "sax_57", "1.2.3.57")
    with pytest.warns(CmrgzWarning, match="repeated-slice"):
        read = load(study)
    np.testing.assert_array_equal(read.stored[:, 0], phantom.stored[:, 0] + 1)


def test_a_pattern_a_list_and_a_folder_give_the_same_cases(phantom: Scan, tmp_path: Path) -> None:
    for n in range(3):
        export(phantom, tmp_path / f"SC-HF-I-{n}", f"1.2.{n}")
    cases = find(tmp_path)
    assert [(case.subject, case.group) for case in cases] == [(f"SC-HF-I-{n}", "HF-I") for n in range(3)]
    assert find(f"{tmp_path}/SC-*") == cases
    (listed,) = look_all([case.image for case in cases])
    assert listed.cases == cases
    for case in cases:
        assert find(case.image) == [case]


def test_no_text_of_a_header_is_kept(phantom: Scan, tmp_path: Path) -> None:
    folder = export(phantom, tmp_path / "p1")
    assert all(token.encode() in next(folder.iterdir()).read_bytes() for token in PHI)
    save(tmp_path / "out.nii", load(folder))
    (case,) = find(folder)
    assert not any(token.encode() in (tmp_path / "out.nii").read_bytes() for token in PHI)
    assert not any(token in repr((case, load(folder))) for token in PHI)


def test_any_other_series(phantom: Scan, tmp_path: Path) -> None:
    export(phantom, tmp_path / "mine/P07/sax")
    (case,) = find(tmp_path / "mine")
    assert (case.subject, case.image.name) == ("P07", "sax")


def _several_series(d: Any, t: int, z: int) -> None:
    d.SeriesInstanceUID = f"1.2.3.{z % 2}"


def _several_patients(d: Any, t: int, z: int) -> None:
    d.PatientID = f"MRN{z % 2}"


def _not_parallel(d: Any, t: int, z: int) -> None:
    if z == 0:
        d.ImageOrientationPatient = [1, 0, 0, 0, 0, 1]


def _other_pixels(d: Any, t: int, z: int) -> None:
    if z == 0:
        d.PixelSpacing = ["1.5", "1.5"]


def _a_gap(d: Any, t: int, z: int) -> None:
    if z == 3:
        d.ImagePositionPatient[2] -= 10


def _one_time(d: Any, t: int, z: int) -> None:
    d.TriggerTime = "0" if z == 1 and t < 2 else d.TriggerTime


def _colour(d: Any, t: int, z: int) -> None:
    d.PhotometricInterpretation = "RGB"


def _many_frames(d: Any, t: int, z: int) -> None:
    d.NumberOfFrames = 3


def _no_place(d: Any, t: int, z: int) -> None:
    del d.ImagePositionPatient


def _short(d: Any, t: int, z: int) -> None:
    d.PixelData = d.PixelData[:-2]


def _no_number(d: Any, t: int, z: int) -> None:
    d.ImagePositionPatient = [float("nan")] * 3


def _no_scale(d: Any, t: int, z: int) -> None:
    d.RescaleSlope = "0"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_several_series, "mixed-series"),
        (_several_patients, "mixed-series"),
        (_not_parallel, "mixed-series"),
        (_other_pixels, "mixed-series"),
        (_one_time, "mixed-series"),
        (_a_gap, "spacing"),
        (_colour, "dtype"),
        (_many_frames, "dtype"),
        (_no_place, "dtype"),
        (_short, "corrupt"),
        (_no_scale, "scaling"),
    ],
)
def test_refusals(phantom: Scan, tmp_path: Path, change: Change, code: str) -> None:
    folder = export(phantom, tmp_path / "p1", change=change)
    with pytest.raises(DataError) as caught:
        load(folder)
    assert caught.value.code == code, caught.value.line
    assert not any(token in caught.value.line for token in (*PHI, "MRN"))


def test_positions_that_are_no_numbers(phantom: Scan, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        load(export(phantom, tmp_path / "p1", change=_no_number))


def test_a_missing_file(phantom: Scan, tmp_path: Path) -> None:
    folder = export(phantom, tmp_path / "p1")
    next(folder.iterdir()).unlink()
    with pytest.raises(DataError, match=r"error\[dims\]"):
        load(folder)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_files_are_refused_in_one_line(phantom: Scan, tmp_path: Path, seed: int) -> None:
    folder = export(phantom, tmp_path / "p1")
    rng = random.Random(seed)
    file = rng.choice(sorted(folder.iterdir()))
    data = bytearray(file.read_bytes())
    for _ in range(40):
        data[rng.randrange(132, 900)] = rng.randrange(256)
    file.write_bytes(data[: rng.randrange(140, len(data))])
    with pytest.raises(DataError) as caught:
        load(folder)
    assert not any(token in caught.value.line for token in PHI)


def test_scaled_values(phantom: Scan, tmp_path: Path) -> None:
    def scaled(d: Any, t: int, z: int) -> None:
        d.RescaleSlope, d.RescaleIntercept = "2", "-100"

    def by_slice(d: Any, t: int, z: int) -> None:
        d.RescaleSlope, d.RescaleIntercept = str(1 + z), "0"

    read = load(export(phantom, tmp_path / "p1", change=scaled))
    assert (read.slope, read.inter) == (2, -100)
    np.testing.assert_array_equal(read.stored, phantom.stored)
    read = load(export(phantom, tmp_path / "p2", change=by_slice))
    np.testing.assert_array_equal(read.voxels, phantom.voxels * np.arange(1, 5)[:, None, None])


def test_without_trigger_times_the_numbers_tell(phantom: Scan, tmp_path: Path) -> None:
    def untimed(d: Any, t: int, z: int) -> None:
        del d.TriggerTime

    read = load(export(phantom, tmp_path / "p1", change=untimed))
    np.testing.assert_array_equal(read.stored, phantom.stored)
    assert np.isnan(read.geometry.frame_time)


def test_a_split_of_series(phantom: Scan, tmp_path: Path) -> None:
    for n in range(3):
        export(phantom, tmp_path / f"data/SC-N-{n}")
    cases = find(tmp_path / "data")
    before = split_hash(split(cases))
    file = next(cases[0].image.iterdir())
    file.write_bytes(file.read_bytes() + b"\0\0")
    assert split_hash(split(cases)) != before


def test_without_pydicom_it_says_what_to_install(
    phantom: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export(phantom, tmp_path / "p1")
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(ResourceError, match=r"pip install 'cmrgz\[dicom\]'"):
        load(folder)


def test_one_file_of_a_series(phantom: Scan, tmp_path: Path) -> None:
    file = next(export(phantom, tmp_path / "p1").iterdir())
    with pytest.raises(DataError, match="name the folder of its series"):
        find(file)


def test_dicom_beside_nifti_is_told(phantom: Scan, tmp_path: Path) -> None:
    export(phantom, tmp_path / "p1/dicom")
    save(tmp_path / "p1/cine.nii.gz", phantom)
    with pytest.warns(CmrgzWarning, match="left-out.*DICOM"):
        assert [case.image.name for case in find(tmp_path)] == ["cine.nii.gz"]


def test_a_folder_without_files(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "empty")
    with pytest.raises(DataError, match=r"error\[not-a-file\]"):
        load(tmp_path / "empty")
