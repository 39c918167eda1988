"""Scores: of what is no model, of results by mask, of sets of results, and `paper_like` beside `fixed`."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
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
from cmrgz.evaluation.summary.rows import MaskRow

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
    found = {(row.metric, row.extractor): row.floor for row in summary.sets if row.average == 1}

    def score(name: str) -> build.Field:
        return build.Field(column(name), lambda extractor: number(found.get((name, extractor), math.nan)))

    fields = map(score, dict.fromkeys(name for name, _ in found))
    names = dict.fromkeys(extractor for _, extractor in found)
    return build.table(
        "Real against real",
        [("", names)],
        [build.words("Features", lambda name: name or "images"), *fields],
        notes("reals"),
    )


def _references(summary: Summary) -> Iterator[Table]:
    """Yield PSNR and KID of what is no model, by what is hidden under the first pattern."""
    # the first pattern shows how a metric grows; all others are in the tables by mask
    for pattern, masks in patterns(summary.masks)[:1]:
        rows = build.by_kind(summary, REFERENCES)
        title = f"{label(PSNR)} ({direction(PSNR)}) of what is no model: {pattern}"
        yield from build.table(title, rows, _by_share(masks, partial(build.metric, summary, PSNR)), notes("controls"))
        for name in extractors(summary)[:1]:
            title = f"KID ({direction(KID)}) by {name} of what is no model: {pattern}"
            fields = _by_share(masks, partial(build.set_metric, summary, KID, name))
            yield from build.table(title, rows, fields, notes("controls", "far"))


def _by_share(masks: Sequence[MaskRow], score: Callable[[MaskRow], build.Field]) -> list[build.Field]:
    """Return a column for each mask, called by what it hides."""
    return [build.METHOD, *(replace(score(mask), column=Column(share(hidden(mask)), "hidden")) for mask in masks)]


def inpainting(summary: Summary) -> tuple[Table, ...]:
    """Return a table a mask, the one nearest to half hidden open."""

    def of_mask(mask: MaskRow, folded: bool) -> tuple[Table, ...]:
        # of the primary extractor, so that the table keeps one line a method; the tables of sets have all
        kid = [build.set_metric(summary, KID, name, mask, f"KID, {name}") for name in extractors(summary)[:1]]
        best, more = ([build.metric(summary, name, mask, short=True) for name in part] for part in (HEADLINES, FURTHER))
        note = notes("hole", "intervals", "best", "far")
        return build.table(mask_label(mask), build.by_kind(summary), [build.METHOD, *best, *kid, *more], note, folded)

    return build.by_mask(summary, of_mask)


def unconditional(summary: Summary) -> tuple[Table, ...]:
    """Return the set metrics of masks that hide everything, a table an extractor, the first one open."""
    return _sets(summary, [mask for mask in summary.masks if hidden(mask) >= 1], folded=False)


def conditional(summary: Summary) -> tuple[Table, ...]:
    """Return the set metrics of all other masks, folded."""
    return _sets(summary, [mask for mask in ordered(summary.masks) if hidden(mask) < 1], folded=True)


def _sets(summary: Summary, masks: list[MaskRow], folded: bool) -> tuple[Table, ...]:
    names = list(dict.fromkeys(row.extractor for row in summary.sets))
    return tuple(t for mask in masks for name in names for t in _set(summary, mask, name, folded or name != names[0]))


def _set(summary: Summary, mask: MaskRow, extractor: str, folded: bool) -> tuple[Table, ...]:
    own = [r for r in summary.sets if (r.mask, r.extractor, r.average) == (mask.spec, extractor, 1)]
    cells = {(row.method, row.metric): build.set_cell(row) for row in own}
    cells |= {(REAL, row.metric): Cell(number(row.floor)) for row in own}
    # a method without any score has no row: what it drew would say that there is something to read
    items = {row.method: str(row.items) for row in own if math.isfinite(row.value)}
    names = dict.fromkeys(row.metric for row in own)

    def score(name: str) -> build.Field:
        return build.Field(column(name), lambda method: cells.get((method, name), build.NOTHING))

    groups = [(heading, [method.name for method in methods]) for heading, methods in build.by_kind(summary)]
    fields = [
        build.words("Method", str),
        *map(score, names),
        build.numbers("Items", lambda method: items.get(method, DASH)),
    ]
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

    def score(name: str) -> build.Field:
        return build.Field(column(name), lambda pair: build.estimate_cell(summary.estimate(pair[1], pair[0], name)))

    fields = [build.MODEL, *map(score, HEADLINES)]
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
