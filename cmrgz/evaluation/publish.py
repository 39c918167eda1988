"""Publish a run from its files alone: its summary, its report, and the headline numbers as text for a terminal."""

import math
from pathlib import Path

from cmrgz.data.shares import percent
from cmrgz.durable import remove_stale
from cmrgz.evaluation.report import write
from cmrgz.evaluation.report.tables.floors import unbeaten
from cmrgz.evaluation.summary.build import summarise
from cmrgz.evaluation.summary.estimates import shown
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import Estimate
from cmrgz.evaluation.table import Table

COLUMNS = ("psnr-hole", "psnr-mean-hole", "ssim-hole", "energy-hole", "kappa")
KIDS = ("segmenter", "radiomics", "random")
ORDER = ("model", "baseline", "bound", "control")


def publish(root: Path) -> tuple[Summary, list[Path]]:
    """Write the report of a run, done or going on, and return its summary and the files, the HTML page first.

    Raises:
        CheckpointError: The journal or a file of the run is damaged; no cell is done.
        ResourceError: The folder cannot be written.
    """
    remove_stale(root)  # what a death left while it wrote the report before
    table = Table.read(root)
    summary = summarise(table)
    pictures = {(method, mask): table.pictures(method, mask) for method in shown(table) for mask in table.masks}
    return summary, write(summary, pictures, root)


def lines(summary: Summary) -> list[str]:
    """Return a table for each mask: methods by kind, mean [95 % interval over patients] of the headline metrics."""
    found = [
        f"{summary.cells} cells, {summary.frames} frames of {summary.subjects} patients",
        *summary.caveats,
        *(f"GATE FAILED: {gate.name}: {gate.detail}" for gate in summary.gates if gate.status == "fail"),
    ]
    for mask in summary.masks:
        found += ["", f"{mask.spec}: {percent(mask.hidden)} hidden", *_rows(summary, mask.spec)]
        found += [f"not shown to beat its floor: {line}" for line in unbeaten(summary, mask)]
    if any(estimate.tied for estimate in summary.estimates):
        found += ["", "* the best model, or not shown to be worse than it"]
    return found


def _rows(summary: Summary, mask: str) -> list[str]:
    kids = [name for name in KIDS if any(row.extractor == name for row in summary.sets)]
    head = ["method", *COLUMNS, *(f"kid {name}" for name in kids), "s a draw", "calls"]
    rows = [head]
    for kind in ORDER:
        for method in (m for m in summary.methods if m.kind == kind):
            own = [_cell(summary.estimate(method.name, mask, metric)) for metric in COLUMNS]
            if not any(own):  # a bound or a control of other masks
                continue
            sets = [summary.set_row(method.name, mask, name, "kid") for name in kids]
            own += ["" if row is None or math.isnan(row.value) else f"{row.value:.3g}" for row in sets]
            rows.append([method.name, *own, f"{method.seconds:.2g}", f"{method.calls:.0f}" if method.calls else ""])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(estimate: Estimate | None) -> str:
    """Return `value [low, high]`, with a star where tied with the best."""
    if estimate is None or math.isnan(estimate.value):
        return ""
    # None of one patient, and of what was not resampled: no number is given a certainty that nobody measured.
    interval = "" if math.isnan(estimate.low) else f" [{estimate.low:.3g}, {estimate.high:.3g}]"
    return f"{estimate.value:.4g}{interval}{'*' if estimate.tied else ''}"
