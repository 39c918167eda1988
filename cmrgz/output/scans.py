"""Which scans are meant: files, folders, patterns and manifests."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from cmrgz.data import cases
from cmrgz.data.importers import Case
from cmrgz.data.importers.case import make_case
from cmrgz.errors import DataError

FOLDER = "inpainted"
"""Where the results of several scans go."""


def find_scans(
    sources: Iterable[str | os.PathLike[str]], output: Path | None = None, axes: str | None = None
) -> list[Case]:
    """Return the scans of files, folders, patterns and manifests, in order.

    Args:
        sources: Where they are.
        axes: What each axis of the files is, see `cmrgz.data.axes`; None to decide it from each header.
        output: Where the results go, as in `inpaint_scans`: what lies there is no scan of a folder around it.

    Raises:
        DataError: As `cases.find`, or `not-found` for a name that no file can have.
    """
    results = (output or Path(FOLDER)).absolute()
    found = [(Path(source).absolute(), case) for source in sources for case in _found(Path(source), axes)]
    return [c for at, c in found if not (at in results.parents and results in c.image.absolute().parents)]


def _found(path: Path, axes: str | None) -> list[Case]:
    try:
        if path.suffix.lower() in (".hdr", ".img"):
            return [replace(make_case(path.parent, path, path.stem), axes=axes)]
        return cases.find(path, axes=axes)
    except OSError as error:
        raise DataError("not-found", str(path), f"cannot be looked up: {error.strerror}") from error
