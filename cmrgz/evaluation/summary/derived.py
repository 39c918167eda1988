"""Metrics of a frame that need other frames: the hallucination rate, whose thresholds come from round trips."""

import dataclasses
import math
from typing import Any

import numpy as np

from cmrgz.evaluation.metrics import FRAME_METRICS, RATIOS
from cmrgz.evaluation.metrics.base import Better
from cmrgz.evaluation.metrics.sets import SET_METRICS
from cmrgz.evaluation.table import Table

HALLUCINATION = "hallucination"
"""Whether a result has a fault that a round trip of the truth has not: see `with_hallucination`."""
DICE = ("dice-lv", "dice-myo", "dice-rv")
VIOLATIONS, CORRELATION = "topology-violations", "sfrc-hole"
QUANTILE = 0.05


def meaning(metric: str) -> tuple[Better, str]:
    """Return which values of a metric of frames or sets are good, and its unit or ""; nothing of one of elsewhere."""
    if metric == HALLUCINATION:
        return "lower", ""
    known = FRAME_METRICS.get(metric) or RATIOS.get(metric) or SET_METRICS.get(metric)
    return (known.better, getattr(known, "unit", "")) if known else ("none", "")


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
    # masked where not defined: what could not be tested is no fault as long as another test was possible
    violations, flags, *parts = (np.ma.masked_invalid(table.metrics[name]) for name in (VIOLATIONS, CORRELATION, *DICE))
    dice = np.ma.stack(parts).mean(0)
    low, high = _quantile(dice[trips], QUANTILE), _quantile(flags[trips], 1 - QUANTILE)
    faults = np.ma.stack([violations > 0, dice < low, flags > high])
    any_fault = np.ma.filled(faults.any(0).astype(np.float64), math.nan)
    return dataclasses.replace(table, metrics={**table.metrics, HALLUCINATION: any_fault})


def _quantile(values: Any, share: float) -> float:
    good = values.compressed()
    return float(np.quantile(good, share)) if len(good) else math.nan
