"""Cells and rows that several tables share."""

from collections.abc import Callable, Sequence

from cmrgz.evaluation.report.document import Cell, Column, Row, Table, Tone
from cmrgz.evaluation.report.names import KINDS, of_kind
from cmrgz.evaluation.report.numerals import DASH, interval
from cmrgz.evaluation.summary.model import Estimate, MethodRow, SetRow, Summary

METHOD = Column("Method", words=True)
NOTHING = Cell(DASH)
BEST = "Bold: the best model, and those not shown to be worse (paired over patients, Holm)."

Cells = Callable[[MethodRow], Sequence[Cell]]


def estimate_cell(estimate: Estimate | None) -> Cell:
    """Return an estimate with its interval."""
    if estimate is None:
        return NOTHING
    text, note = interval(estimate.value, estimate.low, estimate.high)
    return Cell(text, note, best=estimate.tied)


def set_cell(row: SetRow | None) -> Cell:
    """Return a set metric with its interval, marked where it is outside its range."""
    tone: Tone = "warn" if row is not None and row.far else ""
    return NOTHING if row is None else Cell(*interval(row.value, row.low, row.high), tone=tone)


def by_method(summary: Summary, cells: Cells, kinds: Sequence[str] = tuple(KINDS)) -> tuple[Row, ...]:
    """Return a row a method, kind by kind under its heading; methods of which all cells are empty are left out."""
    rows: list[Row] = []
    for kind in kinds:
        own: list[Row] = []
        for method in of_kind(summary, kind):
            values = tuple(cells(method))
            if any(cell.text != DASH for cell in values):
                own.append((Cell(method.name), *values))
        rows += [KINDS[kind], *own] if own else []
    return tuple(rows)


def filled(table: Table) -> Table:
    """Return a table without the columns that are empty, but for the first."""
    rows = [row for row in table.rows if not isinstance(row, str)]
    kept = [i for i in range(len(table.columns)) if i == 0 or any(row[i].text != DASH for row in rows)]
    columns = tuple(table.columns[i] for i in kept)
    trimmed = tuple(row if isinstance(row, str) else tuple(row[i] for i in kept) for row in table.rows)
    return Table(table.title, columns, trimmed, table.note, table.folded)


def present(tables: Sequence[Table]) -> tuple[Table, ...]:
    """Return the tables that say something, without their empty columns."""
    trimmed = [filled(table) for table in tables if any(not isinstance(row, str) for row in table.rows)]
    return tuple(table for table in trimmed if len(table.columns) > 1)
