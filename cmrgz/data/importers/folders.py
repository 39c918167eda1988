"""Directories of scans: with label maps beside them, as ACDC ships them, as nnU-Net stores them.

The first serves the Sunnybrook conversion (`X_cine` + `X_label`), M&Ms (`X_sa` + `X_sa_gt`), phantom folders (`cine` +
`labels`), BIDS-like trees and any other directory.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from cmrgz.data.importers.case import Case, is_scan, make_case, stem
from cmrgz.data.importers.patients import Patient, patient_of_file, patients_of

PAIRS = (("_cine", "_label"), ("cine", "labels"), ("", "_label"), ("", "_labels"), ("", "_gt"), ("", "_seg"))
"""How the name of an image and of its label map end."""


def scans_below(root: Path) -> list[Path]:
    """Return the scans below `root`, sorted; hidden folders are left out and links to folders not followed."""
    found: list[Path] = []
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found += [path for path in (Path(folder, name) for name in sorted(names)) if is_scan(path)]
    return found


def read_folder(root: Path) -> list[Case]:
    """Return the scans below `root`, each with the label map beside it.

    Whose they are is told by `patients_of`.
    """
    scans = scans_below(root)
    labels = dict(_pairs(scans))
    images = [path for path in scans if path not in set(labels.values())]
    patients = _patients(root, images)
    return [
        make_case(root, path, whose.name, labels.get(path), told_by=whose.how)
        for path, whose in zip(images, patients, strict=True)
    ]


def _patients(root: Path, images: list[Path]) -> list[Patient]:
    return patients_of([path.relative_to(root) for path in images], root.resolve().name) if images else []


def read_file(path: Path) -> list[Case]:
    """Return one scan as a data set, with the label map beside it if there is one."""
    beside = [p for p in path.parent.iterdir() if is_scan(p)] if path.parent.is_dir() else []
    whose = patient_of_file(path.absolute())
    return [make_case(path.parent, path, whose.name, dict(_pairs(beside)).get(path), told_by=whose.how)]


def _pairs(scans: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield (image, its label map)."""
    at = {(path.parent, stem(path)): path for path in scans}
    for (folder, name), path in at.items():
        for image, label in PAIRS:
            partner = at.get((folder, name.removesuffix(image) + label)) if name.endswith(image) else None
            if partner is not None and partner != path:
                yield path, partner
                break


# ---------------------------------------------------------------------- ACDC
_ACDC = "patient*/patient*_4d.nii*"


def is_acdc(root: Path) -> bool:
    """Return whether `root` holds ACDC as shipped: `[training/]patient001/patient001_4d.nii.gz`."""
    return root.is_dir() and any(True for _ in _acdc_cines(root))


def _acdc_cines(root: Path) -> Iterator[Path]:
    for pattern in (_ACDC, f"*/{_ACDC}"):
        yield from root.glob(pattern)


def read_acdc(root: Path) -> list[Case]:
    """Return the 4-D cines with the group of `Info.cfg`.

    Bernard et al., IEEE TMI 2018. The label maps are of single frames, end-diastole and end-systole.
    """
    cines = sorted(_acdc_cines(root))
    return [_acdc_case(root, path) for path in cines]


def _acdc_case(root: Path, path: Path) -> Case:
    folder = path.parent
    case = make_case(root, path, folder.name, None, _acdc_group(folder), _acdc_split(path), "folders")
    return replace(case, phase_labels=tuple(_numbered(folder.glob(f"{folder.name}_frame*_gt.nii*"))))


def _numbered(labels: Iterable[Path]) -> Iterator[tuple[int, Path]]:
    """Yield (frame from 0, label map) of names that say the frame from 1."""
    for path in sorted(labels):
        if frame := re.search(r"_frame(\d+)_", path.name):
            yield int(frame[1]) - 1, path


def _acdc_split(path: Path) -> str | None:
    """Return `test` for what lies in `testing`: the challenge prescribes those patients."""
    return "test" if path.absolute().parent.parent.name.lower() in ("testing", "test") else None


def _acdc_group(folder: Path) -> str | None:
    info = folder / "Info.cfg"
    text = info.read_bytes()[:4096].decode("latin-1") if info.is_file() else ""
    group = re.search(r"^Group:\s*([A-Za-z]{1,8})\s*$", text, re.MULTILINE)
    return group[1] if group else None


# ---------------------------------------------------------------------- nnU-Net
def is_nnunet(root: Path) -> bool:
    """Return whether `root` is a raw nnU-Net data set: `imagesTr/case_0000.nii.gz`."""
    return any(True for _ in root.glob("imagesTr/*_0000.nii*"))


def read_nnunet(root: Path) -> list[Case]:
    """Return the first channel of each image with its label map; `imagesTs` is the test set that it prescribes."""
    found: list[tuple[Path, Path | None, str | None]] = []
    for kind, split in (("Tr", None), ("Ts", "test")):
        labels = {stem(p): p for p in (root / f"labels{kind}").glob("*.nii*")}
        for path in sorted((root / f"images{kind}").glob("*_0000.nii*")):
            found.append((path, labels.get(stem(path).removesuffix("_0000")), split))
    patients = _patients(root, [path for path, _, _ in found])
    return [
        make_case(root, path, whose.name, label, split=split, told_by=whose.how)
        for (path, label, split), whose in zip(found, patients, strict=True)
    ]
