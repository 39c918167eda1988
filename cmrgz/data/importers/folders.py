"""Directories of scans: with label maps beside them, as ACDC ships them, as nnU-Net stores them.

The first serves the Sunnybrook conversion (`X_cine` + `X_label`), M&Ms (`X_sa` + `X_sa_gt`), phantom folders (`cine` +
`labels`), BIDS-like trees and any other directory.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from cmrgz.data.importers.case import Case, is_scan, make_case, stem

PAIRS = (("_cine", "_label"), ("cine", "labels"), ("", "_label"), ("", "_labels"), ("", "_gt"), ("", "_seg"))
"""How the name of an image and of its label map end."""
_IMAGE_ENDS = ("_cine", "_sa")


def scans_below(root: Path) -> list[Path]:
    """Return the scans below `root`, sorted; hidden folders are left out and links to folders not followed."""
    found: list[Path] = []
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found += [path for path in (Path(folder, name) for name in sorted(names)) if is_scan(path)]
    return found


def read_folder(root: Path) -> list[Case]:
    """Return the scans below `root`, each with the label map beside it.

    The subject is the `sub-*` folder if there is one; else the folder of the scan when the scans lie in several
    folders, and the stem of its name when they all lie in one. This errs to fewer subjects: a manifest says more.
    """
    scans = scans_below(root)
    labels = dict(_pairs(scans))
    images = [path for path in scans if path not in set(labels.values())]
    single = len({path.parent for path in images}) <= 1
    return [make_case(root, path, _subject(root, path, single), labels.get(path)) for path in images]


def read_file(path: Path) -> list[Case]:
    """Return one scan as a data set, with the label map beside it if there is one."""
    beside = [p for p in path.parent.iterdir() if is_scan(p)] if path.parent.is_dir() else []
    return [make_case(path.parent, path, _strip_end(stem(path)), dict(_pairs(beside)).get(path))]


def _pairs(scans: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield (image, its label map)."""
    at = {(path.parent, stem(path)): path for path in scans}
    for (folder, name), path in at.items():
        for image, label in PAIRS:
            partner = at.get((folder, name.removesuffix(image) + label)) if name.endswith(image) else None
            if partner is not None and partner != path:
                yield path, partner
                break


def _subject(root: Path, path: Path, single: bool) -> str:
    folders = path.relative_to(root).parts[:-1]
    bids = [part for part in folders if re.fullmatch("sub-[A-Za-z0-9]+", part)]
    if bids:
        return bids[0]
    return _strip_end(stem(path)) if single or not folders else folders[-1]


def _strip_end(name: str) -> str:
    for end in _IMAGE_ENDS:
        name = name.removesuffix(end) or name
    return name


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

    Bernard et al., IEEE TMI 2018. The label maps are single frames of their own and are not attached.
    """
    cines = sorted(_acdc_cines(root))
    return [make_case(root, path, path.parent.name, group=_acdc_group(path.parent)) for path in cines]


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
    """Return the first channel of each image with its label map; the name of the case is its subject."""
    cases = []
    for kind in ("Tr", "Ts"):
        labels = {stem(p): p for p in (root / f"labels{kind}").glob("*.nii*")}
        for path in sorted((root / f"images{kind}").glob("*_0000.nii*")):
            name = stem(path).removesuffix("_0000")
            cases.append(make_case(root, path, name, labels.get(name)))
    return cases
