"""Metrics of a frame that need other frames: the hallucination rate, whose thresholds come from round trips."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from cmrgz.evaluation.summary.rows import MetricRow
from cmrgz.evaluation.table import Table

HALLUCINATION = MetricRow(name="hallucination", better="lower")
"""Whether a result has a fault that a round trip of the truth has not: see `with_hallucination`."""
DICE = ("dice-lv", "dice-myo", "dice-rv")
VIOLATIONS, CORRELATION = "topology-violations", "sfrc-hole"
QUANTILE = 0.05

Floats = NDArray[np.float64]


def with_hallucination(table: Table) -> Table:
    """Return a table with the metric `hallucination`: 1 where a frame has one of three faults, else 0.

    A rule of anatomy is broken; or the mean Dice of the segmented parts is below all but 5 % of round trips of the
    truth; or the share of patches whose Fourier ring correlation drops early is above all but 5 % of them. NaN where
    none of the three is defined; the table as it is without a round trip.
    """
    # of round trips, as the tokenizer blurs every result of a latent model: what it does is not invented by the model
    trips = np.isin(table.columns["method"], [name for name in table.methods if name.startswith("round-trip")])
    if not trips.any() or not {VIOLATIONS, CORRELATION, *DICE} <= set(table.metrics):
        return table
    dice = _mean([table.metrics[name] for name in DICE])
    flags = table.metrics[CORRELATION]
    faults = [
        _where(table.metrics[VIOLATIONS], table.metrics[VIOLATIONS] > 0),
        _where(dice, dice < _quantile(dice[trips], QUANTILE)),
        _where(flags, flags > _quantile(flags[trips], 1 - QUANTILE)),
    ]
    # NaN > 0 is false: what could not be tested is no fault as long as another test was possible
    stacked = np.stack(faults)
    any_fault = np.where(np.isnan(stacked).all(0), math.nan, (stacked > 0).any(0))
    return dataclasses.replace(table, metrics={**table.metrics, HALLUCINATION.name: any_fault})


def _mean(columns: list[Floats]) -> Floats:
    """Return the mean of those that are defined, NaN where none is."""
    stacked = np.stack(columns)
    count = (~np.isnan(stacked)).sum(0)
    return np.where(count > 0, np.nansum(stacked, 0) / np.maximum(count, 1), math.nan)


def _quantile(values: Floats, share: float) -> float:
    good = values[~np.isnan(values)]
    return float(np.quantile(good, share)) if len(good) else math.nan


def _where(values: Floats, fault: NDArray[np.bool_]) -> Floats:
    return np.where(np.isnan(values), math.nan, fault)
