import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from cmrgz.evaluation.metrics.sets.features import ks_distances, ks_mean


@pytest.mark.filterwarnings("ignore:ks_2samp:RuntimeWarning")  # of the p-value
@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_distances_are_those_of_scipy(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 9, (n, 3)) / 2.0, rng.integers(0, 9, (m, 3)) / 2.0
    expected = [ks_2samp(x[:, i], y[:, i]).statistic for i in range(3)]
    np.testing.assert_allclose(ks_distances(x, y), expected)
    assert ks_mean(x, y) == pytest.approx(np.mean(expected))
