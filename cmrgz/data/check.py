"""Check every scan of a data set, header and contents, and report all that is wrong at once."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cmrgz.data import geometry as grids
from cmrgz.data.importers import Case
from cmrgz.data.nifti import read
from cmrgz.data.scan import MASK_QUIET, Scan, load
from cmrgz.errors import CmrgzError, DataError, ResourceError, warn


def check(cases: Sequence[Case], progress: Callable[[int], None] | None = None) -> list[CmrgzError]:
    """Return what is wrong with the scans and their label maps, one error per bad file; one scan in memory at a time.

    Warns of scans that can be used but are unusual, and where scans differ in their number of frames.

    Args:
        cases: The scans.
        progress: Called with the number of scans done.
    """
    bad: list[CmrgzError] = []
    frames: set[int] = set()
    for done, case in enumerate(cases, 1):
        try:
            scan = load(case.image, axes=case.axes)
            frames.add(scan.shape[0])
            if case.label is not None:
                check_label(case.label, scan)
        except (DataError, ResourceError) as error:
            bad.append(error)
        if progress is not None:
            progress(done)
    if len(frames) > 1:
        warn("dims", "data set", "scans differ in their number of frames", f"{min(frames)} .. {max(frames)}")
    return bad


def check_label(path: Path, scan: Scan) -> None:
    """Refuse a label map that does not belong to a scan.

    Raises:
        DataError: `shape-mismatch`, `grid-mismatch` (more than half a voxel apart), `mask-values` (not whole numbers
            from 0), or what the reader refuses.
    """
    where = os.fspath(path)
    image = read(path, quiet=MASK_QUIET)
    shape = image.stored.shape[::-1]
    if shape[1:] != scan.shape[1:] or shape[0] not in (1, scan.shape[0]):
        what = f"the labels have shape {' x '.join(map(str, shape))}, the scan {' x '.join(map(str, scan.shape))}"
        raise DataError("shape-mismatch", where, what, "t z y x")
    voxels, mm = grids.distance(scan.geometry.affine, image.geometry.affine, shape[:0:-1])
    if not voxels <= grids.APART:
        facts = f"labels {grids.orientation(image.geometry.affine)}, scan {grids.orientation(scan.geometry.affine)}"
        raise DataError("grid-mismatch", where, f"the labels lie {mm:.3g} mm from the scan", facts)
    values = np.unique(image.stored) * image.slope + image.inter
    if not ((values >= 0) & (values == np.rint(values))).all():
        raise DataError("mask-values", where, "labels are whole numbers from 0", f"lowest {values.min():g}")
