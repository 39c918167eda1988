"""Biomarkers: volumes, fractions and masses of results beside those of the truth, by the same segmenter."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cmrgz.anatomy.agreement import agreement
from cmrgz.anatomy.function import UNITS, biomarkers
from cmrgz.evaluation.summary.estimates import shown
from cmrgz.evaluation.summary.rows import BiomarkerRow
from cmrgz.evaluation.table import Table

CHAMBERS = ("rv", "myo", "lv")
"""Names in the metrics of areas, in the order of `function.areas`."""

ALL_UNITS = {**UNITS, "wall-motion": "mm", "wall-motion-sectors": "mm"}
"""Of volumes and of motion; ratios have none."""

Floats = NDArray[np.float64]
Pair = tuple[float, float]
"""A number of the result, and that of the truth."""
Measure = Callable[[Table, str, str], Iterator[tuple[str, Pair]]]
"""From a method and a mask of a table to numbers by name, one a scan or a slice."""


def agreements(table: Table, measure: Measure) -> tuple[BiomarkerRow, ...]:
    """Return the agreement of result and truth of every method and mask, in all that `measure` gives of them."""
    found: list[BiomarkerRow] = []
    for method, mask in product(shown(table), table.masks):
        pairs: dict[str, list[Pair]] = {}
        for name, pair in measure(table, method, mask):
            pairs.setdefault(name, []).append(pair)
        for name, own in pairs.items():
            agreed = vars(agreement(*zip(*own, strict=True)))
            found.append(BiomarkerRow(method=method, mask=mask, biomarker=name, unit=ALL_UNITS.get(name, ""), **agreed))
    return tuple(found)


def volumes(table: Table, method: str, mask: str) -> Iterator[tuple[str, Pair]]:
    """Yield the biomarkers of each scan and seed; nothing of a scan without both ends of the cycle."""
    rows = table.rows(method, mask)
    if not len(rows) or "area-lv-result" not in table.metrics:
        return
    scans, seeds = table.columns["scan"][rows], table.columns["seed"][rows]
    for scan, seed in product(np.unique(scans), np.unique(seeds)):
        group = rows[(scans == scan) & (seeds == seed)]
        # a scan and a seed may not go together: then there are no rows
        truth, result = _measured(table, group) if len(group) else ({}, {})
        if np.isfinite(list(truth.values())).any():
            yield from ((name, (result[name], truth[name])) for name in UNITS)


def _measured(table: Table, rows: NDArray[np.int64]) -> tuple[dict[str, float], dict[str, float]]:
    truth, result = (_areas(table, rows, side) for side in ("truth", "result"))
    return biomarkers(truth, result, float(table.columns["step"][rows[0]]))


def _areas(table: Table, rows: NDArray[np.int64], side: str) -> Floats:
    """Return areas (t, z, 3) in mm^2, NaN where a frame was not evaluated."""
    t, z = table.columns["t"][rows], table.columns["z"][rows]
    # a frame that was not evaluated is not a heart without area
    grid = np.full((int(t.max()) + 1, int(z.max()) + 1, len(CHAMBERS)), np.nan)
    for number, chamber in enumerate(CHAMBERS):
        grid[t, z, number] = table.metrics[f"area-{chamber}-{side}"][rows]
    return grid
