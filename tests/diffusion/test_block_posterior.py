"""Blocks held against a posterior that is known exactly: a Gaussian whose frames depend on each other."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cmrgz.diffusion.levels import Path, make_path
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.diffusion.network import DenoisingNetwork
from cmrgz.diffusion.objectives import OBJECTIVES
from cmrgz.model import Condition
from cmrgz.rng import Streams
from cmrgz.testing.mixtures import PixelTokenizer, energy_score

SHAPE = (3, 2, 4, 4)
LENGTHS = (3.0, 1.0, 1.5, 1.5)
"""Steps over which frames and pixels forget each other, by axis."""
MEAN, ITEMS, DRAWS = 0.1, 3, 200


class Field:
    """A Gaussian over blocks: a constant mean, a covariance that falls off along every axis."""

    def __init__(self) -> None:
        one = torch.ones(1, 1, dtype=torch.float64)
        for n, length in zip(SHAPE, LENGTHS, strict=True):
            apart = (torch.arange(n)[:, None] - torch.arange(n)).abs().double()
            one = torch.kron(one, torch.exp(-apart / length))
        self.covariance = 0.09 * one
        self.factor = torch.linalg.cholesky(self.covariance)

    def sample(self, n: int, seed: int) -> Tensor:
        """Return draws (n, d)."""
        e = torch.randn(n, len(self.factor), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return MEAN + e @ self.factor.T

    def posterior(self, y: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return means (n, hidden) and the covariance (hidden, hidden) given y (n, d) at known (d,)."""
        c = self.covariance
        gain = torch.linalg.solve(c[known][:, known], c[known][:, ~known]).T
        return MEAN + (y[:, known] - MEAN) @ gain.T, c[~known][:, ~known] - gain @ c[known][:, ~known]


class Exact(DenoisingNetwork):
    """Predicts without error from what it is told: the field's own posterior, in the units of the states."""

    def __init__(self, field: Field, objective: str, path: Path) -> None:
        super().__init__()
        self.field, self.objective, self.path = field, OBJECTIVES[objective], path
        self.spread = 1.0
        self.anchor = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, inputs: Tensor, time: Tensor, condition: Condition | None) -> Tensor:
        """All items have one level and one mask."""
        level = self.path.level(float(time[0]))
        a, s = level.signal, level.noise
        z = inputs[:, 0].flatten(1).double() / float(self.objective.enter(torch.ones(()), a, s))
        origin, scale = inputs[:, 1].flatten(1).double(), self.spread * inputs[:, 2].flatten(1).double().exp()
        known = inputs[0, -1].flatten() > 0
        mean, covariance = self.field.posterior(origin, known)
        off = (mean - origin[:, ~known]) / scale[:, ~known]
        shared = scale[:, ~known].round(decimals=5)  # by the draws of an item
        rows, which = shared.unique(dim=0, return_inverse=True)
        prior = covariance / rows[:, :, None] / rows[:, None]
        noisy = a * a * prior + s * s * torch.eye(prior.shape[1], dtype=torch.float64)
        gain = a * torch.linalg.solve(noisy, prior).transpose(1, 2)
        x0 = torch.zeros_like(z)
        x0[:, ~known] = off + (gain[which] @ (z[:, ~known] - a * off)[..., None])[..., 0]
        usual = self.objective.target(a * z, s * z, a, s)  # the model adds what is best for standard normal data
        return (self.objective.target(x0, (z - a * x0) / s, a, s) - usual).view_as(inputs[:, :1])


FIELD = Field()


def exact_model(objective: Any) -> LatentDiffusion:
    network = Exact(FIELD, objective, make_path(objective))
    model = LatentDiffusion(network, PixelTokenizer(), objective, axes="tzyx").eval()
    model.fit(FIELD.sample(64, 1).float().view(64, 1, *SHAPE), rng=Streams(0, [("fit", i) for i in range(64)]))
    assert model.hints is not None
    network.spread = float(model.hints.spread)
    return model


