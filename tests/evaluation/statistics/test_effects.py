import numpy as np
import pytest
from scipy import stats

from cmrgz.evaluation.statistics.bootstrap import bootstrap
from cmrgz.evaluation.statistics.effects import cliff_delta, cohen_dz, compare, detectable
from cmrgz.evaluation.statistics.estimates import rank_correlation


def normal(n: int = 40, at: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(at, 1, n)


def column(values: np.ndarray) -> dict[str, float]:
    return {f"s{i:03}": float(v) for i, v in enumerate(values)}


def test_dz_by_hand() -> None:
    """Differences 1 2 3 4 5: mean 3, sd sqrt(2.5)."""
    assert bootstrap(cohen_dz(np.arange(1.0, 6)), 5).point == pytest.approx(3 / 2.5**0.5)


def test_dz_is_t_over_the_root_of_n() -> None:
    d = normal(at=0.3)
    assert bootstrap(cohen_dz(d), 40).point == pytest.approx(stats.ttest_1samp(d, 0).statistic / 40**0.5)


def test_dz_in_a_resample_is_that_of_the_repeated_values() -> None:
    d = normal(6)
    weights = np.array([[2.0, 0, 1, 0, 3, 0]])
    drawn = np.repeat(d, weights[0].astype(int))
    assert cohen_dz(d)(weights)[0] == pytest.approx(drawn.mean() / drawn.std(ddof=1))


def test_dz_of_equal_differences_is_not_defined() -> None:
    interval = bootstrap(cohen_dz(np.full(9, 0.1)), 9).interval()
    assert np.isnan([interval.point, interval.low]).all()


def test_intervals_of_dz_cover_the_true_one() -> None:
    rng = np.random.default_rng(0)
    held = [bootstrap(cohen_dz(rng.normal(0.5, 1, 40)), 40, 800).interval().side(0.5) == 0 for _ in range(300)]
    assert 0.9 < np.mean(held) < 0.99


def test_cliff_by_hand() -> None:
    """First 1 3 5 against 2 3 4: 4 of 9 pairs ahead, 4 behind, 1 tie."""
    assert bootstrap(cliff_delta(np.array([1.0, 3, 5]), np.array([2.0, 3, 4])), 3).point == 0
    assert bootstrap(cliff_delta(np.array([5.0, 6]), np.array([1.0, 2])), 2).point == 1


def test_cliff_is_mann_whitney_scaled() -> None:
    a, b = normal(at=0.4), normal(seed=1)
    u = stats.mannwhitneyu(a, b).statistic
    assert bootstrap(cliff_delta(a, b), 40).point == pytest.approx(2 * u / 40**2 - 1)


def test_the_detectable_difference_has_eighty_percent_power() -> None:
    n, rng = 60, np.random.default_rng(0)
    effect = 2.8 / n**0.5
    power = np.mean([stats.ttest_1samp(rng.normal(effect, 1, n), 0).pvalue < 0.05 for _ in range(2000)])
    assert detectable(np.array([0.0, 2.0])) == pytest.approx(2.8 * 2**0.5 / 2**0.5)
    assert abs(power - 0.8) < 0.03 and np.isnan(detectable(np.ones(1)))


def test_rank_correlation_of_rows() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 5, 6))
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(rank_correlation(x, y), expected)
    assert np.isnan(rank_correlation(np.ones((1, 3)), np.arange(3.0)[None])[0])


def test_a_comparison_of_two_methods() -> None:
    base = 5 * normal(40)
    found = compare(column(base + normal(40, 1.0, seed=1)), column(base))
    assert found.difference.side() == 1 and found.p < 0.001
    assert found.dz.side() == 1 and 0 < found.cliff.point < 0.3  # pairing sees what the columns hide
    assert found.detectable == pytest.approx(2.8 * normal(40, 1.0, 1).std(ddof=1) / 40**0.5)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_comparison_of_next_to_nothing_decides_nothing_and_does_not_fail(n: int) -> None:
    found = compare(column(normal(n)), column(normal(n, seed=1)))
    assert found.difference.n == n and not found.p < 0.5


def test_the_same_values_twice_show_nothing() -> None:
    found = compare(column(normal()), column(normal()))
    assert found.difference.side() == 0 and found.p == 1 and found.cliff.side() == 0
