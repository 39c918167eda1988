"""Motion: how the frames of a cine follow one another, of results beside the truth. Needs all phases of a slice."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cmrgz.evaluation.cardiac import agreement, closure, motion_ratio, roughness_ratio
from cmrgz.evaluation.summary.estimates import HIDDEN
from cmrgz.evaluation.summary.model import BiomarkerRow
from cmrgz.evaluation.table import Table

LEAST = 3
"""Phases that a cine needs."""
TRUTH, SAMPLE = 0, 2
"""Where they stand among the pictures of a frame; see `judge.PICTURES`."""

Pair = tuple[float, float]
"""A number of the result, and that of the truth."""


def motion_rows(table: Table) -> tuple[BiomarkerRow, ...]:
    """Return the agreement of motion, of the roughness of the left ventricle's area, and of the return to the start.

    The first two are ratios to the truth, whose own is 1. None where a run has no slice in all its phases.
    """
    found: list[BiomarkerRow] = []
    for method, info in table.methods.items():
        for mask in table.masks if info.kind not in HIDDEN else ():
            of: dict[str, list[Pair]] = {}
            for name, pair in _measured(table, method, mask):
                of.setdefault(name, []).append(pair)
            found += [_row(method, mask, name, pairs) for name, pairs in of.items()]
    return tuple(found)


def _row(method: str, mask: str, name: str, pairs: list[Pair]) -> BiomarkerRow:
    result = agreement([a for a, _ in pairs], [b for _, b in pairs])
    return BiomarkerRow(
        method=method,
        mask=mask,
        biomarker=name,
        unit="",
        bias=result.bias,
        low=result.limits[0],
        high=result.limits[1],
        error=result.mae,
        subjects=result.n,
    )


def _measured(table: Table, method: str, mask: str) -> Iterator[tuple[str, Pair]]:
    """Yield the numbers of every cine."""
    pictures = None
    for rows in _cines(table, method, mask):
        pictures = table.pictures(method, mask) if pictures is None else pictures
        own = [pictures.get(str(frame)) for frame in table.columns["frame"][rows]]
        if all(picture is not None for picture in own):
            stack = np.stack([picture for picture in own if picture is not None]).astype(np.float64)
            yield "motion", (motion_ratio(stack[:, SAMPLE], stack[:, TRUTH]), 1.0)
        if "area-lv-result" in table.metrics:
            result, truth = (table.metrics[f"area-lv-{side}"][rows] for side in ("result", "truth"))
            yield "lv-roughness", (roughness_ratio(result, truth), 1.0)
            yield "lv-closure", (closure(result), closure(truth))


def _cines(table: Table, method: str, mask: str) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each slice that is there in consecutive phases from the first on, in their order."""
    rows = table.rows(method, mask)
    c = table.columns
    places = np.array([f"{c['scan'][r]}|{c['z'][r]}|{c['seed'][r]}" for r in rows])
    for place in np.unique(places):
        own = rows[places == place]
        own = own[np.argsort(c["t"][own])]
        if len(own) >= LEAST and np.array_equal(c["t"][own], np.arange(len(own))):
            yield own
