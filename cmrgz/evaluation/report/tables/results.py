"""Scores: of what is no model, of results by mask, of sets of results, and `paper_like` beside `fixed`."""

import math
from collections.abc import Callable, Iterator
from functools import partial

from cmrgz.evaluation.report.document import Cell, Column, Table
from cmrgz.evaluation.report.names import (
    HEADLINES,
    REFERENCES,
    column,
    direction,
    hidden,
    label,
    mask_label,
    notes,
    ordered,
    patterns,
)
from cmrgz.evaluation.report.numerals import DASH, number, share
from cmrgz.evaluation.report.tables import build
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import MaskRow, MethodRow

FURTHER = (
    *("psnr-moving", "motion-error-moving", "motion-correlation-moving", "temporal-spectrum-hole", "block-seam"),
    *("fpe-hole", "fne-hole", "sfrc-hole", "topology-violations", "dice-lv"),
)
"""Metrics of the tables by mask beside the headlines and KID."""
KID, PSNR, REAL = "kid", "psnr-hole", "real against real"
PAPER = "preset=paper_like"


def extractors(summary: Summary) -> list[str]:
    """Return the names of the extractors, the primary one first; metrics of images have none."""
    return [name for name in dict.fromkeys(row.extractor for row in summary.sets) if name]


def floors(summary: Summary) -> tuple[Table, ...]:
    """Return what real frames score against real ones, and PSNR and KID of all that is no model."""
    return (*_reals(summary), *_references(summary))


def _reals(summary: Summary) -> tuple[Table, ...]:
    """Return the floor of every set metric by every extractor."""
    found = {(row.extractor, row.metric): row.floor for row in summary.sets if row.average == 1}
    names, metrics = (dict.fromkeys(key[i] for key in found) for i in range(2))
    scores = build.each(metrics, lambda name, metric: number(found.get((name, metric), math.nan)))
    features = build.words("Features", lambda name: name or "images")
    return build.table("Real against real", [("", names)], [features, *scores], notes("reals"))


def _references(summary: Summary) -> Iterator[Table]:
    """Yield PSNR and KID of what is no model, by what is hidden under the first pattern."""
    # the first pattern shows how a metric grows; all others are in the tables by mask
    pattern, masks = next(iter(patterns(summary.masks)), ("", ()))

    def score(title: str, cell: Callable[[MethodRow, MaskRow], Cell], *more: str) -> tuple[Table, ...]:
        fields = [build.METHOD, *build.each(masks, cell, lambda mask: Column(share(hidden(mask)), "hidden"))]
        rows = build.by_kind(summary, REFERENCES)
        return build.table(f"{title} of what is no model: {pattern}", rows, fields, notes("controls", *more))

    primary = next(iter(extractors(summary)), "")
    yield from score(f"{label(PSNR)} ({direction(PSNR)})", lambda method, mask: _score(summary, mask, method, PSNR))
    title = f"KID ({direction(KID)}) by {primary}"
    yield from score(title, lambda method, mask: _kid(summary, mask, method, primary), "far")


def inpainting(summary: Summary) -> Iterator[Table]:
    """Yield a table a mask, the one nearest to half hidden open."""
    note = notes("hole", "intervals", "best", "far")
    for mask, folded in build.by_mask(summary):
        best, more = (build.each(names, partial(_score, summary, mask), _short) for names in (HEADLINES, FURTHER))
        # of the primary extractor, so that the table keeps one line a method; the tables of sets have all
        primary = extractors(summary)[:1]
        kid = build.each(primary, partial(_kid, summary, mask), lambda name: column(KID, f"KID, {name}"))
        fields = [build.METHOD, *best, *kid, *more]
        yield from build.table(mask_label(mask), build.by_kind(summary), fields, note, folded)


def _score(summary: Summary, mask: MaskRow, method: MethodRow, metric: str) -> Cell:
    return build.estimate_cell(summary, method.name, mask.spec, metric)


def _kid(summary: Summary, mask: MaskRow, method: MethodRow, extractor: str) -> Cell:
    return build.set_cell(summary, method.name, mask.spec, extractor, KID)


def _short(metric: str) -> Column:
    """Return the head of a column in which it goes without saying that it is of the hole."""
    return column(metric, label(metric).removesuffix(", hole"))


def sets(summary: Summary, whole: bool) -> Iterator[Table]:
    """Yield the set metrics of masks that hide everything, or folded of all others, a table an extractor."""
    for mask in ordered(summary.masks):
        for rank, name in enumerate(dict.fromkeys(row.extractor for row in summary.sets)):
            if (hidden(mask) >= 1) == whole:
                yield from _set(summary, mask, name, folded=not whole or rank > 0)


def _set(summary: Summary, mask: MaskRow, extractor: str, folded: bool) -> tuple[Table, ...]:
    own = [r for r in summary.sets if (r.mask, r.extractor, r.average) == (mask.spec, extractor, 1)]
    floors = {row.metric: Cell(number(row.floor)) for row in own}
    # a method without any score has no row: what it drew would say that there is something to read
    items = {row.method: str(row.items) for row in own if math.isfinite(row.value)}

    def score(method: str, metric: str) -> Cell:
        return floors[metric] if method == REAL else build.set_cell(summary, method, mask.spec, extractor, metric)

    groups = [(heading, [method.name for method in methods]) for heading, methods in build.by_kind(summary)]
    drawn = build.numbers("Items", lambda method: items.get(method, DASH))
    fields = [build.words("Method", str), *build.each(floors, score), drawn]
    title = f"{mask_label(mask)}: by {extractor or 'the images themselves'}"
    return build.table(title, [*groups, ("Floor", [REAL])], fields, notes("intervals", "far", "last"), folded)


def reasons(summary: Summary) -> tuple[str, ...]:
    """Return why set metrics are not defined, each reason once with the metrics that it is of."""
    found: dict[str, dict[str, None]] = {}
    for row in summary.sets:
        if row.reason:
            found.setdefault(row.reason, {})[label(row.metric)] = None
    return tuple(sorted(f"{', '.join(metrics)}: {reason}" for reason, metrics in found.items()))


def presets(summary: Summary) -> tuple[Table, ...]:
    """Return models with the settings of the paper beside the same ones as they are fixed here."""
    twins = [method for pair in _twins(summary) for method in pair]
    fields = [
        build.MODEL,
        *build.each(HEADLINES, lambda pair, name: build.estimate_cell(summary, pair[1], pair[0], name)),
    ]
    return build.table("paper_like beside fixed", build.pairs(summary, twins), fields, notes("presets"))


def _twins(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield the names of each model that is there both ways: fixed, and like the paper."""
    names = [method.name for method in summary.methods]
    for name in names:
        if PAPER in name:
            # a method is called as it was given: TARGET:option=value,...
            target, _, options = name.partition(":")
            rest = ",".join(option for option in options.split(",") if option != PAPER)
            fixed = f"{target}:{rest}" if rest else target
            if fixed in names:
                yield fixed, name
