import numpy as np
import pytest
from scipy import stats

from cmrgz.errors import UsageError
from cmrgz.evaluation.statistics.bootstrap import bootstrap
from cmrgz.evaluation.statistics.equivalence import tost, tost_t
from cmrgz.evaluation.statistics.estimates import mean


def sample(at: float, n: int = 60) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=n)
    return (x - x.mean()) / x.std(ddof=1) + at


def test_by_hand() -> None:
    """Mean .1, sd 1, n = 25, margin .5: t = (.5 - .1) / .2 = 2 with 24 degrees of freedom, p = .0285."""
    found = tost_t(sample(0.1, 25), 0.5)
    assert found.p == pytest.approx(0.0285, abs=5e-5) and found.equivalent
    assert found.interval.level == pytest.approx(0.9)
    assert found.interval.high == pytest.approx(0.1 + 1.7109 * 0.2, abs=1e-4)  # t(24) table, one-sided .05


@pytest.mark.parametrize("at", [-0.4, 0.0, 0.2, 0.6])
def test_it_is_two_one_sided_t_tests(at: float) -> None:
    x = sample(at)
    below = stats.ttest_1samp(x, -0.5, alternative="greater").pvalue
    above = stats.ttest_1samp(x, 0.5, alternative="less").pvalue
    assert tost_t(x, 0.5).p == pytest.approx(max(below, above))


@pytest.mark.parametrize("at", [-0.35, 0.0, 0.25, 0.45, 0.6])
def test_the_bootstrap_agrees_with_t_on_normal_data(at: float) -> None:
    x = sample(at)
    found, exact = tost(bootstrap(mean(x), 60), 0.5), tost_t(x, 0.5)
    assert found.p == pytest.approx(exact.p, abs=0.02)
    assert found.interval.low == pytest.approx(exact.interval.low, abs=0.05)
    assert found.equivalent == (found.interval.low > -0.5 and found.interval.high < 0.5)


def test_at_the_margin_equivalence_is_found_about_one_time_in_twenty() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0.5, 1, (400, 40))
    assert 0.02 < np.mean([tost(bootstrap(mean(row), 40, 1000), 0.5).equivalent for row in x]) < 0.09


def test_no_difference_found_is_not_equivalence() -> None:
    noisy = sample(0.0, 12) * 3
    found = tost(bootstrap(mean(noisy), 12), 0.5)
    assert found.interval.side() == 0 and not found.equivalent and not found.beyond


@pytest.mark.parametrize("at", [-2.0, 2.0])
def test_far_out_is_beyond(at: float) -> None:
    found = tost(bootstrap(mean(sample(at)), 60), 0.5)
    assert found.beyond and not found.equivalent


def test_identical_methods_are_equivalent_when_there_are_enough_subjects() -> None:
    assert tost(bootstrap(mean(np.zeros(20)), 20), 0.1).equivalent
    assert not tost(bootstrap(mean(np.zeros(3)), 3), 0.1).equivalent
    assert tost_t(np.zeros(20), 0.1).equivalent


def test_too_few_subjects_show_nothing() -> None:
    for found in (tost(bootstrap(mean(np.ones(1)), 1), 5), tost_t(np.ones(1), 5), tost_t(np.empty(0), 5)):
        assert np.isnan(found.p) and not found.equivalent and not found.beyond


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan")])
def test_a_margin_must_be_given(margin: float) -> None:
    with pytest.raises(UsageError, match="range"):
        tost_t(sample(0), margin)
