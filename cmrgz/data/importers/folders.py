"""Any other directory of scans, with label maps beside them.

It serves the Sunnybrook conversion (`X_cine` + `X_label`), phantom folders (`cine` + `labels`) and trees of no known
name.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from cmrgz.data.importers.case import Found, make_case
from cmrgz.data.importers.files import stem
from cmrgz.data.importers.patients import Patient, patients_of

PAIRS = (("_cine", "_label"), ("cine", "labels"), ("", "_label"), ("", "_labels"), ("", "_gt"), ("", "_seg"))
"""How the name of an image and of its label map end."""


def read(root: Path, files: Iterable[Path]) -> Found:
    """Return all scans, each with the label map beside it. Whose they are is told by `patients_of`."""
    files = list(files)
    labels = dict(pairs(files))
    images = [path for path in files if path not in set(labels.values())]
    whose = zip(images, patients(root, images), strict=True)
    return Found([make_case(root, path, who.name, labels.get(path), told_by=who.how) for path, who in whose])


def patients(root: Path, images: list[Path]) -> list[Patient]:
    """Return the patients of scans below a folder, by their names."""
    names = [PurePath(os.path.relpath(path, root)) for path in images]
    # The true name: of `.` or of a link a patient would be called so.
    return patients_of(names, os.path.basename(os.path.realpath(root))) if images else []


def pairs(scans: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield (image, its label map)."""
    at = {(path.parent, stem(path)): path for path in scans}
    for (folder, name), path in at.items():
        for image, label in PAIRS:
            partner = at.get((folder, name.removesuffix(image) + label)) if name.endswith(image) else None
            if partner is not None and partner != path:
                yield path, partner
                break
