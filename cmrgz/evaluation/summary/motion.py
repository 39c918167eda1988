"""Motion: how the frames of a cine follow one another, and how far the wall moves, of results beside the truth.

The former needs all phases of a slice; the latter a slice at both ends of the cycle.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cmrgz.evaluation.cycle import closure, motion_ratio, roughness_ratio
from cmrgz.evaluation.summary.anatomy import Pair
from cmrgz.evaluation.table import Table

LEAST = 3
"""Phases that a cine needs."""
TRUTH, SAMPLE = 0, 2
"""Where they stand among the pictures of a frame; see `scoring.PICTURES`."""

Floats = NDArray[np.float64]


def motion(table: Table, method: str, mask: str) -> Iterator[tuple[str, Pair]]:
    """Yield motion, roughness of the left ventricle's area, return to the start, and wall motion.

    The first two are ratios to the truth, whose own is 1; they and the third are of slices that are there in all
    phases. Wall motion is that of `excursions`: the mean over the sectors, and by how much one errs, whose own is 0.
    """
    yield from _cycles(table, method, mask)
    yield from _wall(table, method, mask)


def _cycles(table: Table, method: str, mask: str) -> Iterator[tuple[str, Pair]]:
    """Yield the numbers of every cine."""
    cines = list(_cines(table, method, mask))
    # read where there is a cine at all: the pictures of a run are many files
    pictures = table.pictures(method, mask) if cines else {}
    for rows in cines:
        frames = table.columns["frame"][rows].tolist()
        if pictures.keys() >= set(frames):
            stack = np.stack([pictures[frame] for frame in frames]).astype(np.float64)
            yield "motion", (motion_ratio(stack[:, SAMPLE], stack[:, TRUTH]), 1.0)
        if "area-lv-result" in table.metrics:
            result, truth = (table.metrics[f"area-lv-{side}"][rows] for side in ("result", "truth"))
            yield "lv-roughness", (roughness_ratio(result, truth), 1.0)
            yield "lv-closure", (closure(result), closure(truth))


def _wall(table: Table, method: str, mask: str) -> Iterator[tuple[str, Pair]]:
    """Yield the wall motion of every slice that is there at both ends of the cycle."""
    rows, c = table.rows(method, mask), table.columns
    if not len(rows) or "radii" not in table.array_names(int(rows[0])):
        return
    radii = dict(zip(rows.tolist(), table.arrays(rows, "radii").astype(np.float64), strict=True))
    ends = {(c["scan"][r], c["z"][r], c["seed"][r], c["role"][r]): radii[int(r)] for r in rows if c["role"][r]}
    for (scan, z, seed, role), diastole in ends.items():
        systole = ends.get((scan, z, seed, "ES"))
        if role == "ED" and systole is not None:
            true, result = excursions(diastole, systole)
            yield "wall-motion", (float(result.mean()), float(true.mean()))
            yield "wall-motion-sectors", (float(np.abs(result - true).mean()), 0.0)


def excursions(diastole: Floats, systole: Floats) -> Floats:
    """Return how far the inner edge of the wall moves inwards from ED to ES, mm: (2, sectors) of truth and result.

    NaN where a sample has no left ventricle. About the centroid of each phase, so that a heart that moves as a whole
    does not contract; a sector that stays while others move is then seen to move less, not to stand still. No strain:
    that is of the wall itself, which moves along its edge too.

    Args:
        diastole: Radii (2, sectors) of the cavity, see `function.cavity_radii`.
        systole: The same.
    """
    return diastole - systole


def _cines(table: Table, method: str, mask: str) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each slice that is there in consecutive phases from the first on, in their order."""
    rows = table.rows(method, mask)
    c = table.columns
    places = np.array([f"{c['scan'][r]}|{c['z'][r]}|{c['seed'][r]}" for r in rows])
    for place in np.unique(places):
        own = rows[places == place]
        own = own[np.argsort(c["t"][own])]
        # a phase that is missing would count as a fast movement
        if len(own) >= LEAST and np.array_equal(c["t"][own], np.arange(len(own))):
            yield own
