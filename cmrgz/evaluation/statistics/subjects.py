"""From a long table to one value a subject, and subjects paired between columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEW = 30
"""Below it the results describe these subjects and say little of others."""
RUNS = 3
"""Trainings from which on a result is about a method and not about one checkpoint."""


@dataclass(frozen=True)
class Subjects:
    """One value a subject.

    Attributes:
        names: Of the n subjects, sorted.
        values: (n,) means, NaN for a subject without a defined value.
        frames: (n,) frames that went into each.
        left_out: (n,) rows of the table that were NaN and went into none.
    """

    names: tuple[str, ...]
    values: Floats
    frames: Ints
    left_out: Ints

    def column(self) -> dict[str, float]:
        """Return the values by name."""
        return dict(zip(self.names, self.values.tolist(), strict=True))


def average(subjects: Sequence[str], frames: Sequence[str | int], values: Sequence[float] | Floats) -> Subjects:
    """Return the mean of each subject: over the rows of a frame first (seeds, samples), then over its frames.

    So each frame has the same weight in its subject, however often it was drawn, and the order of rows is of no
    importance. Rows with NaN are left out and counted.

    Args:
        subjects: Of each row.
        frames: Of each row; the name of a frame is unique in its subject.
        values: (rows,), NaN where not defined.

    Raises:
        DataError: `shape-mismatch` when the columns differ in length.
    """
    value = np.asarray(values, dtype=np.float64)
    if not len(subjects) == len(frames) == len(value):
        facts = f"{len(subjects)}, {len(frames)}, {len(value)}"
        raise DataError("shape-mismatch", "statistics", "the columns of the table differ in length", facts)
    names, who = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    kinds, which = np.unique(np.asarray([str(f) for f in frames], dtype=str), return_inverse=True)
    order = np.lexsort((value, which, who))  # sums do not depend on the order in which rows came
    value, who, which = value[order], who[order], which[order]
    given = np.isfinite(value)
    frame, row = np.unique(who[given] * max(len(kinds), 1) + which[given], return_inverse=True)
    owner = frame // max(len(kinds), 1)
    means, count = _means(value[given], row, len(frame))[0], np.bincount(owner, minlength=len(names))
    out = np.bincount(who[~given], minlength=len(names))
    return Subjects(tuple(names.tolist()), _means(means, owner, len(names))[0], count, out)


def _means(values: Floats, group: NDArray[Any], groups: int) -> tuple[Floats, Ints]:
    count = np.bincount(group, minlength=groups)
    total = np.bincount(group, weights=values, minlength=groups)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), count


def paired(*columns: Mapping[str, float]) -> tuple[tuple[str, ...], Floats]:
    """Return the subjects with a finite value in every column, sorted, and those values: (n, columns)."""
    common = set(columns[0]).intersection(*columns[1:]) if columns else set()
    names = sorted(s for s in common if all(np.isfinite(c[s]) for c in columns))
    return tuple(names), np.array([[c[s] for c in columns] for s in names]).reshape(len(names), len(columns))


def caveats(subjects: int, runs: int = 1) -> tuple[str, ...]:
    """Return what a reader must be told of a result from so many subjects and trainings."""
    few = f"descriptive only: {subjects} subjects, fewer than {FEW}"
    one = f"{runs} training run{'' if runs == 1 else 's'}: conclusions are about these checkpoints"
    return tuple(text for text, holds in ((few, subjects < FEW), (one, runs < RUNS)) if holds)
