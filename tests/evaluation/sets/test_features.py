import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from cmrgz.evaluation.metrics.sets.features import ks_distances, ks_mean, most_different


@pytest.mark.filterwarnings("ignore:ks_2samp:RuntimeWarning")  # of the p-value
@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_distances_are_those_of_scipy(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 9, (n, 3)) / 2.0, rng.integers(0, 9, (m, 3)) / 2.0
    expected = [ks_2samp(x[:, i], y[:, i]).statistic for i in range(3)]
    np.testing.assert_allclose(ks_distances(x, y), expected)
    assert ks_mean(x, y) == pytest.approx(np.mean(expected))


def test_the_features_that_differ_are_named() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 200, 8)) * 3
    x[:, 5] -= 9
    x[:, 2] *= 4
    found = most_different(x, y, [f"f{i}" for i in range(8)])
    assert [d.name for d in found[:2]] == ["f5", "f2"] and len(found) == 5
    assert found[0].shift == pytest.approx(-3, abs=0.4) and found[1].shift == pytest.approx(0, abs=0.7)
    assert [d.distance for d in found] == sorted((d.distance for d in found), reverse=True)


def test_a_feature_that_is_constant_in_reals_has_no_shift() -> None:
    x, y = np.ones((9, 1)), np.zeros((9, 1))
    assert most_different(x, y, ["a"])[0].distance == 1
    assert np.isnan(most_different(x, y, ["a"])[0].shift)
