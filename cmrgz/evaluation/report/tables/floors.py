"""Models beside their best floor: what they gain on the best of the baselines, red where no gain is shown."""

from cmrgz.evaluation.report.document import Alert, Block, Cell, Column, Table
from cmrgz.evaluation.report.names import label, notes, of_kind, ordered
from cmrgz.evaluation.report.numerals import interval
from cmrgz.evaluation.report.tables.build import MODEL, NOTHING, each, pairs, table
from cmrgz.evaluation.summary.derived import meaning
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import Estimate, MaskRow

FLOORED = (
    *("energy-hole", "psnr-mean-hole", "ssim-hole", "psnr-moving"),
    *("motion-error-moving", "motion-correlation-moving", "temporal-spectrum-hole"),
)
"""Metrics in which a model is looked at beside its floor."""
FAIR = ("energy-hole", "psnr-mean-hole")
"""By which a model that does not beat its floor is told at the head, by the first that there is. Not by single draws:
they lose to a fill without chance even where they are right."""
MOST = 12
"""Lines of the box at the head of a report."""


def gains(summary: Summary) -> tuple[Table, ...]:
    """Return the gains of all models on their best floors, mask by mask."""
    models = [model.name for model in of_kind(summary, "model")]

    gain = each(
        FLOORED,
        lambda pair, name: _cell(summary.estimate(pair[1], pair[0], name)),
        # the unit without its arrow: a gain is better above 0, whichever way the metric goes
        lambda name: Column(label(name), meaning(name)[1]),
    )
    return table("Models less their best floor", pairs(summary, models), [MODEL, *gain], notes("gains"))


def _cell(row: Estimate | None) -> Cell:
    if row is None or not row.floor:
        return NOTHING
    text, note = interval(row.gain, row.gain_low, row.gain_high)
    return Cell(text, f"{note}\n{row.floor}".strip(), tone="" if row.beaten else "bad")


def alerts(summary: Summary) -> tuple[Block, ...]:
    """Return a box with the models that are not shown to beat a baseline; none where all are."""
    lines = [line for mask in ordered(summary.masks) for line in unbeaten(summary, mask)]
    more = [f"and {len(lines) - MOST} more, see Floors and controls"] if len(lines) > MOST else []
    title = "Not shown to beat a fill that needs no model"
    return (Alert(title, (*lines[:MOST], *more), "bad"),) if lines else ()


def unbeaten(summary: Summary, mask: MaskRow) -> list[str]:
    """Return a line for each model that is not shown to beat its floor under a mask."""
    found = []
    for model in of_kind(summary, "model"):
        rows = [summary.estimate(model.name, mask.spec, name) for name in FAIR]
        row = next((row for row in rows if row is not None and row.floor), None)
        if row is not None and not row.beaten:
            text, note = interval(row.gain, row.gain_low, row.gain_high)
            gain = f"it gains {text} {note}".strip()
            found.append(f"{mask.spec}: {model.name} against {row.floor}, {gain} in {label(row.metric)}")
    return found
