"""The layouts of data sets: one importer each, and the table of them. A new layout is a function and a row."""

import glob
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cmrgz.data.importers.case import Case, is_scan, keyed_hash
from cmrgz.data.importers.folders import is_acdc, is_nnunet, read_acdc, read_file, read_folder, read_nnunet
from cmrgz.data.importers.manifest import is_manifest, read_manifest

__all__ = ["LAYOUTS", "Case", "Layout", "keyed_hash", "read_manifest"]


@dataclass(frozen=True)
class Layout:
    """A way in which scans are laid out.

    Attributes:
        name: What it is called.
        what: How it looks.
        matches: Whether a path has it.
        read: The cases of such a path; `subject_column` matters to manifests alone.
    """

    name: str
    what: str
    matches: Callable[[Path], bool]
    read: Callable[[Path, str], list[Case]]


def _manifest_of(folder: Path) -> Path:
    return folder / "manifest.csv"


def _is_pattern(path: Path) -> bool:
    return not path.exists() and glob.has_magic(str(path))


def _read_pattern(path: Path) -> list[Case]:
    matched = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    return [case for scan in matched if is_scan(scan) for case in read_file(scan)]


LAYOUTS = (
    Layout("scan", "one .nii or .nii.gz file", lambda p: p.is_file() and is_scan(p), lambda p, _: read_file(p)),
    Layout("manifest", "a .csv or .jsonl with a column image", is_manifest, read_manifest),
    Layout("folder with manifest", "a directory with manifest.csv", lambda p: is_manifest(_manifest_of(p)),
           lambda p, column: read_manifest(_manifest_of(p), column)),
    Layout("acdc", "patient001/patient001_4d.nii.gz", is_acdc, lambda p, _: read_acdc(p)),
    Layout("nnunet", "imagesTr/case_0000.nii.gz", is_nnunet, lambda p, _: read_nnunet(p)),
    Layout("folder", "a directory of .nii and .nii.gz", Path.is_dir, lambda p, _: read_folder(p)),
    Layout("pattern", "a pattern such as 'scans/*.nii.gz'", _is_pattern, lambda p, _: _read_pattern(p)),
)  # fmt: skip
"""Tried in this order."""
