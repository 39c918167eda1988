"""Where scans come from: a folder, a pattern, a list of files or a manifest, all through one reader of layouts."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cmrgz.data.dicom import dicom_files
from cmrgz.data.importers import bank, dicom, files, layouts
from cmrgz.data.importers.case import Case, Found, keyed_hash, make_case
from cmrgz.data.importers.files import UNREADABLE, is_pattern, is_scan, stem
from cmrgz.data.importers.layouts import LAYOUTS, Layout
from cmrgz.data.importers.manifest import is_manifest, read_manifest
from cmrgz.data.importers.names import UNKNOWN
from cmrgz.durable import is_file, is_folder, matching

__all__ = [
    "LAYOUTS",
    "SOURCES",
    "SURPRISING",
    "Case",
    "Found",
    "Layout",
    "is_scan",
    "is_series",
    "keyed_hash",
    "read",
    "read_list",
    "read_manifest",
]

MANIFEST = "manifest.csv"
SOURCES = ("one .nii or .nii.gz file", "a .csv or .jsonl with a column image", "a directory of NIfTI or DICOM files")
LABEL_OF = "is the label map of a scan"
ALONE = "is read as a scan because it is named alone"
SURPRISING = (UNKNOWN, UNREADABLE, ALONE, dicom.BESIDE)
"""How reasons to leave out a file end that are told whenever a data set is read; others are as its layout has it."""


def read(path: Path, subject_column: str = "subject") -> Found | None:
    """Return what lies at a place: a scan, a manifest, a directory or a pattern; None where it is none of these.

    Raises:
        DataError: What a manifest is refused for.
    """
    # First of all: who wrote one has said more than names do.
    for manifest in (path, path / MANIFEST):
        if is_manifest(manifest):
            return Found(read_manifest(manifest, subject_column), layout="manifest")
    if bank.is_bank(path):
        return bank.read(path)
    if is_series(path):
        return dicom.read(path.parent, matching(path, "*"))
    if is_file(path) and is_scan(path):
        return _read_one(path)
    if is_folder(path):
        return _read_folder(path)
    if is_pattern(path):
        root, matched, left = files.matched(path)
        found = _chosen(root, matched) if any(map(is_scan, matched)) else dicom.read(root, matched)
        return replace(found, left_out=left | found.left_out)
    return None


def is_series(path: Path) -> bool:
    """Return whether a folder holds DICOM files itself."""
    return is_folder(path) and not bank.is_bank(path) and bool(dicom_files(filter(is_file, matching(path, "*"))))


def read_list(paths: Sequence[Path]) -> Found:
    """Return what a list of scans holds: as a folder with these files, no label map or long axis taken for a scan.

    Folders that hold DICOM files themselves are scans too.
    """
    root = Path(os.path.commonpath([path.parent.absolute() for path in paths]))
    folders = [path for path in paths if is_folder(path)]
    found = dicom.read(root, [file for folder in folders for file in matching(folder, "*")])
    scans = [path for path in paths if path not in folders]
    if not scans:
        return found
    listed = _chosen(root, scans) if len(scans) > 1 else _read_one(scans[0])
    return Found(listed.cases + found.cases, listed.left_out | found.left_out, listed.layout)


def _read_folder(root: Path) -> Found:
    inside, left = files.below(root)
    scans = [path for path in inside if is_scan(path)]
    if not scans:
        found = dicom.read(root, inside)
        return replace(found, left_out=left | found.left_out)
    left |= dict.fromkeys(dicom.series(path for path in inside if not is_scan(path)), dicom.BESIDE)
    found = layouts.read(root, scans)
    return replace(found, left_out=left | found.left_out)


def _read_one(path: Path) -> Found:
    """Return a scan, with its label map where there is one."""
    found = _chosen(path.parent, [path])
    if found.cases:
        return found
    case = make_case(path.parent, path, stem(path))
    return Found([case], {path: f"{found.left_out[path]}; {ALONE}"}, found.layout)


def _chosen(root: Path, chosen: Sequence[Path]) -> Found:
    """Return those of the cases of a folder whose scans are chosen; files in the same folders belong to them."""
    scans = [path for path in chosen if is_scan(path)]
    layout = layouts.layout_of(scans)
    more = {folder for path in scans for folder in layout.beside(path.parent)}
    # Read among its neighbours, since what is a label map shows by the scan beside it.
    looked_at = [*files.beside(scans), *(path for folder in more for path in files.below(folder)[0])]
    found = layouts.read(root, sorted({path for path in looked_at if is_scan(path)}))
    wanted = set(scans)
    cases = [case for case in found.cases if case.image in wanted]
    images = {case.image for case in cases}
    left = {path: found.left_out.get(path, LABEL_OF) for path in scans if path not in images}
    return Found(cases, left, found.layout)
