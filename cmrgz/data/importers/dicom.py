"""Folders of DICOM files: Sunnybrook, the Second Annual Data Science Bowl (Kaggle), and any other."""

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePath

from cmrgz.data.dicom import STACK, dicom_files
from cmrgz.data.importers.case import Case, Found, make_case
from cmrgz.data.importers.names import LONG_AXIS
from cmrgz.data.importers.patients import patients_of
from cmrgz.data.importers.tables import Tables, sex, word

# The data set has two names for each patient: of the folders, and of the contours, where the group stands in it.
SUNNYBROOK = re.compile(r"(?:^|/)(?P<subject>SCD\d{7}|SC-(?P<group>HF-I|HF-NI|HYP|N)-\d+)(?=/|$)", re.IGNORECASE)
KAGGLE = re.compile(r"(?:^|/)(?P<subject>\d+)/study$")
KAGGLE_SPLITS = {"train": "train", "validate": "val", "test": "test"}
LONG = re.compile(r"lax|long|[234]-?v?ch", re.IGNORECASE)
SCOUT = re.compile(r"scout|locali[sz]er|^loc", re.IGNORECASE)
BESIDE = "holds DICOM files beside NIfTI files, which are read"
NO_CINE = "is a scout"


def series(files: Iterable[Path]) -> dict[Path, str]:
    """Return the folders that hold DICOM files, and why they are no short-axis scan, or nothing.

    The folders `sax_5`, `sax_6` and so on, one a slice, are the scan of the folder around them.
    """
    folders: dict[Path, list[Path]] = {}
    for path in files:
        folders.setdefault(path.parent, []).append(path)
    found: dict[Path, str] = {}
    for folder, inside in sorted(folders.items()):
        if dicom_files(inside):
            name = folder.absolute().name
            stack = STACK.fullmatch(name) is not None and not dicom_files(folders.get(folder.parent, []))
            found[folder.parent if stack else folder] = _why_not(name)
    return found


def _why_not(name: str) -> str:
    return LONG_AXIS if LONG.search(name) else NO_CINE if SCOUT.search(name) else ""


def read(root: Path, files: Iterable[Path]) -> Found:
    """Return the cines of the folders that hold DICOM files."""
    folders = series(files)
    images = [folder for folder, why in folders.items() if not why]
    left = {folder: why for folder, why in folders.items() if why}
    if any(SUNNYBROOK.search(_posix(image)) for image in images):
        table = Tables("scd_patientdata*.csv", "PatientID")
        return Found([_sunnybrook(image, table) or _other(root, image) for image in images], left, "Sunnybrook DICOM")
    if any(KAGGLE.search(_posix(image)) for image in images):
        return Found([_kaggle(image) or _other(root, image) for image in images], left, "Kaggle DICOM")
    return Found([_other(root, image) for image in images], left, "DICOM")


def _posix(path: Path) -> str:
    return path.absolute().as_posix()


def _sunnybrook(image: Path, table: Tables) -> Case | None:
    """Return a case of the Sunnybrook Cardiac Data (Radau et al., MIDAS Journal 2009)."""
    found = SUNNYBROOK.search(_posix(image))
    if found is None:
        return None
    subject = found["subject"]
    anchor = Path(_posix(image)[: found.start("subject")] or "/")
    row = table.of(image, subject)
    group = found["group"] or word(row.get("pathology"))
    case = make_case(anchor, image, subject, None, group, told_by="the names of Sunnybrook")
    return replace(case, sex=sex(row.get("gender") or row.get("sex")))


def _kaggle(image: Path) -> Case | None:
    """Return a case of the Data Science Bowl: `train/1/study/sax_5`."""
    found = KAGGLE.search(_posix(image))
    if found is None:
        return None
    part = image.absolute().parent.parent
    split = KAGGLE_SPLITS.get(part.name.lower())
    return make_case(part, image, found["subject"], split=split, told_by="the names of Kaggle")


def _other(root: Path, image: Path) -> Case:
    """Return a case whose patient the names of folders tell."""
    # Where the scan is the folder that was named, its own name tells the patient, and `.` would tell none.
    root = image.absolute().parent if os.path.samefile(root, image) else root
    whose = patients_of([PurePath(os.path.relpath(image, root))], root.absolute().name)[0]
    return make_case(root, image, whose.name, told_by=whose.how)
