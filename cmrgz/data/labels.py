"""Label maps: read, checked against their scan and put in one order, by the same code wherever they are used."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.axes import arranged, placed
from cmrgz.data.importers import Case
from cmrgz.data.importers.label_order import ACDC, LabelOrder
from cmrgz.data.nifti.reader import read
from cmrgz.data.scan import MASK_QUIET, Scan, check_grid
from cmrgz.errors import DataError, warn

RV, MYO, LV = 1, 2, 3
NOISE = 1e-3
"""How far from a whole number a label may lie, by the rounding of a scale."""
MOST = 20
"""Largest value that is a label as it is; larger ones are multiples of a scale, as 0 and 255 are."""
FEW = 10
"""Most values of a label map that nothing but its values tells."""
ENCLOSED = 0.5
"""Share of the border of what myocardium encloses that is myocardium, at least."""

Labels = NDArray[np.uint8]


def load_labels(case: Case, scan: Scan) -> Labels | None:
    """Return the label map of a case on the grid of its scan, or None where it has none.

    Returns:
        (t, z, y, x) uint8: 1 right ventricle, 2 myocardium, 3 left ventricle, 0 what is else and frames that nobody
        drew. A map of one frame is put where its phase is known to be.

    Raises:
        DataError: `shape-mismatch`, also for a map of one frame of which it is not known; `grid-mismatch` (more than
            half a voxel apart); `mask-values` (not whole numbers from 0, or values that the order does not name);
            `label-order` (what the order calls right ventricle is what the myocardium encloses); or what the reader
            refuses.
    """
    if not case.label_files:
        return None
    labels = np.zeros(scan.shape, np.uint8)
    if case.label is not None:
        whole = _read(case.label, scan, case.order)
        if len(whole) != len(labels):
            what = f"labels of one frame, the scan has {len(labels)}, and which one it is is not known"
            hint = "a manifest's column frame says it, from 1"
            raise DataError("shape-mismatch", str(case.label), what, "t z y x", hint)
        labels[...] = whole
    # After the map of all frames, which they overrule: each was drawn for this very frame.
    for frame, path in case.phase_labels:
        one = _read(path, scan, case.order)
        if len(one) != 1 or not 0 <= frame < len(labels):
            facts = f"frame {frame + 1} of {len(labels)}"
            raise DataError("shape-mismatch", str(path), "labels of one frame that the scan does not have", facts)
        labels[frame] = one[0]
    _check_order(labels, case)
    return labels


def _read(path: Path, scan: Scan, order: LabelOrder) -> Labels:
    where, axes = os.fspath(path), scan.geometry.axes
    image = read(path, quiet=MASK_QUIET)
    stored = arranged(image.stored, axes)
    check_grid(where, "labels", stored.shape, placed(image.geometry, axes), scan)
    # Each value is judged once, not each voxel.
    values, index = np.unique(stored, return_inverse=True)
    whole = _whole(values * image.slope + image.inter, where)
    unnamed = order.unnamed(whole)
    if unnamed and order != ACDC:
        raise DataError("mask-values", where, f"what {unnamed[0]} means is not said", f"labels {order}", "see --labels")
    # The usual order keeps further values as they are: who cannot take them says so.
    meant = whole if order == ACDC else order.apply(whole)
    return np.asarray(meant[index].reshape(stored.shape))


def _whole(values: NDArray[Any], where: str) -> Labels:
    """Return label values that may be scaled or off by float rounding as whole numbers."""
    whole = np.rint(values)
    step = values[values > 0].min(initial=np.inf)
    if values.max() > MOST and (values / step).max() <= FEW:  # {0, 255}, {0, 85, 170, 255}
        values = values / step
        whole = np.rint(values)
    if not (np.isfinite(values).all() and (np.abs(values - whole) <= NOISE).all() and 0 <= whole.min()):
        raise DataError("mask-values", where, "labels are whole numbers from 0", f"lowest {values.min():g}")
    if whole.max() > 255:
        raise DataError("mask-values", where, "labels are 0 .. 255", f"highest {values.max():g}", "is this the scan?")
    return whole.astype(np.uint8)


def _check_order(labels: Labels, case: Case) -> None:
    """Refuse labels whose right ventricle is what the myocardium encloses, and whose left one is not."""
    # Myocardium goes all around the left cavity and along one side of the right one: all that a label map itself shows
    # of its order.
    left, right = enclosed(labels, LV), enclosed(labels, RV)
    if right > max(left, ENCLOSED) and (labels == LV).any():
        facts = f"{100 * right:.0f} % of its border, {100 * left:.0f} % of lv"
        swapped = LabelOrder(rv=case.order.lv, myo=case.order.myo, lv=case.order.rv)
        what = f"myo encloses rv by the labels {case.order}"
        raise DataError("label-order", str(case.label_files[0]), what, facts, f"--labels {swapped}")


def enclosed(labels: Labels, value: int) -> float:
    """Return which share of the border of a class in maps (..., h, w) is myocardium, NaN where there is none."""
    inside = labels == value
    border = np.zeros(labels.shape, dtype=bool)
    border[..., 1:, :] |= inside[..., :-1, :]
    border[..., :-1, :] |= inside[..., 1:, :]
    border[..., 1:] |= inside[..., :-1]
    border[..., :-1] |= inside[..., 1:]
    around = labels[border & ~inside]
    return float((around == MYO).mean()) if around.size else float("nan")


# ---------------------------------------------------------------------- a label map in place of a scan
def is_label_map(scan: Scan) -> bool:
    """Return whether the values of a scan are few and whole, 0 among them: those of a label map."""
    seen: set[float] = set()
    for plane in _planes(scan):
        seen.update(np.unique(plane).tolist())
        # One plane of an image has more values than any label map, so that it costs nothing to ask.
        if len(seen) > FEW:
            return False
    values = [value * scan.slope + scan.inter for value in seen]
    small = all(abs(value - round(value)) <= NOISE and 0 <= value <= MOST for value in values)
    return len(values) > 1 and min(values) == 0 and (small or len(values) == 2)


def _planes(scan: Scan) -> Iterator[NDArray[Any]]:
    """Yield the slices of a scan, the middle one first: of an image it tells at once."""
    t, z = scan.shape[0] // 2, scan.shape[1] // 2
    yield scan.stored[t, z]
    yield from (plane for frame in scan.stored for plane in frame)


def refuse_label_map(scan: Scan, case: Case) -> None:
    """Refuse a label map in place of a scan.

    Raises:
        DataError: `label-map`.
    """
    if is_label_map(scan):
        hint = "name it in a manifest's column label, or leave it out"
        raise DataError("label-map", str(case.image), "its values are those of a label map, not of a scan", "", hint)


def warn_of_label_map(scan: Scan, case: Case) -> None:
    """Tell where a scan looks like a label map."""
    if is_label_map(scan):
        warn("label-map", str(case.image), "its values are those of a label map, not of a scan")
