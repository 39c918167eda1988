"""Estimates of frame metrics over patients, and paired contrasts of models."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from cmrgz.evaluation.metrics import RATIOS
from cmrgz.evaluation.metrics.base import Better
from cmrgz.evaluation.statistics.bootstrap import Interval, bootstrap
from cmrgz.evaluation.statistics.effects import compare
from cmrgz.evaluation.statistics.estimates import mean, ratio_of_means
from cmrgz.evaluation.statistics.multiple import holm, tied
from cmrgz.evaluation.statistics.subjects import paired
from cmrgz.evaluation.summary.derived import meaning
from cmrgz.evaluation.summary.rows import ContrastRow, Estimate
from cmrgz.evaluation.table import Table

HEADLINES = ("psnr-hole", "ssim-hole", "haarpsi-hole", "energy-hole")
"""Metrics that models are compared by, pair by pair."""

Columns = Mapping[str, Mapping[str, float]]
"""By method, one value a patient."""


def shown(table: Table) -> list[str]:
    """Return the methods that are rows of tables: not the real frames, and not models on training frames."""
    return [name for name, info in table.methods.items() if info.kind not in ("real", "probe")]


def estimates(table: Table) -> tuple[Estimate, ...]:
    """Return the estimates of all methods, masks and metrics; models are marked where tied with the best of them."""
    return tuple(
        row for mask in table.masks for metric in table.metric_names for row in _estimates(table, metric, mask)
    )


def _estimates(table: Table, metric: str, mask: str) -> Iterator[Estimate]:
    columns, (better, _) = _columns(table, metric, mask), meaning(metric)
    models = {name: of for name, of in columns.items() if table.methods[name].kind == "model"}
    # one model alone is the best of nothing
    best = set(tied(models, better)) if len(models) > 1 else set()
    for method in columns:
        found = _interval(table, metric, method, mask)
        row = Estimate(method=method, mask=mask, metric=metric, value=found.point, tied=method in best)
        row = replace(row, low=found.low, high=found.high, subjects=found.n)
        yield row if metric in RATIOS or method not in models else replace(row, **_gain(table, columns, better, method))


def _columns(table: Table, metric: str, mask: str) -> Columns:
    """Return the values of every method that has some."""
    columns = {name: table.by_subject(metric, name, mask) for name in shown(table)}
    return {name: of for name, of in columns.items() if of}


def _gain(table: Table, columns: Columns, better: Better, method: str) -> dict[str, Any]:
    """Return the fields of a row that say how much better a model is than the best baseline.

    The floor is chosen by the same patients, which favours it a little. A ratio has none: its patients are no unit.
    """
    sign = {"higher": 1.0, "lower": -1.0}.get(better)
    if sign is None:
        return {}
    fills = {name: of for name, of in columns.items() if table.methods[name].kind == "baseline"}
    pairs = {name: paired(columns[method], of)[1] for name, of in fills.items()}
    # a fill that few patients have would be judged by easier ones
    most = max(map(len, pairs.values()), default=0)
    fits = {name: values for name, values in pairs.items() if len(values) == most > 0}
    if not fits:
        return {}
    # of baselines, not of bounds: those see the hidden pixels
    best = max(fits, key=lambda name: sign * float(fits[name][:, 1].mean()))
    gain = sign * (fits[best][:, 0] - fits[best][:, 1])
    interval = bootstrap(mean(gain), len(gain)).interval()
    return {"floor": best, "gain": interval.point, "gain_low": interval.low, "gain_high": interval.high}


def _interval(table: Table, metric: str, method: str, mask: str) -> Interval:
    """Return a mean over patients, or a ratio of means, with its BCa interval."""
    # a ratio of means: the mean of ratios would be decided by the patient with the smallest denominator
    names = (RATIOS[metric].over, RATIOS[metric].under) if metric in RATIOS else (metric,)
    _, values = paired(*(table.by_subject(name, method, mask) for name in names))
    statistic = ratio_of_means(*values.T) if metric in RATIOS else mean(values[:, 0])
    return bootstrap(statistic, len(values)).interval()


def contrasts(table: Table, metrics: Sequence[str] = HEADLINES) -> tuple[ContrastRow, ...]:
    """Return the paired differences of all models, p adjusted over all of a metric (Holm)."""
    every = [[row for mask in table.masks for row in _pairs(table, metric, mask)] for metric in metrics]
    return tuple(row for rows in every for row in _adjusted(rows))


def _adjusted(rows: Sequence[ContrastRow]) -> list[ContrastRow]:
    # metrics are read one by one, so that the family of Holm (1979, JSTOR 4615733) is that of one metric: all masks
    # and all pairs
    levels = holm([row.p for row in rows])
    return [replace(row, p=float(p)) for row, p in zip(rows, levels, strict=True)]


def _pairs(table: Table, metric: str, mask: str) -> list[ContrastRow]:
    """Return the contrasts of all pairs of models, p as it is for each alone."""
    columns = _columns(table, metric, mask)
    pairs = combinations([name for name in columns if table.methods[name].kind == "model"], 2)
    return [
        ContrastRow(first=a, second=b, mask=mask, metric=metric, **vars(compare(columns[a], columns[b])))
        for a, b in pairs
    ]
