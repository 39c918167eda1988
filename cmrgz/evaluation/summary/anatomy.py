"""Biomarkers: volumes, fractions and masses of results beside those of the truth, by the same segmenter."""

import numpy as np
from numpy.typing import NDArray

from cmrgz.anatomy.agreement import agreement
from cmrgz.anatomy.function import UNITS, biomarkers
from cmrgz.evaluation.summary.estimates import HIDDEN
from cmrgz.evaluation.summary.rows import BiomarkerRow
from cmrgz.evaluation.table import Table

CHAMBERS = ("rv", "myo", "lv")
"""Names in the metrics of areas, in the order of `function.areas`."""

Floats = NDArray[np.float64]


def biomarker_rows(table: Table) -> tuple[BiomarkerRow, ...]:
    """Return the agreement of every method, mask and biomarker; none where no scan has both ends of the cycle."""
    found: list[BiomarkerRow] = []
    for method, info in table.methods.items():
        for mask in table.masks if info.kind not in HIDDEN else ():
            pairs = [pair for pair in _subjects(table, method, mask) if np.isfinite(list(pair[0].values())).any()]
            found += [_row(method, mask, name, pairs) for name in UNITS if pairs]
    return tuple(found)


def _row(method: str, mask: str, name: str, pairs: list[tuple[dict[str, float], dict[str, float]]]) -> BiomarkerRow:
    result = agreement([of_result[name] for _, of_result in pairs], [of_truth[name] for of_truth, _ in pairs])
    low, high = result.limits
    return BiomarkerRow(
        method=method,
        mask=mask,
        biomarker=name,
        unit=UNITS[name],
        bias=result.bias,
        low=low,
        high=high,
        error=result.mae,
        subjects=result.n,
    )


def _subjects(table: Table, method: str, mask: str) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Return the biomarkers of each scan and seed, of truth and result."""
    rows = table.rows(method, mask)
    if not len(rows) or "area-lv-result" not in table.metrics:
        return []
    scans = table.columns["scan"][rows]
    seeds = table.columns["seed"][rows]
    groups = [rows[(scans == s) & (seeds == seed)] for s in np.unique(scans) for seed in np.unique(seeds)]
    return [_measured(table, group) for group in groups if len(group)]


def _measured(table: Table, rows: NDArray[np.int64]) -> tuple[dict[str, float], dict[str, float]]:
    truth, result = (_areas(table, rows, side) for side in ("truth", "result"))
    return biomarkers(truth, result, float(table.columns["step"][rows[0]]))


def _areas(table: Table, rows: NDArray[np.int64], side: str) -> Floats:
    """Return areas (t, z, 3) in mm^2, NaN where a frame was not evaluated."""
    t, z = table.columns["t"][rows], table.columns["z"][rows]
    grid = np.full((int(t.max()) + 1, int(z.max()) + 1, len(CHAMBERS)), np.nan)
    for number, chamber in enumerate(CHAMBERS):
        grid[t, z, number] = table.metrics[f"area-{chamber}-{side}"][rows]
    return grid
