"""A scan that others are generated like: on its grid, and given what is kept of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.hashes import sha256_of_file
from cmrgz.data.importers import Case
from cmrgz.data.labels import warn_of_label_map
from cmrgz.data.scan import Scan, load
from cmrgz.errors import UsageError
from cmrgz.scans.hiding import Hiding
from cmrgz.scans.scans import find_scans


@dataclass(frozen=True, eq=False)
class Like:
    """A scan that others are generated like.

    Attributes:
        scan: Its grid; its voxels, where any are kept, else zeros.
        known: (t, z, y, x) bool, what is kept.
        files: What must not be written.
        facts: What a sidecar says of it.
    """

    scan: Scan
    known: NDArray[np.bool_]
    files: tuple[Path, ...]
    facts: dict[str, Any]

    @classmethod
    def read(cls, source: str, hiding: Hiding | None, axes: str | None = None) -> "Like":
        """Read a scan.

        Args:
            source: Where it is.
            hiding: What of it is not kept; None keeps nothing.
            axes: As in `cases.look`.

        Raises:
            UsageError: `usage`: it is not one scan; the mask cannot be drawn.
            DataError: The scan or the mask is refused.
        """
        found = find_scans([source], axes=axes)
        if len(found) != 1:
            raise UsageError("usage", "option --like", f"is one scan, found {len(found)}", hint="name a file")
        case = found[0]
        scan = load(case.image, axes=case.axes)
        if hiding is None:
            # Of a scan of which nothing is kept no voxel may reach the result, not even by its type, scale or offset.
            empty = Scan(np.zeros(scan.shape, np.int16), 1.0, 0.0, scan.geometry)
            return cls(empty, np.zeros(scan.shape, dtype=bool), _files(case, None), {"mask": None, **_input(case)})
        warn_of_label_map(scan, case)
        known = hiding.known(scan, case)
        return cls(scan, known, _files(case, hiding), {"mask": hiding.describe(known), **_input(case)})


def _input(case: Case) -> dict[str, Any]:
    return {"input": {"sha256": sha256_of_file(case.image)}}


def _files(case: Case, hiding: Hiding | None) -> tuple[Path, ...]:
    mask = [hiding.what] if hiding is not None and isinstance(hiding.what, Path) else []
    return (case.image, *case.label_maps, *mask)
