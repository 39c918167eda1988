"""T4, paired contrasts of models, and `paper_like` beside `fixed`."""

import math
from collections.abc import Iterator

from cmrgz.evaluation.report.document import Cell, Column, Row, Table
from cmrgz.evaluation.report.names import HEADLINES, direction, label, main_mask, mask_label, metric_column, patterns
from cmrgz.evaluation.report.numerals import interval, level, number
from cmrgz.evaluation.report.tables.cells import estimate_cell, present
from cmrgz.evaluation.summary.model import ContrastRow, MaskRow, Summary

MOST = 120
"""Rows of a table; the rest stands in summary.json."""
PAPER = "preset=paper_like"
NOTE = (
    "Each difference is the first model less the second, over patients that both have. Bold: p below 0.05 after Holm. "
    "The detectable difference is the least one that as many patients show four times in five."
)


def contrasts(summary: Summary) -> tuple[Table, ...]:
    """Return a table a mask, the one nearest to half hidden open."""
    main = main_mask(summary.masks)
    ordered = [mask for _, masks in patterns(summary.masks) for mask in masks]
    return present([_table(summary, mask, folded=mask != main) for mask in ordered])


def _table(summary: Summary, mask: MaskRow, folded: bool) -> Table:
    own = [row for row in summary.contrasts if row.mask == mask.spec]
    rows: list[Row] = []
    for metric in dict.fromkeys(row.metric for row in own):
        kept = sorted((r for r in own if r.metric == metric), key=lambda r: (math.isnan(r.p), r.p))[: MOST // 4]
        known = next((m for m in summary.metrics if m.name == metric), None)
        better = f" ({direction(known.better, known.unit)})" if known else ""
        rows += [f"{label(metric)}{better}", *(_row(row) for row in kept)]
    left = len(own) - sum(not isinstance(row, str) for row in rows)
    note = f"{NOTE} The {left} pairs with the largest p are in summary.json alone." if left else NOTE
    heads = ("Difference", "Holm p", "dz", "Cliff's δ", "Detectable", "Patients")
    columns = (Column("First − second", words=True), *(Column(head) for head in heads))
    return Table(mask_label(mask), columns, tuple(rows), note, folded)


def _row(row: ContrastRow) -> tuple[Cell, ...]:
    return (
        Cell(f"{row.first} − {row.second}"),
        Cell(*interval(row.difference, row.low, row.high), best=row.p < 0.05),
        Cell(level(row.p)),
        Cell(number(row.dz)),
        Cell(number(row.cliff)),
        Cell(number(row.detectable)),
        Cell(str(row.subjects)),
    )


def presets(summary: Summary) -> tuple[Table, ...]:
    """Return models with the settings of the paper beside the same ones as they are fixed here."""
    twins = list(_twins(summary))
    rows: list[Row] = []
    for mask in (mask for _, masks in patterns(summary.masks) for mask in masks if twins):
        rows += [mask_label(mask), *(_pair(summary, name, mask.spec) for pair in twins for name in pair)]
    columns = (Column("Model", words=True), *(metric_column(summary, name) for name in HEADLINES))
    note = "As the paper samples, faults included, beside the same model with them mended: what they cost."
    return present([Table("paper_like beside fixed", columns, tuple(rows), note)])


def _twins(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield the names of each model that is there both ways: fixed, and like the paper."""
    names = [method.name for method in summary.methods]
    for name in names:
        if PAPER in name:
            target, _, words = name.partition(":")
            rest = ",".join(word for word in words.split(",") if word != PAPER)
            fixed = f"{target}:{rest}" if rest else target
            if fixed in names:
                yield fixed, name


def _pair(summary: Summary, method: str, mask: str) -> tuple[Cell, ...]:
    return (Cell(method), *(estimate_cell(summary.estimate(method, mask, name)) for name in HEADLINES))
