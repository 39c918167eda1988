"""Percentiles of values that come in parts, as `np.percentile` gives them, without all of them in memory."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Keys = NDArray[np.uint32]
Parts = Callable[[], Iterable[Floats]]
"""Gives the parts, each (n,) float32, anew at each call."""

HALF = 16
"""Bits of a key that are counted at once."""
LOW = (1 << HALF) - 1
SIGN = np.uint32(1 << 31)


def percentiles(parts: Parts, percents: Sequence[float]) -> list[float]:
    """Return percentiles of finite float32 values, interpolated linearly: those of `np.percentile`, to the bit.

    Values are counted by the upper half of their bits, then those of the few halves that matter by the lower one.

    Args:
        parts: Gives the values, at least one, in parts, twice.
        percents: Which, 0 .. 100.
    """
    upper = _count(keys >> HALF for keys in map(_keys, parts()))
    last = int(upper.sum()) - 1
    places = last * (np.asarray(percents, dtype=np.float64) / 100)
    before = np.floor(places).astype(np.int64)
    after = np.minimum(before + 1, last)
    found = _ranked(parts, upper, np.unique([before, after]))
    return [_between(found[a], found[b], place - a) for a, b, place in zip(before, after, places, strict=True)]


def _keys(values: Floats) -> Keys:
    """Return numbers (n,) that are ordered as the values are; -0 is 0."""
    # IEEE 754: without the sign, floats are in the order of their bits. So negative ones are inverted whole, and others
    # get the top bit, to lie above them.
    bits = (values + np.float32(0)).view(np.uint32)
    return np.where(bits & SIGN, ~bits, bits | SIGN)


def _value(key: int) -> np.float32:
    bits = np.uint32(key ^ int(SIGN) if key & int(SIGN) else ~key & 0xFFFFFFFF)
    return np.float32(bits.view(np.float32))


def _count(halves: Iterable[NDArray[np.integer[Any]]]) -> NDArray[np.int64]:
    """Return how often each half of a key is there."""
    counts = np.zeros(1 << HALF, np.int64)
    for half in halves:
        counts += np.bincount(half, minlength=1 << HALF)
    return counts


def _ranked(parts: Parts, upper: NDArray[np.int64], ranks: NDArray[np.int64]) -> dict[int, np.float32]:
    """Return the values of ranks, from 0 for the least on, given the counts of the upper halves."""
    ends = np.cumsum(upper)
    halves = np.searchsorted(ends, ranks, side="right")
    # Only the halves in which a rank lies are counted further: few tables, however long the scan.
    lower = {half: np.zeros(1 << HALF, np.int64) for half in set(halves.tolist())}
    for keys in map(_keys, parts()):
        for half, counts in lower.items():
            counts += _count([keys[keys >> HALF == half] & LOW])
    found = {}
    for rank, half in zip(ranks.tolist(), halves.tolist(), strict=True):
        rest = np.searchsorted(np.cumsum(lower[half]), rank - (ends[half] - upper[half]), side="right")
        found[rank] = _value(half << HALF | int(rest))
    return found


def _between(a: np.float32, b: np.float32, share: float) -> float:
    """Return the value at a share of the way from a to b, rounded as numpy rounds it: from the nearer of the two."""
    step, share = np.float64(b - a), np.float64(share)
    return float(b - step * (1 - share)) if share >= 0.5 else float(a + step * share)
