"""Biomarkers and memorisation."""

from cmrgz.evaluation.report.document import Cell, Column, Table
from cmrgz.evaluation.report.names import main_mask, mask_label, patterns
from cmrgz.evaluation.report.numerals import DASH, interval, number, share
from cmrgz.evaluation.report.tables.cells import METHOD, NOTHING, by_method, present
from cmrgz.evaluation.summary.model import BiomarkerRow, MaskRow, MethodRow, Summary

READ = "Mean of result less truth over patients, in brackets the 95 % limits of agreement; the same slices for both."
COPIES = (
    "Copies: results nearer to a training frame than 99 % of real test frames are (1 % is none). AuthPct: results that "
    "are farther from their nearest training frame than that is from its own nearest. C_T below 0 is copying."
)


def biomarkers(summary: Summary) -> tuple[Table, ...]:
    """Return a table a mask, the one nearest to half hidden open."""
    main = main_mask(summary.masks)
    ordered = [mask for _, masks in patterns(summary.masks) for mask in masks]
    return present([_table(summary, mask, folded=mask != main) for mask in ordered])


def _table(summary: Summary, mask: MaskRow, folded: bool) -> Table:
    own = [row for row in summary.biomarkers if row.mask == mask.spec]
    units = {row.biomarker: row.unit for row in own}
    found = {(row.method, row.biomarker): row for row in own}

    def cells(method: MethodRow) -> list[Cell]:
        return [_cell(found.get((method.name, name))) for name in units]

    columns = (METHOD, *(Column(name.replace("_", ", "), unit) for name, unit in units.items()))
    return Table(f"Bias: {mask_label(mask)}", columns, by_method(summary, cells), READ, folded)


def _cell(row: BiomarkerRow | None) -> Cell:
    return NOTHING if row is None else Cell(*interval(row.bias, row.low, row.high))


def memory(summary: Summary) -> tuple[Table, ...]:
    """Return whether methods give back training frames."""
    rows = tuple(
        (
            Cell(row.method),
            Cell(row.extractor),
            Cell(share(row.ratio)),
            Cell(f"{number(row.authentic)}"),
            Cell(number(row.copying)),
            Cell(str(row.items)),
            Cell(row.reason or DASH),
        )
        for row in summary.memory
    )
    heads = (Column("Copies", "↓"), Column("AuthPct", "% ↑"), Column("C_T", "≥ 0"), Column("Items"))
    columns = (METHOD, Column("Features", words=True), *heads, Column("Note", words=True))
    table = Table("Memorisation", columns, rows, COPIES)
    return present([table])