def hole(kind: str) -> Tensor:
    """Return known positions (t, z, y, x)."""
    known = torch.ones(SHAPE, dtype=torch.bool)
    if kind == "scattered":
        return torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) < 0.4
    if kind == "box":
        known[:, :, 1:3, 1:4] = False
    if kind == "phase":
        known[1] = False
    if kind == "slice":
        known[:, 1] = False
    return known


def measured(objective: str, kind: str, **options: Any) -> dict[str, float]:
    """Return variance, bias and energy score of draws relative to the posterior, and how well covariances fit."""
    known, truth = hole(kind), FIELD.sample(ITEMS, 2)
    hidden = ~known.flatten()
    mean, covariance = FIELD.posterior(truth, known.flatten())
    x = truth.float().view(ITEMS, 1, *SHAPE).repeat_interleave(DRAWS, 0)
    rng = Streams(0, [(i, k) for i in range(ITEMS) for k in range(DRAWS)])
    given = known.expand_as(x)
    drawn = exact_model(objective).sample(torch.where(given, x, 0.0), given, rng=rng, **options)
    assert torch.equal(drawn[given], x[given])
    drawn = drawn.double().flatten(1)[:, hidden].unflatten(0, (ITEMS, DRAWS))
    unit, spread = covariance.diagonal().mean(), drawn.var(1).mean()
    own = torch.cov((drawn - drawn.mean(1, keepdim=True)).flatten(0, 1).T)
    e = torch.randn(ITEMS, DRAWS, len(own), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    exact = mean[:, None] + e @ torch.linalg.cholesky(covariance).T
    found = {
        "variance": spread / unit,
        "bias": ((drawn.mean(1) - mean).square().mean() - spread / DRAWS) / unit,
        "energy": energy_score(drawn, truth[:, hidden]) / energy_score(exact, truth[:, hidden]),
        "covariance": torch.linalg.solve(covariance, own).trace() / len(own),
    }
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("kind", ["scattered", "box", "phase", "slice"])
@pytest.mark.parametrize("objective", ["v", "flow"])
def test_the_default_samples_the_posterior(objective: str, kind: str) -> None:
    """In 6 calls, and exactly in many."""
    found = measured(objective, kind)
    assert 0.9 < found["variance"] < 1.1 and abs(found["bias"]) < 0.01
    assert found["energy"] < 1.03 and found["covariance"] > 0.8
    if objective == "v":
        many = measured(objective, kind, steps=40)
        assert 0.95 < many["variance"] < 1.05 and 0.97 < many["covariance"] < 1.03


def test_a_network_that_is_told_nothing_serves_the_algorithms_that_guide_it() -> None:
    found = measured("v", "slice", algorithm="lanpaint")
    assert 0.8 < found["variance"] < 1.15 and abs(found["bias"]) < 0.03 and found["energy"] < 1.04


def test_replacement_does_not() -> None:
    """The test has power: the usual baseline fails it."""
    found = measured("v", "scattered", algorithm="replace", steps=20)
    assert found["bias"] > 0.1 and found["energy"] > measured("v", "scattered")["energy"] + 0.02


def test_few_steps_of_trig_do_what_many_of_dpm_do() -> None:
    trig, dpm = (measured("v", "slice", sampler=s, steps=6) for s in ("trig", "dpm"))
    assert trig["variance"] > 0.9 > 0.8 > dpm["variance"]


def test_generation_has_the_covariance_of_the_field() -> None:
    n = 600
    x = torch.zeros(n, 1, *SHAPE)
    drawn = exact_model("v").sample(x, x > 1, rng=Streams(0, [("item", i) for i in range(n)])).double()
    frames = drawn.flatten(4).squeeze(1) - MEAN  # (n, t, z, pixels)
    for lag, axis, length in ((1, 1, LENGTHS[0]), (2, 1, LENGTHS[0]), (1, 2, LENGTHS[1])):
        first, second = frames.narrow(axis, 0, SHAPE[axis - 1] - lag), frames.narrow(axis, lag, SHAPE[axis - 1] - lag)
        assert float((first * second).mean() / 0.09) == pytest.approx(math.exp(-lag / length), abs=0.04)
    assert float(frames.square().mean()) == pytest.approx(0.09, rel=0.05)
