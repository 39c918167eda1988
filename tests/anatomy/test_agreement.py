"""How two measurements of the same subjects agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from cmrgz.anatomy.agreement import agreement, correlation


def test_agreement_has_the_closed_form_of_bland_and_altman() -> None:
    truth, difference = np.array([10.0, 20, 30, 40]), np.array([1.0, 3, -1, 5])
    found = agreement(truth + difference, truth)
    sd = np.sqrt(20 / 3)
    assert (found.n, found.bias, found.mae) == (4, 2, 2.5)
    assert found.limits == pytest.approx((2 - 1.96 * sd, 2 + 1.96 * sd))


def test_agreement_of_equal_values_is_perfect_and_of_few_is_nan() -> None:
    assert agreement([1, 2, 3], [1, 2, 3]).limits == (0, 0)
    two = agreement([1, np.nan, 4], [1, 2, np.nan])
    assert two.n == 1 and two.bias == 0 and np.isnan(two.limits).all()
    none = agreement([np.nan], [1.0])
    assert none.n == 0 and np.isnan(none.bias)


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=30), st.floats(-50, 50))
def test_a_shift_is_the_bias_alone(values: list[float], shift: float) -> None:
    found = agreement([v + shift for v in values], values)
    assert found.bias == pytest.approx(shift, abs=1e-9) and found.mae == pytest.approx(abs(shift), abs=1e-9)
    assert found.limits[1] - found.limits[0] == pytest.approx(0, abs=1e-9)


def test_correlation_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    y = 0.7 * x + rng.normal(size=40)
    y[3], x[5] = np.nan, np.nan
    both = np.isfinite(x) & np.isfinite(y)
    found, want = correlation(x, y), pearsonr(x[both], y[both])
    assert (found.n, found.r) == (38, pytest.approx(want.statistic))
    interval = want.confidence_interval()
    assert found.interval == pytest.approx((interval.low, interval.high), abs=1e-6)
    assert found.slope == pytest.approx(np.polyfit(x[both], y[both], 1)[0])


def test_a_correlation_that_is_not_defined_is_nan() -> None:
    for x, y in ((np.ones(9), np.arange(9.0)), (np.arange(2.0), np.arange(2.0)), (np.zeros(0), np.zeros(0))):
        assert np.isnan(correlation(x, y).r)
    three = correlation(np.arange(3.0), np.arange(3.0) ** 2)
    assert three.r > 0.9 and np.isnan(three.interval).all()
    assert correlation(np.arange(5.0), np.arange(5.0)).r == pytest.approx(1)
