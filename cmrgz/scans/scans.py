"""Which scans are meant, files, folders, patterns and manifests, and where their results go."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from cmrgz.data import cases
from cmrgz.data.importers import Case
from cmrgz.data.importers.case import make_case
from cmrgz.durable import is_folder
from cmrgz.errors import UsageError
from cmrgz.scans.files import NIFTI, strip

FOLDER = "inpainted"
"""Where the results of several scans go."""
USUAL = "_inpainted.nii.gz"
"""How the name of a result ends."""


def find_scans(
    sources: Iterable[str | os.PathLike[str]],
    output: Path | None = None,
    axes: str | None = None,
    labels: str | None = None,
) -> list[Case]:
    """Return the scans of files, folders, patterns and manifests, in order; files named one by one are one data set.

    Args:
        sources: Where they are.
        output: Where the results go, as in `inpaint_scans`: what lies there is no scan of a folder around it.
        axes: As in `cases.look`.
        labels: As in `cases.look`.

    Raises:
        UsageError: As `cases.look`.
        DataError: As `cases.look_all`, or `not-found` for a name that no file can have.
    """
    results = (output or Path(FOLDER)).absolute()
    paths = [Path(source) for source in sources]
    named = {path.absolute() for path in paths}
    # Whoever names the folder of results itself means what is in it.
    inside = any(path == results or results in path.parents for path in named)

    def is_result(image: Path) -> bool:
        return not inside and image not in named and results in image.parents

    kept = [case for case in _found(paths) if not is_result(case.image.absolute())]
    return cases.told(kept, axes, labels)


def _found(paths: Sequence[Path]) -> list[Case]:
    # Importers of data sets know no images in two files, which are named here by either of them.
    pairs = [path for path in paths if path.suffix.lower() in (".hdr", ".img")]
    others = [path for path in paths if path not in pairs]
    found = [case for data in cases.find_all(others) for case in data]
    return found + [make_case(path.parent, path, path.stem) for path in pairs]


def places(found: Sequence[Case], output: Path | None, end: str = USUAL) -> list[Path]:
    """Return where the result of each scan goes.

    Names of several scans that collide keep the folders that tell them apart, and then all keep theirs.

    Args:
        found: The scans.
        output: As in `inpaint_scans`.
        end: How the name of a result ends.

    Raises:
        UsageError: `usage` where one file is named for several scans.
    """
    names = [strip(case.image.name) + end for case in found]
    if output is not None and output.name.lower().endswith(NIFTI) and not is_folder(output):
        if len(found) > 1:
            raise UsageError("usage", "option --output", f"is one file for {len(found)} scans", hint="name a folder")
        return [output]
    folder = output if output is not None else Path(FOLDER) if len(found) > 1 else Path()
    twins = max(Counter(map(str.casefold, names)).values(), default=0) > 1
    # One rule for all of a batch: a name should not depend on whether it has a twin.
    folders = _folders([case.image.absolute().parent for case in found]) if twins else [Path()] * len(found)
    return [folder / inner / name for inner, name in zip(folders, names, strict=True)]


def _folders(parents: Sequence[Path]) -> list[Path]:
    """Return folders relative to the one that holds them all."""
    root = os.path.commonpath(parents)
    return [Path(os.path.relpath(parent, root)) for parent in parents]
