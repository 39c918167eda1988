"""EMIDEC, late enhancement (Lalande et al., Data 2020): `Case_N006/Images/Case_N006.nii.gz` and `Contours`."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cmrgz.data.importers.case import Found, make_case
from cmrgz.data.importers.label_order import LabelOrder
from cmrgz.data.importers.names import LABEL, match, sort_out, tail
from cmrgz.data.importers.tables import read_keys, sex
from cmrgz.durable import is_folder

IMAGE = tail(r"(?P<subject>Case_(?P<kind>[NP]?)\d+)/Images/(?P=subject)")
GROUPS = {"N": "NOR", "P": "MINF"}
ORDER = LabelOrder(rv=(), myo=(2, 3, 4), lv=(1,))
"""3 is infarction and 4 no-reflow, both within the myocardium."""


def claims(path: Path) -> bool:
    """Return whether a file is a scan named as those of EMIDEC."""
    return match(IMAGE, path) is not None


def read(root: Path, files: Iterable[Path]) -> Found:
    """Return the scans with contours, group (normal or infarction) and sex; those without a group are for tests."""
    del root
    found = sort_out(files, IMAGE, {r"Contours/[^/]+": LABEL})
    cases = []
    for image, name in found.images.items():
        folder, subject, kind = image.parent.parent, name["subject"], name["kind"].upper()
        contours = folder / "Contours" / image.name
        label = contours if found.left_out.pop(contours, None) else None
        # Names of the test set have neither N nor P, for its groups are what is to be found.
        case = make_case(folder.parent, image, subject, label, GROUPS.get(kind), None if kind else "test")
        cases.append(replace(case, sex=_sex(folder, subject), order=ORDER))
    return Found(cases, found.left_out)


def contours_of(folder: Path) -> list[Path]:
    """Return the folder of the contours of a folder of images, if it is there."""
    beside = folder.with_name("Contours")
    return [beside] if folder.name.lower() == "images" and is_folder(beside) else []


def _sex(folder: Path, subject: str) -> str | None:
    names = (f"{subject}.txt", f"{subject.replace('_', ' ')}.txt")
    keys = [read_keys(place / name) for place in (folder, folder.parent) for name in names]
    return next((found for row in keys if (found := sex(row.get("sex")))), None)
