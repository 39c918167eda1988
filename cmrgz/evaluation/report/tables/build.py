"""Tables as data: a table is a list of fields, each the head of a column and what makes its cells."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cmrgz.evaluation.report.document import Cell, Column, Row, Table
from cmrgz.evaluation.report.names import KINDS, column, main_mask, mask_label, of_kind, ordered
from cmrgz.evaluation.report.numerals import DASH, interval
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import MaskRow

Show = Callable[[Any], Cell | str]
Group = tuple[str, Iterable[Any]]
"""A heading, or "", and the items that have a row each."""
NOTHING = Cell(DASH)


@dataclass(frozen=True)
class Field:
    """A column of a table: its head, and what shows an item in it."""

    column: Column
    show: Show

    def cell(self, item: Any) -> Cell:
        """Return the cell of an item."""
        shown = self.show(item)
        return shown if isinstance(shown, Cell) else Cell(shown)


def words(name: str, show: Show) -> Field:
    """Return a column of words."""
    return Field(Column(name, words=True), show)


def numbers(name: str, show: Show, note: str = "") -> Field:
    """Return a column of numbers; the note is the unit and which values are good."""
    return Field(Column(name, note), show)


def each(
    things: Iterable[Any], show: Callable[[Any, Any], Cell | str], head: Callable[[Any], Column] = column
) -> list[Field]:
    """Return a column for each of some things, metrics if not told otherwise: `show` is given an item and the thing."""
    return [Field(head(of), partial(lambda of, item: show(item, of), of)) for of in things]


METHOD = words("Method", lambda method: method.name)
MODEL = words("Model", lambda pair: pair[1])


def table(
    title: str, groups: Iterable[Group], fields: Sequence[Field], note: str = "", folded: bool = False
) -> tuple[Table, ...]:
    """Return a table without rows, columns and headings that say nothing; no table where nothing is left.

    Args:
        title: What it shows.
        groups: The items by heading; the first field names them and does not count as saying something.
        fields: The columns.
        note: How to read it.
        folded: Whether it is closed until it is asked for.
    """
    rows: list[Row] = []
    for heading, items in groups:
        own = [tuple(field.cell(item) for field in fields) for item in items]
        # the name of a row alone says nothing
        own = [row for row in own if any(cell.text != DASH for cell in row[1:])]
        rows += [*([heading] if heading and own else []), *own]
    cells = [row for row in rows if not isinstance(row, str)]
    kept = [i for i in range(len(fields)) if i == 0 or any(row[i].text != DASH for row in cells)]
    trimmed = tuple(row if isinstance(row, str) else tuple(row[i] for i in kept) for row in rows)
    columns = tuple(fields[i].column for i in kept)
    return (Table(title, columns, trimmed, note, folded),) if cells else ()


def by_kind(summary: Summary, kinds: Iterable[str] = KINDS) -> list[Group]:
    """Return the methods of some kinds, each kind under its heading."""
    return [(KINDS[kind], of_kind(summary, kind)) for kind in kinds]


def by_mask(summary: Summary) -> Iterator[tuple[MaskRow, bool]]:
    """Yield each mask, and whether to fold its table: that of the mask nearest to half hidden is open."""
    main = main_mask(summary.masks)
    yield from ((mask, mask != main) for mask in ordered(summary.masks))


def pairs(summary: Summary, methods: Sequence[str]) -> list[Group]:
    """Return for each mask the pairs of its text and a method, under its label."""
    return [(mask_label(mask), [(mask.spec, name) for name in methods]) for mask in ordered(summary.masks)]


def estimate_cell(summary: Summary, method: str, mask: str, metric: str) -> Cell:
    """Return an estimate with its interval."""
    row = summary.estimate(method, mask, metric)
    return NOTHING if row is None else Cell(*interval(row.value, row.low, row.high), best=row.tied)


def set_cell(summary: Summary, method: str, mask: str, extractor: str, metric: str) -> Cell:
    """Return a set metric with its interval, coloured where it is outside its range."""
    row = summary.set_row(method, mask, extractor, metric)
    return NOTHING if row is None else Cell(*interval(row.value, row.low, row.high), tone="warn" if row.far else "")
