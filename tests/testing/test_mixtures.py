"""The mixture's closed forms against its own draws."""

import pytest
import torch

from cmrgz.diffusion.levels import DiffusionPath
from cmrgz.testing.mixtures import Mixture, MixtureNetwork, energy_score, hole, mixture_model, score

MIXTURE = Mixture.rings(6)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_moments_are_those_of_the_draws() -> None:
    drawn = MIXTURE.sample(40_000, generator())
    torch.testing.assert_close(drawn.mean(0), MIXTURE.mean, rtol=0, atol=0.03)
    torch.testing.assert_close(torch.cov(drawn.T), MIXTURE.covariance, rtol=0, atol=0.1)


def test_the_posterior_is_that_of_pairs_drawn_together() -> None:
    """Hidden residuals are uncorrelated with the known part, and as wide as the posterior says."""
    known = hole("bottom", 0.5, 6).flatten()
    drawn = MIXTURE.sample(20_000, generator())
    posterior = MIXTURE.posterior(drawn, known)
    mean, variance = posterior.moments()
    rest = drawn[:, ~known] - mean
    assert float(rest.square().mean() / variance.mean()) == pytest.approx(1, rel=0.03)
    assert rest.mean().abs() < 0.02
    correlation = (rest.T @ (drawn[:, known] - drawn[:, known].mean(0))) / len(drawn)
    assert correlation.abs().max() < 0.04
    again = posterior.sample(generator(1)) - mean
    torch.testing.assert_close(torch.cov(again.T), torch.cov(rest.T), rtol=0, atol=0.05)


@pytest.mark.parametrize("time", [100.0, 500.0, 900.0])
def test_the_expected_data_is_the_best_guess(time: float) -> None:
    """The error of E[x | z] is uncorrelated with z, and any other guess of x is worse."""
    level = DiffusionPath().level(time)
    network = MixtureNetwork(MIXTURE, "v", DiffusionPath())
    x = MIXTURE.sample(20_000, generator())
    z = level.signal * x + level.noise * torch.randn(x.shape, dtype=torch.float64, generator=generator(1))
    guess = network.expected(z, level.ab)
    error = (guess - x).square().mean()
    for other in (guess * 0.97, guess * 1.03, guess + 0.05, guess + 0.02 * z):
        assert (other - x).square().mean() > error
    assert (((guess - x).T @ z) / len(x)).abs().max() < 0.06


def test_exact_draws_score_one_and_wrong_ones_more() -> None:
    truth = MIXTURE.sample(300, generator())
    known = hole("box", 0.5, 6).flatten()
    posterior = MIXTURE.posterior(truth, known)
    exact, second = (torch.stack([posterior.sample(generator(10 * i + j)) for j in range(8)], 1) for i in (1, 2))
    real = truth[:, ~known]
    best = energy_score(exact, real)
    assert float(energy_score(second, real) / best) == pytest.approx(1, abs=0.03)
    mean = exact.mean(1, keepdim=True)
    assert energy_score(mean + 2 * (exact - mean), real) > 1.03 * best
    assert energy_score(exact + 0.5, real) > 1.1 * best


def test_a_score_shows_only_what_is_known_to_the_model() -> None:
    model, known = mixture_model(MIXTURE), hole("scattered", 0.5, 6)
    assert score(model, MIXTURE, known, items=4, draws=4) == score(model, MIXTURE, known, items=4, draws=4)


@pytest.mark.parametrize("kind", ["scattered", "box", "top", "bottom"])
def test_holes_have_their_share(kind: str) -> None:
    assert float(1 - hole(kind, 0.25).float().mean()) == pytest.approx(0.25, abs=0.02)
