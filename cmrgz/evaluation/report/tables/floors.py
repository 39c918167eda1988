"""Models beside their best floor: what they gain on the best of the baselines, red where that is not shown."""

from collections.abc import Sequence

from cmrgz.evaluation.report.document import Alert, Block, Cell, Column, Row, Table
from cmrgz.evaluation.report.names import label, mask_label, of_kind, patterns
from cmrgz.evaluation.report.numerals import interval
from cmrgz.evaluation.report.tables.cells import NOTHING, present
from cmrgz.evaluation.summary.model import Estimate, MaskRow, Summary

FLOORED = (
    *("energy-hole", "psnr-mean-hole", "ssim-hole", "psnr-moving"),
    *("motion-error-moving", "motion-correlation-moving", "temporal-spectrum-hole"),
)
"""Metrics in which a model is looked at beside its floor."""
FAIR = ("energy-hole", "psnr-mean-hole")
"""By which a model that does not beat its floor is told at the head, by the first that there is. Not by single draws:
they lose to a fill without chance even where they are right."""
NOTE = (
    "How much better a model is than the best baseline, named below, over patients that both have: above 0 is better, "
    "whichever way the metric goes. Red: not shown to be better (the 95 % interval does not lie above 0)."
)
MOST = 12
"""Lines of the box at the head of a report."""


def gains(summary: Summary) -> tuple[Table, ...]:
    """Return the gains of all models on their best floors, mask by mask."""
    models = of_kind(summary, "model")
    rows: list[Row] = []
    for mask in _masks(summary):
        own = [(Cell(m.name), *_cells(summary, m.name, mask)) for m in models]
        own = [cells for cells in own if any(cell != NOTHING for cell in cells[1:])]
        rows += [mask_label(mask), *own] if own else []
    columns = (Column("Model", words=True), *(Column(f"{label(name)}", _unit(summary, name)) for name in FLOORED))
    return present([Table("Models less their best floor", columns, tuple(rows), NOTE)])


def alerts(summary: Summary) -> tuple[Block, ...]:
    """Return a box with the models that are not shown to beat a baseline; none where all are."""
    lines = [line for mask in _masks(summary) for line in unbeaten(summary, mask)]
    more = [f"and {len(lines) - MOST} more, see T1"] if len(lines) > MOST else []
    title = "Not shown to beat a fill that needs no model"
    return (Alert(title, (*lines[:MOST], *more), "bad"),) if lines else ()


def unbeaten(summary: Summary, mask: MaskRow) -> list[str]:
    """Return a line for each model that is not shown to beat its floor under a mask."""
    found = []
    for model in of_kind(summary, "model"):
        rows = [
            row for name in FAIR if (row := summary.estimate(model.name, mask.spec, name)) is not None and row.floor
        ]
        if rows and not rows[0].beaten:
            text, note = interval(rows[0].gain, rows[0].gain_low, rows[0].gain_high)
            what = f"{label(rows[0].metric)} {text} {note}".strip()
            found.append(f"{mask.spec}: {model.name} against {rows[0].floor}, {what}")
    return found


def _masks(summary: Summary) -> Sequence[MaskRow]:
    return [mask for _, masks in patterns(summary.masks) for mask in masks]


def _unit(summary: Summary, name: str) -> str:
    return next((row.unit for row in summary.metrics if row.name == name), "")


def _cells(summary: Summary, model: str, mask: MaskRow) -> list[Cell]:
    return [_cell(summary.estimate(model, mask.spec, name)) for name in FLOORED]


def _cell(row: Estimate | None) -> Cell:
    if row is None or not row.floor:
        return NOTHING
    text, note = interval(row.gain, row.gain_low, row.gain_high)
    return Cell(text, f"{note} {row.floor}".strip(), tone="" if row.beaten else "bad")
