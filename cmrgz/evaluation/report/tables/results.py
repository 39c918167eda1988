"""T1, floors and controls, and T3, inpainting by mask and ratio."""

from dataclasses import replace

from cmrgz.evaluation.report.document import Cell, Column, Table
from cmrgz.evaluation.report.names import (
    HEADLINES,
    REFERENCES,
    direction,
    hidden,
    label,
    main_mask,
    mask_label,
    metric_column,
    patterns,
)
from cmrgz.evaluation.report.numerals import number, share
from cmrgz.evaluation.report.tables.cells import BEST, METHOD, by_method, estimate_cell, present, set_cell
from cmrgz.evaluation.report.tables.sets import extractors, set_column
from cmrgz.evaluation.summary.model import MaskRow, MethodRow, Summary

FURTHER = (
    *("psnr-moving", "motion-error-moving", "motion-correlation-moving", "temporal-spectrum-hole", "block-seam"),
    *("fpe-hole", "fne-hole", "sfrc-hole", "topology-violations", "dice-lv"),
)
"""Metrics of the tables by mask beside the headlines and KID."""
KID, PSNR, HOLE = "kid", "psnr-hole", ", hole"


def floors(summary: Summary) -> tuple[Table, ...]:
    """Return T1: what real frames score against real ones, and PSNR and KID of all that is no model."""
    return present([_reals(summary), *_references(summary)])


def inpainting(summary: Summary) -> tuple[Table, ...]:
    """Return T3: a table a mask, the one nearest to half hidden open."""
    main = main_mask(summary.masks)
    ordered = [mask for _, masks in patterns(summary.masks) for mask in masks]
    return present([_of_mask(summary, mask, folded=mask != main) for mask in ordered])


def _of_mask(summary: Summary, mask: MaskRow, folded: bool) -> Table:
    names = extractors(summary)[:1]

    def cells(method: MethodRow) -> list[Cell]:
        best, more = (
            [estimate_cell(summary.estimate(method.name, mask.spec, name)) for name in part]
            for part in (HEADLINES, FURTHER)
        )
        return [*best, *(set_cell(summary.set_row(method.name, mask.spec, name, KID)) for name in names), *more]

    best, more = ([metric_column(summary, name) for name in part] for part in (HEADLINES, FURTHER))
    every = (*best, *(set_column(KID, f"KID, {name}") for name in names), *more)
    columns = (METHOD, *(replace(column, name=column.name.removesuffix(HOLE)) for column in every))
    note = f"In the hole. In brackets: 95 % intervals over patients. {BEST}"
    return Table(mask_label(mask), columns, by_method(summary, cells), note, folded)


def _reals(summary: Summary) -> Table:
    """Return the floor of every set metric by every extractor."""
    found = {(row.metric, row.extractor): row.floor for row in summary.sets if row.average == 1}
    metrics = dict.fromkeys(metric for metric, _ in found)
    names = dict.fromkeys(extractor for _, extractor in found)
    rows = tuple(
        (Cell(name or "images"), *(Cell(number(found.get((metric, name), float("nan")))) for metric in metrics))
        for name in names
    )
    columns = (Column("Features", words=True), *(set_column(metric) for metric in metrics))
    note = "What half of the real frames score against the other half, of other patients: as good as it gets."
    return Table("Real against real", columns, rows, note)


def _references(summary: Summary) -> list[Table]:
    """Return PSNR and KID of what is no model, by what is hidden under the first pattern."""
    found = []
    for pattern, masks in patterns(summary.masks)[:1]:
        psnr = {m.spec: m for m in masks}
        row = next((m for m in summary.metrics if m.name == PSNR), None)
        note = direction(row.better, row.unit) if row else ""
        columns = (METHOD, *(Column(share(hidden(mask)), "hidden") for mask in psnr.values()))

        def errors(method: MethodRow, masks: tuple[MaskRow, ...] = masks) -> list[Cell]:
            return [estimate_cell(summary.estimate(method.name, mask.spec, PSNR)) for mask in masks]

        title = f"{label(PSNR)} ({note}) of what is no model: {pattern}"
        read = "Controls must fail one way: a blurred truth errs little and looks wrong, another patient the reverse."
        found.append(Table(title, columns, by_method(summary, errors, REFERENCES), read))
        for extractor in extractors(summary)[:1]:

            def looks(method: MethodRow, masks: tuple[MaskRow, ...] = masks, name: str = extractor) -> list[Cell]:
                return [set_cell(summary.set_row(method.name, mask.spec, name, KID)) for mask in masks]

            title = f"KID (×1000 ↓) by {extractor} of what is no model: {pattern}"
            found.append(Table(title, columns, by_method(summary, looks, REFERENCES), read))
    return found
