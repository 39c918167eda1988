"""T2: set metrics of results beside real frames, by extractor; generation first."""

from cmrgz.evaluation.metrics.sets import SET_METRICS
from cmrgz.evaluation.report.document import Cell, Column, Row, Table
from cmrgz.evaluation.report.names import direction, hidden, label, mask_label, patterns
from cmrgz.evaluation.report.numerals import DASH, number
from cmrgz.evaluation.report.tables.cells import METHOD, NOTHING, by_method, present, set_cell
from cmrgz.evaluation.summary.model import MaskRow, MethodRow, Summary

NOTE = (
    "In brackets: 95 % intervals over patients. The last row is the floor, half of the real frames against the other."
)


def set_column(metric: str, name: str = "") -> Column:
    """Return the head of a column of a set metric."""
    known = SET_METRICS.get(metric)
    return Column(name or label(metric), direction(known.better, known.unit) if known else "")


def extractors(summary: Summary) -> list[str]:
    """Return the names of the extractors, the primary one first; metrics of images have none."""
    return [name for name in dict.fromkeys(row.extractor for row in summary.sets) if name]


def unconditional(summary: Summary) -> tuple[Table, ...]:
    """Return the tables of masks that hide everything, one an extractor."""
    return _tables(summary, [mask for mask in summary.masks if hidden(mask) >= 1], folded=False)


def conditional(summary: Summary) -> tuple[Table, ...]:
    """Return the tables of all other masks, folded."""
    ordered = [mask for _, masks in patterns(summary.masks) for mask in masks]
    return _tables(summary, [mask for mask in ordered if hidden(mask) < 1], folded=True)


def reasons(summary: Summary) -> tuple[str, ...]:
    """Return why set metrics are not defined, each reason once with the metrics that it is of."""
    found: dict[str, dict[str, None]] = {}
    for row in summary.sets:
        if row.reason:
            found.setdefault(row.reason, {})[label(row.metric)] = None
    return tuple(sorted(f"{', '.join(metrics)}: {reason}" for reason, metrics in found.items()))


def _tables(summary: Summary, masks: list[MaskRow], folded: bool) -> tuple[Table, ...]:
    names = list(dict.fromkeys(row.extractor for row in summary.sets))
    return present([_table(summary, mask, name, folded or name != names[0]) for mask in masks for name in names])


def _table(summary: Summary, mask: MaskRow, extractor: str, folded: bool) -> Table:
    own = [r for r in summary.sets if (r.mask, r.extractor, r.average) == (mask.spec, extractor, 1)]
    metrics = list(dict.fromkeys(row.metric for row in own))
    found = {(row.method, row.metric): row for row in own}
    items = {row.method: row.items for row in own}

    def cells(method: MethodRow) -> list[Cell]:
        values = [set_cell(found.get((method.name, metric))) for metric in metrics]
        empty = all(value.text == DASH for value in values)
        return [*values, NOTHING if empty else Cell(str(items[method.name]))]

    columns = (METHOD, *(set_column(metric) for metric in metrics), Column("Items"))
    rows = by_method(summary, cells)
    floor = {row.metric: row.floor for row in own}
    last: Row = (Cell("real against real"), *(Cell(number(floor[metric])) for metric in metrics), NOTHING)
    title = f"{mask_label(mask)}: by {extractor or 'the images themselves'}"
    return Table(title, columns, (*rows, "Floor", last) if rows else (), NOTE, folded)
