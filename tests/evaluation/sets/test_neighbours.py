from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from cmrgz.evaluation.metrics.sets.neighbours import (
    coverage,
    density,
    distances,
    precision,
    recall,
)


def ideal_coverage(n: int, k: int = 5) -> float:
    """Return what is expected of n draws each of one distribution: Naeem et al. 2020, lemma 2."""
    i = np.arange(1, k + 1)
    return float(1 - np.prod((n - i) / (2 * n - i)))


def draws(seed: int, n: int, d: int = 6, scale: float = 1.0) -> Any:
    return scale * np.random.default_rng(seed).normal(size=(n, d))


def test_distances() -> None:
    x, y = draws(0, 30), 100 + draws(1, 40)
    np.testing.assert_allclose(distances(x, y), cdist(x, y), rtol=1e-9)
    assert np.diag(distances(y, y)).max() < 1e-5


def test_by_hand_on_a_line() -> None:
    """Reals 0, 1, 3, 6 with k = 1 have the radii 1, 1, 2, 3; generated 0.5, 8, 20, 30 have 7.5, 7.5, 10, 10."""
    real, generated = np.array([[0.0], [1], [3], [6]]), np.array([[0.5], [8], [20], [30]])
    assert precision(generated, real, k=1) == 2 / 4
    assert density(generated, real, k=1) == (2 + 1) / 4
    assert coverage(generated, real, k=1) == 3 / 4
    assert recall(generated, real, k=1) == 4 / 4


def test_ideal_coverage_is_about_097_and_is_what_equal_distributions_give() -> None:
    assert ideal_coverage(2000) == pytest.approx(0.969, abs=0.001)
    assert ideal_coverage(3, k=1) == pytest.approx(1 - 2 / 5)
    found = [coverage(draws(2 * i, 60), draws(2 * i + 1, 60)) for i in range(100)]
    assert np.mean(found) == pytest.approx(ideal_coverage(60), abs=3 * np.std(found) / 10)


def test_equal_distributions() -> None:
    x, y = draws(0, 800), draws(1, 800)
    assert density(x, y) == pytest.approx(1, abs=0.06)
    assert precision(x, y) == pytest.approx(recall(x, y), abs=0.05)


def test_collapse_keeps_precision_and_loses_recall_and_coverage() -> None:
    x, y = draws(0, 400, scale=0.2), draws(1, 400)
    assert precision(x, y) > 0.95 and density(x, y) > 1.3
    assert recall(x, y) < 0.2 and coverage(x, y) < 0.5


def test_noise_loses_precision() -> None:
    x, y = draws(0, 400, scale=3), draws(1, 400)
    assert precision(x, y) < 0.2 and recall(x, y) > 0.9


def test_a_lost_mode_loses_its_coverage() -> None:
    x, y = draws(0, 400), draws(1, 400)
    y[:200, 0] += 30
    assert coverage(x, y) == pytest.approx(0.5, abs=0.05)
    assert recall(x, y) < 0.55 and precision(x, y) > 0.8


def test_outlying_reals_inflate_precision_and_leave_density() -> None:
    x, y = draws(0, 300), draws(1, 300)
    x += 8
    y[:6] = draws(2, 6) * 40
    assert precision(x, y) > 0.9 and density(x, y) < 1.3 and coverage(x, y) < 0.1


def test_unequal_sets_are_cut_to_equal_size() -> None:
    x, y = draws(0, 300), draws(1, 900)
    assert coverage(x, y) == pytest.approx(ideal_coverage(300), abs=0.05)
    assert coverage(x, y) == coverage(x, y)


def test_equal_sets_are_covered_wholly() -> None:
    x = draws(0, 50)
    assert precision(x, x) == recall(x, x) == coverage(x, x) == 1
    same = np.ones((20, 3))
    assert coverage(same, same) == 1
