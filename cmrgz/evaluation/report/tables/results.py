"""Scores: of what is no model, of results by mask, of sets of results, and `paper_like` beside `fixed`."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from operator import itemgetter

from cmrgz.evaluation.report.document import Cell, Column, Table
from cmrgz.evaluation.report.names import (
    HEADLINES,
    REFERENCES,
    hidden,
    label,
    mask_label,
    metric_column,
    ordered,
    patterns,
)
from cmrgz.evaluation.report.numerals import DASH, number, share
from cmrgz.evaluation.report.tables.build import (
    METHOD,
    NOTHING,
    Field,
    by_kind,
    by_mask,
    estimate_cell,
    metric,
    numbers,
    set_cell,
    set_column,
    set_metric,
    table,
    words,
)
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import MaskRow

FURTHER = (
    *("psnr-moving", "motion-error-moving", "motion-correlation-moving", "temporal-spectrum-hole", "block-seam"),
    *("fpe-hole", "fne-hole", "sfrc-hole", "topology-violations", "dice-lv"),
)
"""Metrics of the tables by mask beside the headlines and KID."""
KID, PSNR, REAL = "kid", "psnr-hole", "real against real"
PAPER = "preset=paper_like"
INTERVALS = "The brackets hold 95 % intervals over patients."
BEST = "The best model is bold, and so is every model that is not shown to be worse (paired over patients, Holm)."
FAR = "Amber (? in Markdown) marks a distance that lies outside the range in which it says how far apart the sets are."
CONTROLS = (
    "Each control is wrong in one known way. A blurred truth has a small error and an unreal look; the frame of "
    "another patient has a large error and a real look. A metric that does not show this cannot be trusted here."
)


def extractors(summary: Summary) -> list[str]:
    """Return the names of the extractors, the primary one first; metrics of images have none."""
    return [name for name in dict.fromkeys(row.extractor for row in summary.sets) if name]


def floors(summary: Summary) -> tuple[Table, ...]:
    """Return what real frames score against real ones, and PSNR and KID of all that is no model."""
    return (*_reals(summary), *_references(summary))


def _reals(summary: Summary) -> tuple[Table, ...]:
    """Return the floor of every set metric by every extractor."""
    found = {(row.metric, row.extractor): row.floor for row in summary.sets if row.average == 1}

    def score(name: str) -> Field:
        return Field(set_column(name), lambda extractor: number(found.get((name, extractor), math.nan)))

    fields = map(score, dict.fromkeys(name for name, _ in found))
    names = dict.fromkeys(extractor for _, extractor in found)
    note = (
        "This is what one half of the real frames scores against the other half, which is of other patients. No set of"
        " results can be expected to score better."
    )
    return table("Real against real", [("", names)], [words("Features", lambda name: name or "images"), *fields], note)


def _references(summary: Summary) -> Iterator[Table]:
    """Yield PSNR and KID of what is no model, by what is hidden under the first pattern."""
    for pattern, masks in patterns(summary.masks)[:1]:
        psnr = f"{label(PSNR)} ({metric_column(summary, PSNR).note})"
        scores: list[tuple[str, Callable[[MaskRow], Field], str]] = [(psnr, partial(metric, summary, PSNR), CONTROLS)]
        for name in extractors(summary)[:1]:
            kid = f"KID ({set_column(KID).note}) by {name}"
            scores.append((kid, partial(set_metric, summary, KID, name), f"{CONTROLS} {FAR}"))
        for title, score, note in scores:
            fields = [replace(score(mask), column=Column(share(hidden(mask)), "hidden")) for mask in masks]
            rows = by_kind(summary, REFERENCES)
            yield from table(f"{title} of what is no model: {pattern}", rows, [METHOD, *fields], note)


def inpainting(summary: Summary) -> tuple[Table, ...]:
    """Return a table a mask, the one nearest to half hidden open."""

    def of_mask(mask: MaskRow, folded: bool) -> tuple[Table, ...]:
        kid = [set_metric(summary, KID, name, mask, f"KID, {name}") for name in extractors(summary)[:1]]
        best, more = ([metric(summary, name, mask, short=True) for name in part] for part in (HEADLINES, FURTHER))
        note = f"All is measured in the hole unless its name says otherwise. {INTERVALS} {BEST} {FAR}"
        return table(mask_label(mask), by_kind(summary), [METHOD, *best, *kid, *more], note, folded)

    return by_mask(summary, of_mask)


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
    cells = {(row.method, row.metric): set_cell(row) for row in own}
    cells |= {(REAL, row.metric): Cell(number(row.floor)) for row in own}
    items = {row.method: str(row.items) for row in own if math.isfinite(row.value)}
    names = dict.fromkeys(row.metric for row in own)

    def score(name: str) -> Field:
        return Field(set_column(name), lambda method: cells.get((method, name), NOTHING))

    groups = [(heading, [method.name for method in methods]) for heading, methods in by_kind(summary)]
    fields = [words("Method", str), *map(score, names), numbers("Items", lambda method: items.get(method, DASH))]
    title = f"{mask_label(mask)}: by {extractor or 'the images themselves'}"
    note = f"{INTERVALS} {FAR} The last row, where there is one, is one half of the real frames against the other half."
    return table(title, [*groups, ("Floor", [REAL])], fields, note, folded)


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
    groups = [(mask_label(mask), [(mask.spec, name) for name in twins]) for mask in ordered(summary.masks)]

    def score(name: str) -> Field:
        return Field(metric_column(summary, name), lambda row: estimate_cell(summary.estimate(row[1], row[0], name)))

    note = (
        "A model that samples as its paper does, faults included, stands below the same model with the faults mended. "
        "The difference is what the faults cost."
    )
    return table("paper_like beside fixed", groups, [words("Model", itemgetter(1)), *map(score, HEADLINES)], note)


def _twins(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield the names of each model that is there both ways: fixed, and like the paper."""
    names = [method.name for method in summary.methods]
    for name in names:
        if PAPER in name:
            target, _, options = name.partition(":")
            rest = ",".join(option for option in options.split(",") if option != PAPER)
            fixed = f"{target}:{rest}" if rest else target
            if fixed in names:
                yield fixed, name
