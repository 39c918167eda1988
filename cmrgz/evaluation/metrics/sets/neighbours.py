"""Precision, recall, density and coverage: who lies within the neighbourhoods of whom.

The neighbourhood of an item is the closed ball to its fifth nearest neighbour in its own set. Density and coverage are
the robust pair: one outlying real inflates precision, one outlying generated item inflates recall. Both sets are cut to
equal size.
"""

import numpy as np

from cmrgz.evaluation.metrics.base import Bools, Floats
from cmrgz.evaluation.metrics.sets.base import subset

K = 5


def distances(x: Floats, y: Floats) -> Floats:
    """Return the Euclidean distances (n, m) between x (n, d) and y (m, d)."""
    # cdist takes five times as long on hundreds of features; about a centre, what cancels stays small
    centre = y.mean(0)
    x, y = x - centre, y - centre
    square = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    return np.sqrt(np.maximum(square, 0))


def precision(generated: Floats, real: Floats, k: int = K) -> float:
    """Return the share of generated items within some real neighbourhood. Kynkaanniemi et al. 2019, arXiv:1904.06991.

    Of features (n, d) and (m, d); the k-th neighbour bounds a neighbourhood.
    """
    return float(_inside(*_equal(generated, real), k).any(1).mean())


def recall(generated: Floats, real: Floats, k: int = K) -> float:
    """Return the share of reals within some generated neighbourhood; arguments and source as for `precision`."""
    generated, real = _equal(generated, real)
    return float(_inside(real, generated, k).any(1).mean())


def density(generated: Floats, real: Floats, k: int = K) -> float:
    """Return how many real neighbourhoods hold a generated item, over k: about 1 for equal distributions.

    More where generated items keep to the modes. Naeem et al. 2020, arXiv:2002.09797. Arguments as for `precision`.
    """
    return float(_inside(*_equal(generated, real), k).sum(1).mean() / k)


def coverage(generated: Floats, real: Floats, k: int = K) -> float:
    """Return the share of real neighbourhoods that hold a generated item.

    For n draws each of one distribution `1 - prod_{i = 1 .. k} (n - i) / (2 n - i)` is expected, about 0.97. Naeem et
    al. 2020, arXiv:2002.09797, lemma 2. Arguments as for `precision`.
    """
    return float(_inside(*_equal(generated, real), k).any(0).mean())


def _equal(generated: Floats, real: Floats) -> tuple[Floats, Floats]:
    n = min(len(generated), len(real))
    # a neighbourhood shrinks with the size of its set, and all four numbers with it
    return subset(generated, n, seed=0), subset(real, n, seed=1)


def _inside(points: Floats, centres: Floats, k: int) -> Bools:
    """Return (n, m) whether a point lies within the neighbourhood of a centre."""
    own = distances(centres, centres)
    np.fill_diagonal(own, np.inf)
    radius = np.partition(own, k - 1, axis=1)[:, k - 1]
    return np.asarray(distances(points, centres) <= radius)
