"""Which scans are meant: files, folders, patterns and manifests."""

import os
from collections.abc import Iterable
from pathlib import Path

from cmrgz.data import cases
from cmrgz.data.importers import Case
from cmrgz.data.importers.case import make_case
from cmrgz.errors import DataError

FOLDER = "inpainted"
"""Where the results of several scans go."""


def find_scans(
    sources: Iterable[str | os.PathLike[str]],
    output: Path | None = None,
    axes: str | None = None,
    labels: str | None = None,
) -> list[Case]:
    """Return the scans of files, folders, patterns and manifests, in order.

    Args:
        sources: Where they are.
        output: Where the results go, as in `inpaint_scans`: what lies there is no scan of a folder around it.
        axes: As in `cases.find`.
        labels: As in `cases.find`.

    Raises:
        UsageError: As `cases.find`.
        DataError: As `cases.find`, or `not-found` for a name that no file can have.
    """
    results = (output or Path(FOLDER)).absolute()
    found = [(Path(source).absolute(), case) for source in sources for case in _found(Path(source))]
    kept = [c for at, c in found if not (at in results.parents and results in c.image.absolute().parents)]
    return cases.told(kept, axes, labels)


def _found(path: Path) -> list[Case]:
    try:
        if path.suffix.lower() in (".hdr", ".img"):
            return [make_case(path.parent, path, path.stem)]
        return cases.find(path)
    except OSError as error:
        raise DataError("not-found", str(path), f"cannot be looked up: {error.strerror}") from error
