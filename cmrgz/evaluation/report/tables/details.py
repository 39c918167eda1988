"""Paired contrasts of models, biomarkers and memorisation."""

import math
from collections.abc import Iterator, Mapping
from functools import partial

from cmrgz.evaluation.report.document import Cell, Column, Table
from cmrgz.evaluation.report.names import direction, label, mask_label, notes
from cmrgz.evaluation.report.numerals import DASH, interval, level, number, share
from cmrgz.evaluation.report.tables.build import METHOD, NOTHING, by_kind, by_mask, each, numbers, table, words
from cmrgz.evaluation.statistics.bootstrap import Interval
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import BiomarkerRow, ContrastRow, MethodRow

MOST = 30
"""Contrasts of a metric in a table; the rest stands in summary.json."""


def contrasts(summary: Summary) -> Iterator[Table]:
    """Yield a table a mask, the one nearest to half hidden open."""
    fields = [
        words("First − second", lambda row: f"{row.first} − {row.second}"),
        numbers("Difference", lambda row: _cell(row.difference, best=row.p < 0.05)),
        numbers("p", lambda row: level(row.p), "Holm"),
        numbers("Cohen's dz", lambda row: _cell(row.dz)),
        numbers("Cliff's δ", lambda row: _cell(row.cliff)),
        numbers("Detectable", lambda row: number(row.detectable)),
        numbers("Patients", lambda row: str(row.difference.n)),
    ]

    for mask, folded in by_mask(summary):
        own = [row for row in summary.contrasts if row.mask == mask.spec]
        groups = {name: _strongest(own, name) for name in dict.fromkeys(row.metric for row in own)}
        left = len(own) - sum(map(len, groups.values()))
        more = f" The {left} pairs with the largest p are in summary.json alone." if left else ""
        named = [(f"{label(name)} ({direction(name)})", rows) for name, rows in groups.items()]
        yield from table(mask_label(mask), named, fields, notes("contrasts") + more, folded)


def _strongest(rows: list[ContrastRow], metric: str) -> list[ContrastRow]:
    # NaN compares as neither less nor more and would leave the order to chance
    own = [row for row in rows if row.metric == metric]
    return sorted(own, key=lambda row: (math.isnan(row.p), row.p))[:MOST]


def _cell(of: Interval, best: bool = False) -> Cell:
    return Cell(*interval(of.point, of.low, of.high), best=best)


def biomarkers(summary: Summary) -> Iterator[Table]:
    """Yield a table a mask, the one nearest to half hidden open."""
    for mask, folded in by_mask(summary):
        own = {(row.method, row.biomarker): row for row in summary.biomarkers if row.mask == mask.spec}
        heads = {row.biomarker: Column(row.biomarker.replace("_", ", "), row.unit) for row in own.values()}
        fields = [METHOD, *each(heads, partial(_agreement, own), heads.__getitem__)]
        yield from table(f"Bias: {mask_label(mask)}", by_kind(summary), fields, notes("biomarkers"), folded)


def _agreement(rows: Mapping[tuple[str, str], BiomarkerRow], method: MethodRow, name: str) -> Cell:
    row = rows.get((method.name, name))
    if row is None or not math.isfinite(row.bias):
        return NOTHING
    text, limits = interval(row.bias, *row.limits)
    return Cell(text, f"{limits}\nMAE {number(row.mae)}".strip())


def memory(summary: Summary) -> tuple[Table, ...]:
    """Return whether methods give back training frames: by distance, and by how well these are filled."""
    method = words("Method", lambda row: row.method)
    distances = [
        method,
        words("Features", lambda row: row.extractor),
        numbers("Copies", lambda row: share(row.audit.ratio), "↓"),
        numbers("AuthPct", lambda row: number(row.audit.authentic), "% ↑"),
        numbers("C_T", lambda row: number(row.audit.c_t), "≥ 0"),
        numbers("Items", lambda row: str(row.items)),
        words("Note", lambda row: row.reason or DASH),
    ]
    auc = numbers("AUC", lambda row: Cell(*interval(row.auc, row.low, row.high)), "→ 0.5")
    probes = [method, words("Mask", lambda row: row.mask), auc]
    return (
        *table("Memorisation", [("", summary.memory)], distances, notes("memory")),
        *table("Holes in training frames", [("", summary.probes)], probes, notes("probes")),
    )
