"""One rule finds the patient in a name."""

from pathlib import PurePath

import pytest

from cmrgz.data.importers.patients import data_set, patients_of


def names(*paths: str) -> list[str]:
    return [found.name for found in patients_of([PurePath(f"{path}.nii.gz") for path in paths], "ROOT")]


@pytest.mark.parametrize(
    ("path", "patient"),
    [
        ("imagesTr/patient001_frame01_0000", "patient001"),
        ("patient001_ED", "patient001"),
        ("patient001_sa_ES", "patient001"),
        ("patient001_ph07", "patient001"),
        ("patient001-cine", "patient001"),
        ("patient001.cine", "patient001"),
        ("patient001.4d", "patient001"),
        ("patient001frame03", "patient001"),
        ("patient001_4d", "patient001"),
        ("ACDC/database/training/patient001/patient001_4d", "patient001"),
        ("la_003", "003"),
        ("t1map_P03_2ch", "P03"),
        ("20200101_P03", "P03"),
        ("2020-01-01/P03", "P03"),
        ("P03/2020-01-01/cine", "P03"),
        ("1000001/label_sa_ED", "1000001"),
        ("1000001_20209_2_0", "1000001"),
        ("Case_N001/Images/Case_N001", "Case_N001"),
        ("A0S9V9_sa", "A0S9V9"),
        ("DCM01_frame01", "DCM01"),
        ("sub-01/ses-2/anat/sub-01_cine", "sub-01"),
        ("sub-01_ses-2_cine", "sub-01"),
        ("healthy/anna", "anna"),
        ("jane/scan1", "jane"),
        ("scan12_ED", "scan12"),
        ("heart", "heart"),
        ("ED", "ROOT"),
    ],
)
def test_the_patient_in_a_name(path: str, patient: str) -> None:
    assert names(path, "other9/x")[0] == patient


def test_a_folder_that_all_scans_share_names_no_patient() -> None:
    assert names("study12x/P01", "study12x/P02") == ["P01", "P02"]
    assert names("mine/scan1", "mine/scan2") == ["scan1", "scan2"]


def test_either_of_folder_and_file_may_name_one() -> None:
    assert names("A/001", "A/002", "B/001") == ["001", "001", "001"]
    first, again, other = names("jane/c1", "jane/c2", "bob/c3")
    assert first == again != other


def test_what_was_scanned_tells_no_data_sets_apart() -> None:
    assert data_set(PurePath("/x/A/cine")) == data_set(PurePath("/x/A/lge_test")) != data_set(PurePath("/x/B/cine"))
    assert data_set(PurePath("/x/site1")) != data_set(PurePath("/x/site2"))
