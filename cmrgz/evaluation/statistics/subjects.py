"""Subjects paired between columns of one value a subject, and what so few of them allow to say."""

from collections.abc import Mapping

import numpy as np

from cmrgz.evaluation.statistics.bootstrap import Floats

FEW = 30  # subjects: below it BCa intervals of skewed scores are too narrow (.79 to .89 for .95 at 8)


def paired(*columns: Mapping[str, float]) -> tuple[tuple[str, ...], Floats]:
    """Return the subjects with a finite value in every column, sorted, and those values: (n, columns)."""
    common = set(columns[0]).intersection(*columns[1:]) if columns else set()
    names = sorted(s for s in common if all(np.isfinite(c[s]) for c in columns))
    return tuple(names), np.array([[c[s] for c in columns] for s in names]).reshape(len(names), len(columns))


def caveats(subjects: int) -> tuple[str, ...]:
    """Return what a reader must be told of a result from so many subjects, of models that were trained once."""
    few = (f"descriptive only: {subjects} subjects, fewer than {FEW}",) if subjects < FEW else ()
    return (*few, "1 training run: conclusions are about these checkpoints")
