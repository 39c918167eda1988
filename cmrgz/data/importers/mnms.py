"""M&Ms (Campello et al., IEEE TMI 2021) and M&Ms-2 (Martin-Isla et al., IEEE JBHI 2023), with their tables."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cmrgz.data.importers.case import Found, make_case
from cmrgz.data.importers.label_order import MNMS
from cmrgz.data.importers.names import FRAME, LABEL, LONG_AXIS, match, sort_out, tail
from cmrgz.data.importers.tables import Tables, frame, sex, word

FIRST = tail(r"(?P<subject>[A-Z]\d[A-Z]\d[A-Z]\d)_sa")
SECOND = tail(r"(?P<subject>\d{3})/(?P=subject)_SA_CINE")
SPLITS = {"training": "train", "validation": "val", "testing": "test"}
LAST = {160: "train", 200: "val", 360: "test"}
"""Number of the last patient of each split of M&Ms-2."""


def claims_first(path: Path) -> bool:
    """Return whether a file is a cine named as those of M&Ms."""
    return match(FIRST, path) is not None


def claims_second(path: Path) -> bool:
    """Return whether a file is a cine named as those of M&Ms-2."""
    return match(SECOND, path) is not None


def read_first(root: Path, files: Iterable[Path]) -> Found:
    """Return the cines `A0S9V9_sa` of M&Ms, labelled by `A0S9V9_sa_gt` at ED and ES, with what its table says."""
    del root
    found = sort_out(files, FIRST, {r"[A-Z]\d[A-Z]\d[A-Z]\d_sa_gt": LABEL})
    table = Tables("*M&Ms*nformation*.csv", "External code")
    cases = []
    for image, name in found.images.items():
        row = table.of(image, name["subject"])
        label = _taken(image, image.name.replace("_sa.", "_sa_gt."), found.left_out)
        folders = (SPLITS.get(part.lower()) for part in reversed(image.absolute().parts[:-1]))
        split = next((split for split in folders if split), None)
        anchor, group = _anchor(image, name["subject"]), word(row.get("pathology"))
        case = make_case(anchor, image, name["subject"], label, group, split)
        vendor = word(row.get("vendorname")) or word(row.get("vendor"))
        # Counted from 0, where ACDC counts from 1.
        case = replace(case, ed=frame(row.get("ed")), es=frame(row.get("es")), order=MNMS)
        cases.append(replace(case, sex=sex(row.get("sex")), vendor=vendor))
    return Found(cases, found.left_out)


def read_second(root: Path, files: Iterable[Path]) -> Found:
    """Return the short-axis cines `001/001_SA_CINE` of M&Ms-2, with what its table says.

    Which frames are ED and ES no file says.
    """
    del root
    others = {r"\d{3}_LA_\w+": LONG_AXIS, r"\d{3}_SA_E[DS]": FRAME, r"\d{3}_SA_E[DS]_gt": LABEL}
    found = sort_out(files, SECOND, others)
    table = Tables("dataset_information.csv", "SUBJECT_CODE")
    cases = []
    for image, name in found.images.items():
        subject = name["subject"]
        # The table has lost the zeros in front, as spreadsheets do.
        row = table.of(image, str(int(subject))) or table.of(image, subject)
        ed, es = (_taken(image, image.name.replace("CINE", f"{p}_gt"), found.left_out) for p in ("ED", "ES"))
        split = next((split for last, split in LAST.items() if 0 < int(subject) <= last), None)
        case = make_case(image.parent.parent, image, subject, None, word(row.get("disease")), split)
        loose = tuple(path for path in (ed, es) if path is not None)
        cases.append(replace(case, vendor=word(row.get("vendor")), order=MNMS, loose_labels=loose))
    return Found(cases, found.left_out)


def _anchor(image: Path, subject: str) -> Path:
    """Return the folder of the patients: those of M&Ms may have folders of their own or none."""
    return image.parent.parent if image.absolute().parent.name == subject else image.parent


def _taken(image: Path, name: str, left_out: dict[Path, str]) -> Path | None:
    """Return the file of this name beside an image, which is not left out then; None where there is none."""
    path = image.with_name(name)
    return path if left_out.pop(path, None) else None
