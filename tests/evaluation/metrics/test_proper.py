from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import gamma
from scipy.stats import norm

from cmrgz.evaluation.metrics.base import Sampled
from cmrgz.evaluation.metrics.proper import METRICS, PAIRS


def found(truth: Any, drawn: Any) -> dict[str, float]:
    frame = Sampled(truth, np.zeros(truth.shape, dtype=bool), drawn)
    return {m.name: m.of(frame) for m in METRICS}


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("y", [0.0, 0.7, -2.0])
def test_crps_of_a_gaussian(y: float, k: int) -> None:
    """CRPS of N(0, 1) at y: y (2 F(y) - 1) + 2 f(y) - 1 / sqrt(pi), for any number of samples."""
    drawn = np.random.default_rng(0).normal(size=(k, 200, 200))
    expected = y * (2 * norm.cdf(y) - 1) + 2 * norm.pdf(y) - 1 / np.sqrt(np.pi)
    assert found(np.full((200, 200), y), drawn)["crps-hole"] == pytest.approx(expected, abs=0.015)


def test_crps_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    y, x = rng.random((5, 6)), rng.random((4, 5, 6))
    apart = sum(np.abs(a - b) for a in x for b in x) / (2 * 4 * 3)
    assert found(y, x)["crps-hole"] == pytest.approx((np.abs(x - y).mean(0) - apart).mean())


def test_energy_of_one_hidden_pixel_is_its_crps() -> None:
    rng = np.random.default_rng(0)
    known = np.ones((8, 8), dtype=bool)
    known[3, 3] = False
    frame = Sampled(rng.random((8, 8)), known, rng.random((4, 8, 8)))
    values = {m.name: m.of(frame) for m in METRICS}
    assert values["energy-hole"] == pytest.approx(values["crps-hole"])
    assert np.isnan(values["variogram-hole"])


def test_variogram_score_of_independent_gaussians() -> None:
    """|N(0, 2)|^.5 has mean m and second moment 2 / sqrt(pi): the score of the truth is its variance."""
    rng = np.random.default_rng(0)
    scores = [found(rng.normal(size=(30, 30)), rng.normal(size=(4, 30, 30)))["variogram-hole"] for _ in range(300)]
    mean = np.sqrt(2) ** 0.5 * 2**0.25 * gamma(0.75) / np.sqrt(np.pi)
    assert np.mean(scores) == pytest.approx(2 / np.sqrt(np.pi) - mean**2, rel=0.03)


WRONG = {
    "narrow": lambda x: x * 0.5,
    "wide": lambda x: x * 2,
    "shifted": lambda x: x + 0.5,
}


@pytest.mark.parametrize("change", WRONG.values(), ids=list(WRONG))
def test_draws_from_the_truth_score_best(change: Any) -> None:
    rng = np.random.default_rng(0)
    draws = [(rng.normal(size=(16, 16)), rng.normal(size=(4, 16, 16))) for _ in range(200)]
    right = {name: np.mean([found(y, x)[name] for y, x in draws]) for name in found(*draws[0])}
    wrong = {name: np.mean([found(y, change(x))[name] for y, x in draws]) for name in right}
    better = set(right) - ({"variogram-hole"} if change is WRONG["shifted"] else set())  # of differences alone
    assert all(right[name] < wrong[name] for name in better)


def test_the_variogram_score_sees_a_wrong_joint_with_right_marginals() -> None:
    """Smooth truths, and samples of which each pixel is right and independent of its neighbours."""
    rng = np.random.default_rng(0)

    def smooth(n: int) -> Any:
        field = gaussian_filter(rng.normal(size=(n, 24, 24)), 6, axes=(1, 2), mode="wrap")
        return field / field.std()

    truths, joint = smooth(200), smooth(800).reshape(200, 4, 24, 24)
    apart = rng.normal(size=joint.shape)
    right = np.mean([found(y, x)["variogram-hole"] for y, x in zip(truths, joint, strict=True)])
    wrong = np.mean([found(y, x)["variogram-hole"] for y, x in zip(truths, apart, strict=True)])
    assert wrong > 1.1 * right


def test_pairs_are_the_same_for_every_method() -> None:
    rng = np.random.default_rng(0)
    y, x = rng.random((9, 9)), rng.random((3, 9, 9))
    assert found(y, x) == found(y.copy(), x.copy()) and PAIRS == 200


def test_nothing_hidden_is_undefined() -> None:
    frame = Sampled(np.ones((4, 4)), np.ones((4, 4), dtype=bool), np.ones((2, 4, 4)))
    assert all(np.isnan(m.of(frame)) for m in METRICS)
