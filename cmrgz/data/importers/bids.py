"""BIDS and trees like it: `sub-01/[ses-1]/.../sub-01_cine.nii.gz`, `participants.tsv`, `derivatives/`."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cmrgz.data.importers.case import Case, Found, make_case
from cmrgz.data.importers.files import stem
from cmrgz.data.importers.folders import pairs
from cmrgz.data.importers.names import UNKNOWN
from cmrgz.data.importers.tables import Tables, number, sex, word
from cmrgz.durable import is_folder

SUBJECT = re.compile("sub-[A-Za-z0-9]+")
NEVER = {"derivatives": "lies among derivatives", "sourcedata": "lies among source data", "code": "lies among code"}
LABEL = re.compile(r"_(dseg|seg|labels?|mask|gt)$")


def claims(path: Path) -> bool:
    """Return whether a file lies in the folder of a subject."""
    return any(SUBJECT.fullmatch(part) for part in path.absolute().parts[:-1])


def read(root: Path, files: Iterable[Path]) -> Found:
    """Return the scans of the subjects, with label maps beside them or among derivatives, and what the table says."""
    files = list(files)
    left = {path: why for path in files if (why := _never(root, path))}
    claimed = [path for path in files if path not in left and claims(path)]
    left |= {path: UNKNOWN for path in files if path not in left and path not in set(claimed)}
    labels = dict(pairs(claimed))
    images = [path for path in claimed if path not in set(labels.values())]
    derived = _derived(images, [path for path, why in left.items() if why == NEVER["derivatives"]])
    table = Tables("participants.tsv", "participant_id")
    cases = [_case(path, labels.get(path) or derived.get(path), table) for path in images]
    taken = {case.label for case in cases}
    return Found(cases, {path: why for path, why in left.items() if path not in taken})


def derivatives_of(folder: Path) -> list[Path]:
    """Return the derivatives of the data set that the folder of a scan lies in, if they are there."""
    anchor = _anchor(folder.absolute())
    return [anchor / "derivatives"] if anchor is not None and is_folder(anchor / "derivatives") else []


def _never(root: Path, path: Path) -> str | None:
    """Return why no file of a folder is a scan, unless the data set itself lies in such a folder."""
    parts, above = path.absolute().parts[:-1], root.absolute().parts
    return next((why for name, why in NEVER.items() if parts.count(name) > above.count(name)), None)


def _anchor(folder: Path) -> Path | None:
    """Return the folder that holds that of the subject, the outermost of its kind."""
    found = [level for level in (folder, *folder.parents) if SUBJECT.fullmatch(level.name)]
    return found[-1].parent if found else None


def _case(image: Path, label: Path | None, table: Tables) -> Case:
    anchor = _anchor(image.absolute().parent) or image.parent
    subject = image.absolute().relative_to(anchor).parts[0]
    row = table.of(image, subject)
    group = word(row.get("group")) or word(row.get("diagnosis")) or word(row.get("pathology"))
    case = make_case(anchor, image, subject, label, group)
    return replace(case, sex=sex(row.get("sex")), ef=number(row.get("ef")), edv=number(row.get("edv")))


def _derived(images: list[Path], files: list[Path]) -> dict[Path, Path]:
    """Return image -> its label map among derivatives: of the same name but for its end, and of no other image."""
    by_name = {stem(image): image for image in images}
    found: dict[Path, Path] = {}
    for path in files:
        name = stem(path)
        if not LABEL.search(name):
            continue
        whole = LABEL.sub("", name)
        # BIDS: a derivative repeats the entities of its source, and has a suffix of its own (`_dseg` of `_cine`).
        entities = [image for start, image in by_name.items() if start.rpartition("_")[0] == whole]
        image = by_name.get(whole) or (entities[0] if len(entities) == 1 else None)
        if image is not None:
            found.setdefault(image, path)
    return found
