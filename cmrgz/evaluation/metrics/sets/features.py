"""Which features tell generated items from reals: the largest Kolmogorov-Smirnov distances."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmrgz.evaluation.metrics.base import Floats


@dataclass(frozen=True)
class Difference:
    """How a feature differs.

    Attributes:
        name: Of the feature.
        distance: Largest difference of the two distribution functions, 0 to 1.
        shift: Difference of the medians, generated less real, in standard deviations of the reals.
    """

    name: str
    distance: float
    shift: float


def ks_distances(generated: Floats, real: Floats) -> Floats:
    """Return the Kolmogorov-Smirnov distance of each feature: (d,) in [0, 1].

    Args:
        generated: Features (n, d).
        real: Features (m, d).
    """
    return np.array([_distance(np.sort(x), np.sort(y)) for x, y in zip(generated.T, real.T, strict=True)])


def most_different(generated: Floats, real: Floats, names: Sequence[str], most: int = 5) -> list[Difference]:
    """Return the features of the largest distances, the largest first.

    Args:
        generated: Features (n, d), for example of `radiomics`.
        real: Features (m, d).
        names: (d,) of the features.
        most: How many.
    """
    distances, scale = ks_distances(generated, real), real.std(0)
    medians = np.median(generated, 0) - np.median(real, 0)
    shift = np.divide(medians, scale, out=np.full(len(scale), np.nan), where=scale > 0)
    order = np.argsort(-distances, kind="stable")[:most]
    return [Difference(names[i], float(distances[i]), float(shift[i])) for i in order]


def ks_mean(generated: Floats, real: Floats) -> float:
    """Return the mean over features of their Kolmogorov-Smirnov distances, 0 .. 1; see `ks_distances`."""
    return float(ks_distances(generated, real).mean())


def _distance(x: Floats, y: Floats) -> float:
    at = np.concatenate([x, y])
    below = [np.searchsorted(items, at, side="right") / len(items) for items in (x, y)]
    return float(np.abs(below[0] - below[1]).max())
