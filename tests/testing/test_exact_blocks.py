"""Kits of blocks on a mixture with correlated frames: draws are those of the exact posterior, in whatever units."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from cmrgz.diffusion.levels import make_path
from cmrgz.model import Model
from cmrgz.rng import Streams
from cmrgz.testing.binned import causal_model, masked_model
from cmrgz.testing.exact_blocks import MixtureBlockNetwork, block_hole, mixture_block_model
from cmrgz.testing.masked import masked_mixture_model
from cmrgz.testing.mixtures import Mixture, score

MIXTURE = Mixture.blocks(3, (2, 2))
KINDS = ("phase", "scattered")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_moments_of_blocks_are_those_of_the_draws() -> None:
    assert MIXTURE.item == (2, 2, 3, 3) and MIXTURE.axes == "tzyx"
    drawn = MIXTURE.sample(40_000, generator())
    torch.testing.assert_close(drawn.mean(0), MIXTURE.mean, rtol=0, atol=0.03)
    torch.testing.assert_close(torch.cov(drawn.T), MIXTURE.covariance, rtol=0, atol=0.1)


def test_frames_are_the_more_alike_the_nearer_they_are() -> None:
    long = Mixture.blocks(3, (3, 2)).covariances[0].view(3, 2, 9, 3, 2, 9)
    own, next_phase, later, next_slice = (long[0, 0, 4, t, z, 4] for t, z in ((0, 0), (1, 0), (2, 0), (0, 1)))
    assert own > next_phase > later > next_slice > 0
    assert float(next_phase / own) == pytest.approx(0.9) and float(later / own) == pytest.approx(0.81)


@pytest.mark.parametrize(("kind", "share"), [("phase", 1 / 2), ("slice", 1 / 2), ("held", 5 / 9), ("scattered", 5 / 9)])
def test_holes_of_blocks(kind: str, share: float) -> None:
    known = block_hole(kind, 0.6, MIXTURE)
    assert float((~known).float().mean()) == pytest.approx(share)
    alike = bool((known == known[:1, :1]).all())
    assert alike == (kind == "held")


@pytest.mark.parametrize("time", [100.0, 500.0, 900.0])
@pytest.mark.parametrize("kind", ["phase", "scattered"])
def test_what_is_left_over_is_the_best_guess_given_what_is_known(kind: str, time: float) -> None:
    """Its error is uncorrelated with the state and with what is known, and any other guess is worse."""
    level, known, n = make_path("v").level(time), block_hole(kind, 0.5, MIXTURE).flatten(), 6000
    network = MixtureBlockNetwork(MIXTURE, "v", make_path("v"))
    x = MIXTURE.sample(n, generator())
    origin = torch.where(known, x, 0.3)
    scale = torch.linspace(0.4, 1, x.shape[1], dtype=torch.float64).expand_as(x)
    u = (x - origin) / scale
    z = level.signal * u + level.noise * torch.randn(x.shape, dtype=torch.float64, generator=generator(1))
    guess = network.left_over(z, origin, scale, known.expand_as(x), level.ab)
    assert torch.equal(guess[:, known], torch.zeros_like(guess[:, known]))
    guess, real, z = guess[:, ~known], u[:, ~known], z[:, ~known]
    error = (guess - real).square().mean()
    for other in (guess * 0.9, guess * 1.1, guess + 0.05, guess + 0.05 * z):
        assert (other - real).square().mean() > error
    assert (((guess - real).T @ z) / n).abs().max() < 0.15
    assert (((guess - real).T @ x[:, known]) / n).abs().max() < 0.15


def test_without_a_known_part_it_is_the_denoiser_of_frames() -> None:
    network, z = MixtureBlockNetwork(MIXTURE, "v", make_path("v")), MIXTURE.sample(5, generator())
    nothing, one = torch.zeros_like(z, dtype=torch.bool), torch.ones_like(z)
    short = network.left_over(z, 0 * z, one, nothing, 0.4)
    long = network._hidden(z, 0 * z, one, nothing[0], 0.4)
    torch.testing.assert_close(short, long)


PERFECT: dict[str, tuple[Callable[[], Model], dict[str, Any]]] = {
    "diffusion, told of what is known": (lambda: mixture_block_model(MIXTURE), {"algorithm": "cond", "steps": 20}),
    "the same, in other units": (lambda: mixture_block_model(MIXTURE, scale=0.5), {"algorithm": "cond", "steps": 40}),
    "flow": (lambda: mixture_block_model(MIXTURE, "flow"), {"algorithm": "cond", "steps": 20}),
    "diffusion, not told": (lambda: mixture_block_model(MIXTURE), {"algorithm": "lanpaint", "steps": 20, "moves": 10}),
    "masked vectors": (lambda: masked_mixture_model(MIXTURE), {"steps": 36}),
    "the same vectors, in other units": (lambda: masked_mixture_model(MIXTURE, scale=0.5), {"steps": 36}),
    "masked codes": (lambda: masked_model(MIXTURE), {"steps": 36}),
    "causal codes": (lambda: causal_model(MIXTURE), {"parallel": 1}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(PERFECT))
def test_a_perfect_model_of_blocks_draws_from_the_posterior(name: str, kind: str) -> None:
    build, options = PERFECT[name]
    items = 16 if name == "masked codes" else 48  # its matrices are those of single items
    found = score(build(), MIXTURE, block_hole(kind, 0.5, MIXTURE), items=items, draws=8, **options)
    assert found.variance == pytest.approx(1, abs=0.15)
    assert abs(found.bias) < 0.08
    assert found.energy < 1.08


def test_a_model_that_takes_frames_for_independent_is_found_out() -> None:
    """The score sees what neighbours in time are worth: with the right frames each by itself it is far off."""
    alone = Mixture(MIXTURE.weights, MIXTURE.means, _alone(MIXTURE.covariances), 3, MIXTURE.frames)
    known = block_hole("phase", 1, MIXTURE)
    found = score(masked_mixture_model(alone), MIXTURE, known, items=48, draws=8, steps=36)
    assert found.variance > 2 and found.energy > 1.3


def _alone(covariances: torch.Tensor) -> torch.Tensor:
    """Return covariances (k, 36, 36) of which those between frames are 0."""
    return covariances * torch.kron(torch.eye(4), torch.ones(9, 9)).to(covariances)


@pytest.mark.parametrize("name", list(PERFECT))
def test_a_perfect_model_reads_no_hidden_voxel(name: str) -> None:
    build, options = PERFECT[name]
    model, known = build(), block_hole("scattered", 0.5, MIXTURE).expand(3, 1, *MIXTURE.item)
    x = MIXTURE.sample(3, generator()).float().view(3, 1, *MIXTURE.item)

    def draw(hidden: float) -> torch.Tensor:
        return model.sample(torch.where(known, x, hidden), known, rng=Streams(0, [(i,) for i in range(3)]), **options)

    assert torch.equal(draw(0.0), draw(math.nan)) and torch.equal(draw(0.0), draw(5.0))
