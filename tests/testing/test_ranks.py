"""The rank test on samplers whose posterior is known exactly, and on ways to be none."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from cmrgz.rng import Streams, derive
from cmrgz.testing.mixtures import Mixture, hole, mixture_model
from cmrgz.testing.ranks import Ranks, rank, uniform_p

SIDE, COUNT = 8, 256
MIXTURE = Mixture.rings(SIDE)
TRUTH = MIXTURE.sample(COUNT, torch.Generator().manual_seed(0)).float().view(-1, 1, SIDE, SIDE)
KNOWN = hole("scattered", 0.75, SIDE).expand_as(TRUTH)


def exact(x: Tensor, known: Tensor, rng: Streams, wider: float = 1.0) -> Tensor:
    """Draw from the posterior, or about its mean with another spread."""
    seen = known[0].flatten()
    posterior = MIXTURE.posterior(x.flatten(1).double(), seen)
    mean = posterior.moments()[0]
    drawn = posterior.sample(torch.Generator().manual_seed(derive(rng.seed, *rng.keys[0]) % 2**31))
    result = x.flatten(1).clone()
    result[:, ~seen] = (mean + wider * (drawn - mean)).float()
    return result.view_as(x)


def ranked(draw: Callable[[Tensor, Tensor, Streams], Tensor]) -> Ranks:
    return rank(draw, TRUTH, KNOWN)


def test_the_posterior_is_a_posterior_sampler() -> None:
    found = ranked(exact)
    assert found.verdict == "posterior sampler" and found.line.startswith("posterior sampler: ranks of ")


@pytest.mark.parametrize("wider", [0.5, 2.0])
def test_too_little_and_too_much_variety_is_a_heuristic(wider: float) -> None:
    assert ranked(lambda x, known, rng: exact(x, known, rng, wider)).verdict == "heuristic"


def test_a_mean_is_a_heuristic_with_one_answer() -> None:
    assert ranked(lambda x, known, rng: exact(x, known, rng, 0.0)).line == "heuristic: one answer, whatever the seed"


def test_draws_that_do_not_look_at_what_is_known_are_a_heuristic() -> None:
    def blind(x: Tensor, known: Tensor, rng: Streams) -> Tensor:
        seed = derive(rng.seed, *rng.keys[0]) % 2**31
        return MIXTURE.sample(len(x), torch.Generator().manual_seed(seed)).float().view_as(x)

    assert ranked(blind).verdict == "heuristic"


def test_where_nothing_depends_on_what_is_known_no_verdict_is_given() -> None:
    def noise(x: Tensor, known: Tensor, rng: Streams) -> Tensor:
        return rng.normal(1, SIDE, SIDE)

    truth = torch.randn(COUNT, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    found = rank(noise, truth, KNOWN)
    assert found.verdict == "undecided" and "hardly matters" in found.line


@pytest.mark.parametrize(("algorithm", "verdict"), [("lanpaint", "posterior sampler"), ("replace", "heuristic")])
def test_an_exact_denoiser_is_as_good_as_its_algorithm(algorithm: str, verdict: str) -> None:
    model = mixture_model(MIXTURE)

    def draw(x: Tensor, known: Tensor, rng: Streams) -> Tensor:
        return model.sample(x, known, rng=rng, algorithm=algorithm)

    assert ranked(draw).verdict == verdict


def test_uniform_ranks_are_likely_and_others_not() -> None:
    rng = np.random.default_rng(0)
    p = [uniform_p(rng.integers(0, 8, COUNT), 7) for _ in range(400)]
    assert np.mean(np.array(p) < 0.1) == pytest.approx(0.1, abs=0.05)
    assert uniform_p(np.zeros(COUNT, np.int64), 7) < 1e-9
