from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from cmrgz.evaluation.metrics.base import Sampled
from cmrgz.evaluation.metrics.calibration import METRICS, RATIOS, coverage, rank_histogram


def gaussian(k: int = 4, scale: float = 1.0, shift: float = 0.0, size: int = 256) -> Sampled:
    """Return a truth and samples of a posterior of which each pixel has its own known mean and deviation."""
    rng = np.random.default_rng(0)
    mean, deviation = rng.uniform(0.3, 0.7, (size, size)), rng.uniform(0.01, 0.1, (size, size))
    noise = rng.normal(size=(k + 1, size, size))
    truth, drawn = mean + deviation * noise[0], mean + deviation * (shift + scale * noise[1:])
    return Sampled(truth, np.zeros((size, size), dtype=bool), drawn)


def found(frame: Sampled) -> dict[str, float]:
    values = {m.name: m.of(frame) for m in METRICS}
    return values | {r.name: r.of(values) for r in RATIOS}


@pytest.mark.parametrize("k", [2, 3, 4, 8, 9, 16])
def test_the_exact_posterior_is_calibrated_for_any_number_of_samples(k: int) -> None:
    frame = gaussian(k)
    values = found(frame)
    assert values["kappa"] == pytest.approx(1, abs=0.03)
    assert values["coverage-hole"] == pytest.approx(0.8, abs=0.006)
    np.testing.assert_allclose(rank_histogram(frame) * (k + 1), 1, atol=0.05)
    assert values["rank-low-hole"] == pytest.approx(1, abs=0.05)
    sample, mean = ((frame.drawn - frame.truth) ** 2).mean(), values["error-hole"]
    assert 10 * np.log10(sample / mean) == pytest.approx(3.01, abs=0.1)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_kappa_is_the_ratio_of_variances(scale: float) -> None:
    values = found(gaussian(8, scale))
    assert values["kappa"] == pytest.approx(scale**2, rel=0.03)
    assert (values["coverage-hole"] < 0.6) == (scale < 1)
    assert (values["rank-low-hole"] > 1.5) == (scale < 1)
    assert (values["rank-high-hole"] > 1.5) == (scale < 1)


def test_bias_shows_in_one_tail_of_the_ranks() -> None:
    values = found(gaussian(8, shift=1.0))
    assert values["rank-low-hole"] > 2 and values["rank-high-hole"] < 0.5
    assert values["kappa"] == pytest.approx(0.5, abs=0.03)


def test_error_is_that_of_the_posterior_mean() -> None:
    few, many = found(gaussian(2)), found(gaussian(64))
    assert few["error-hole"] == pytest.approx(many["error-hole"], rel=0.03)
    assert few["variance-hole"] == pytest.approx(many["variance-hole"], rel=0.03)


@given(k=st.integers(1, 30))
def test_coverage_is_exact_for_uniform_ranks(k: int) -> None:
    """Each pixel of the row has another rank among samples 1 .. K."""
    truth = np.arange(k + 1)[None] + 0.5
    drawn = np.broadcast_to(np.arange(1, k + 1)[:, None, None], (k, 1, k + 1)).astype(float)
    frame = Sampled(truth, np.zeros(truth.shape, dtype=bool), drawn)
    np.testing.assert_allclose(rank_histogram(frame), 1 / (k + 1))
    assert coverage(frame) == pytest.approx(0.8)


def test_with_nine_samples_coverage_is_the_inner_interval() -> None:
    frame = gaussian(9)
    low, high = frame.drawn.min(0), frame.drawn.max(0)
    assert coverage(frame) == pytest.approx(((low < frame.truth) & (frame.truth < high)).mean())


def test_ties_count_evenly() -> None:
    frame = Sampled(
        np.zeros((1, 2)), np.zeros((1, 2), dtype=bool), np.array([[[0, 1]], [[0, 1]], [[0, -1]]], dtype=float)
    )
    np.testing.assert_allclose(rank_histogram(frame), [1 / 8, 1 / 8 + 1 / 2, 1 / 8, 1 / 8])


def test_spread_skill_is_spearmans() -> None:
    frame = gaussian()
    expected = spearmanr(frame.drawn.std(0).ravel(), np.abs(frame.mean - frame.truth).ravel()).statistic
    assert found(frame)["spread-skill-hole"] == pytest.approx(expected) and expected > 0.3


def ordered(spread: Any, miss: Any) -> Sampled:
    """Return two samples with given spreads and errors of their mean."""
    truth = np.zeros((1, len(spread)))
    return Sampled(truth, truth > 0, np.stack([miss + spread / 9, miss - spread / 9])[:, None])


def test_ause_of_known_orders() -> None:
    """Of errors evenly spread over [0, 1] the best curve is 1 - f: it is left 0, 1/2 (no order) and 1 (the reverse)."""
    miss = np.linspace(0, 1, 2001)
    random = np.random.default_rng(0).permutation(miss)
    for spread, expected in ((miss, 0), (random, 0.5), (1 - miss, 1)):
        assert found(ordered(spread, miss))["ause-hole"] == pytest.approx(expected, abs=0.03)


def test_ause_does_not_depend_on_the_order_of_equal_spreads() -> None:
    spread, miss = np.repeat([0.1, 0.2], 50), np.random.default_rng(0).random(100)
    turned = found(ordered(spread, np.concatenate([miss[:50][::-1], miss[50:][::-1]])))
    assert found(ordered(spread, miss))["ause-hole"] == pytest.approx(turned["ause-hole"])


def test_confident_and_wrong_shows_in_the_tail() -> None:
    frame = gaussian(size=128)
    wrong = frame.drawn.copy()
    wrong[:, :8] = frame.truth[:8] + 0.3 + 1e-4 * np.arange(4)[:, None, None]  # a sixteenth: sure, and far off
    assert found(Sampled(frame.truth, frame.known, wrong))["tail"] > 10 * found(frame)["tail"]


def test_samples_that_do_not_differ_are_overconfident_and_have_no_order() -> None:
    frame = gaussian()
    values = found(Sampled(frame.truth, frame.known, np.repeat(frame.drawn[:1], 3, axis=0)))
    assert values["kappa"] < 1e-20 and values["coverage-hole"] == pytest.approx(0.6)
    assert all(np.isnan(values[name]) for name in ("spread-skill-hole", "ause-hole", "tail"))


def test_nothing_hidden_is_undefined() -> None:
    frame = Sampled(np.ones((4, 4)), np.ones((4, 4), dtype=bool), np.ones((2, 4, 4)))
    assert all(np.isnan(m.of(frame)) for m in METRICS)
