"""ACDC as shipped (Bernard et al., IEEE TMI 2018): `training/patient001/patient001_4d.nii.gz` and `Info.cfg`."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cmrgz.data.importers.case import Case, Found, make_case
from cmrgz.data.importers.names import FRAME, LABEL, UNKNOWN, match, tail
from cmrgz.data.importers.tables import frame, read_keys, word

CINE = tail(r"(?P<subject>patient\d+)/(?P=subject)_4d")
SINGLE = tail(r"(?P<subject>patient\d+)/(?P=subject)_frame(?P<frame>\d+)(?P<label>_gt)?")


def claims(path: Path) -> bool:
    """Return whether a file is named as those of ACDC."""
    return any(match(pattern, path) for pattern in (CINE, SINGLE))


def read(root: Path, files: Iterable[Path]) -> Found:
    """Return the cines with group, ED and ES of `Info.cfg` and the label maps of these frames.

    Where the cine of a patient is not there, its frames are the scans.
    """
    del root
    cases: list[Case] = []
    left: dict[Path, str] = {}
    folders: dict[Path, list[Path]] = {}
    for path in files:
        if claims(path):
            folders.setdefault(path.parent, []).append(path)
        else:
            left[path] = UNKNOWN
    for folder, inside in folders.items():
        _read_patient(folder, inside, cases, left)
    return Found(cases, left)


def _read_patient(folder: Path, files: list[Path], cases: list[Case], left: dict[Path, str]) -> None:
    frames = {path: found for path in files if (found := match(SINGLE, path))}
    labels = {int(found["frame"]): path for path, found in frames.items() if found["label"]}
    images = {int(found["frame"]): path for path, found in frames.items() if not found["label"]}
    cines = [path for path in files if path not in frames]
    if cines:
        case = _case(folder, cines[0])
        # Frames count from 1, in names as in Info.cfg.
        cases.append(replace(case, phase_labels=tuple((n - 1, path) for n, path in sorted(labels.items()) if n > 0)))
        labels = {}
        left |= dict.fromkeys(images.values(), FRAME)
    else:
        single = {n: replace(_case(folder, path), ed=None, es=None) for n, path in images.items()}
        cases += [replace(case, label=labels.pop(n, None)) for n, case in single.items()]
    left |= dict.fromkeys(labels.values(), LABEL)


def _case(folder: Path, image: Path) -> Case:
    info = read_keys(folder / "Info.cfg")
    anchor = folder.absolute().parent
    split = "test" if re.fullmatch("testing|test", anchor.name, re.IGNORECASE) else None
    case = make_case(anchor, image, folder.absolute().name, None, word(info.get("group")), split)
    ed, es = (frame(info.get(name), 1) for name in ("ed", "es"))
    return replace(case, ed=ed, es=es)
