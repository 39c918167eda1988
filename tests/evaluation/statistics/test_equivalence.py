import numpy as np
import pytest
from scipy import stats

from cmrgz.errors import UsageError
from cmrgz.evaluation.statistics.bootstrap import bootstrap
from cmrgz.evaluation.statistics.equivalence import tost
from cmrgz.evaluation.statistics.estimates import mean


def sample(at: float, n: int = 60) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=n)
    return (x - x.mean()) / x.std(ddof=1) + at


@pytest.mark.parametrize("at", [-0.35, 0.0, 0.25, 0.45, 0.6])
def test_the_bootstrap_agrees_with_t_on_normal_data(at: float) -> None:
    x = sample(at)
    found = tost(bootstrap(mean(x), 60), 0.5)
    sides = ((-0.5, "greater"), (0.5, "less"))
    exact = max(stats.ttest_1samp(x, margin, alternative=side).pvalue for margin, side in sides)
    assert found.p == pytest.approx(exact, abs=0.02)
    assert found.interval.low == pytest.approx(stats.ttest_1samp(x, 0).confidence_interval(0.9).low, abs=0.05)
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


def test_too_few_subjects_show_nothing() -> None:
    for n in (0, 1):
        found = tost(bootstrap(mean(np.ones(n)), n), 5)
        assert np.isnan(found.p) and not found.equivalent and not found.beyond


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan")])
def test_a_margin_must_be_given(margin: float) -> None:
    with pytest.raises(UsageError, match="range"):
        tost(bootstrap(mean(sample(0)), 60), margin)
