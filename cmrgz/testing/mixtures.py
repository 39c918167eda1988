"""A mixture of Gaussians over small pictures or blocks: exact denoiser, exact posterior, exact score of a sampler.

`mixture_model` is a `LatentDiffusion` whose network predicts without error, so that all errors are those of the
sampling. Pictures are rings in a body, with correlated texture: near pixels depend on each other strongly, as in scans.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cmrgz.calls import CallCounter
from cmrgz.diffusion.levels import Path, Schedule, make_path
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.diffusion.network import DenoisingNetwork
from cmrgz.diffusion.objectives import OBJECTIVES
from cmrgz.model import Condition, Model, Tokenizer
from cmrgz.options import Axes
from cmrgz.rng import Streams

Name = Literal["v", "eps", "x0", "flow"]
RINGS = ((0.22, 0.12, -0.05), (0.30, 0.16, 0.05), (0.36, 0.10, 0.10), (0.26, 0.20, 0.0))
"""Radius, wall and offset of the ring of each component."""
JITTER = (0.05, 0.03, 0.07, 0.07, 0.15)
"""Spread of radius, wall, row, column and brightness inside a component."""
ALIKE = (0.9, 0.6)
"""Correlation of a frame with the next phase and with the next slice."""
BEAT = 0.3
"""How much rings brighten and fade over a cycle."""


def _change(side: int, centre: list[float], index: int, spread: float) -> Tensor:
    """Return how the picture (side**2,) of a ring changes with one of its parameters, for one standard deviation."""
    more, less = list(centre), list(centre)
    more[index] += spread / 2
    less[index] -= spread / 2
    return (_ring(side, *more) - _ring(side, *less)).flatten()


def _alike(n: int, share: float) -> Tensor:
    """Return the correlations (n, n) of a chain of which each correlates so much with the next."""
    place = torch.arange(n, dtype=torch.float64)
    return share ** (place[:, None] - place).abs()


def _ring(side: int, radius: float, wall: float, row: float, column: float, bright: float) -> Tensor:
    """Return a picture (side, side) of a bright cavity in a dark wall, in a body."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side, dtype=torch.float64)] * 2, indexing="ij")
    distance = torch.hypot(x - column, y - row)
    cavity, outer = torch.sigmoid((radius - distance) * 14), torch.sigmoid((radius + wall - distance) * 14)
    body = torch.sigmoid((0.85 - torch.hypot(0.9 * x, y)) * 14)
    return bright * cavity + 0.15 * outer + 0.25 * (1 - body) + 0.2 * torch.sigmoid((y - 0.5) * 14)


@dataclass(frozen=True)
class Mixture:
    """Components with weights (k,), means (k, d) and covariances (k, d, d) over pictures or blocks of d pixels.

    Attributes:
        side: Rows and columns of a picture.
        frames: Phases and slices of a block; pictures have none.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor
    side: int
    frames: tuple[int, ...] = ()

    @property
    def item(self) -> tuple[int, ...]:
        """Shape of an item, of d pixels in all."""
        return (*self.frames, self.side, self.side)

    @property
    def axes(self) -> Axes:
        """Of an item."""
        return "tzyx" if self.frames else "yx"

    @classmethod
    def rings(cls, side: int = 16) -> "Mixture":
        """Return the mixture of rings, standardised over all components and pixels."""
        means, covariances = [], []
        place = torch.stack(torch.meshgrid(*[torch.arange(side, dtype=torch.float64)] * 2, indexing="ij"), -1)
        apart = torch.cdist(place.view(-1, 2), place.view(-1, 2))
        texture = 0.09**2 * torch.exp(-((apart / 3.2) ** 2)) + 0.03**2 * torch.eye(side**2, dtype=torch.float64)
        for radius, wall, offset in RINGS:
            centre = [radius, wall, offset, offset / 2, 0.68]
            means.append(_ring(side, *centre).flatten())
            modes = [_change(side, centre, i, spread) for i, spread in enumerate(JITTER)]
            covariances.append(texture + sum((m[:, None] * m for m in modes), torch.zeros_like(texture)))
        mean, covariance = torch.stack(means), torch.stack(covariances)
        scale = (mean.var(0).mean() + covariance.diagonal(dim1=1, dim2=2).mean()).sqrt()
        weights = torch.tensor([0.3, 0.3, 0.2, 0.2], dtype=torch.float64)
        return cls(weights, (mean - mean.mean()) / scale, covariance / scale**2, side)

    @classmethod
    def blocks(cls, side: int = 4, frames: tuple[int, int] = (3, 2)) -> "Mixture":
        """Return blocks of rings that beat: frames of one mean and one texture, the more alike the nearer they are."""
        still, (t, z) = cls.rings(side), frames
        beat = 1 + BEAT * torch.cos(2 * math.pi * torch.arange(t, dtype=torch.float64) / t)
        means = torch.stack([torch.kron(beat.repeat_interleave(z), mean) for mean in still.means])
        alike = torch.kron(*(_alike(n, share) for n, share in zip(frames, ALIKE, strict=True)))
        covariances = torch.stack([torch.kron(alike, own) for own in still.covariances])
        return cls(still.weights, means, covariances, side, frames)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Return draws (n, d)."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        e = torch.randn(n, self.means.shape[1], dtype=torch.float64, generator=generator)
        factors = torch.linalg.cholesky(self.covariances)
        return self.means[which] + (factors[which] @ e[..., None])[..., 0]

    @property
    def mean(self) -> Tensor:
        """Mean (d,)."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """Covariance (d, d)."""
        off = self.means - self.mean
        return torch.einsum("k,kij->ij", self.weights, self.covariances + off[:, :, None] * off[:, None])

    def posterior(self, y: Tensor, known: Tensor) -> "Posterior":
        """Return p(hidden | known) of pictures y (n, d); `known` (d,) bool is the same for all."""
        off = y[:, known] - self.means[:, None, known]  # (k, n, known)
        block = self.covariances[:, known][:, :, known]
        cross = self.covariances[:, known][:, :, ~known]
        factor = torch.linalg.cholesky(block)
        gain = torch.linalg.solve_triangular(factor, cross, upper=False)
        white = torch.linalg.solve_triangular(factor, off.transpose(1, 2), upper=False)
        log = -white.square().sum(1) / 2 - factor.diagonal(dim1=1, dim2=2).log().sum(1)[:, None]
        share = (log + self.weights.log()[:, None]).softmax(0)
        mean = self.means[:, None, ~known] + torch.einsum("kin,kij->knj", white, gain)
        rest = self.covariances[:, ~known][:, :, ~known] - gain.transpose(1, 2) @ gain
        # Where nearly all is known, rounding can make what is left of the covariance slightly negative.
        jitter = 1e-9 * torch.eye(rest.shape[1], dtype=torch.float64)
        return Posterior(share, mean, torch.linalg.cholesky(rest + jitter))


@dataclass(frozen=True)
class Posterior:
    """A mixture over hidden pixels for each of n pictures: shares (k, n), means (k, n, m), factors (k, m, m)."""

    shares: Tensor
    means: Tensor
    factors: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """Return one exact draw (n, m) for each picture."""
        which = torch.multinomial(self.shares.T, 1, generator=generator)[:, 0]
        n = torch.arange(len(which))
        e = torch.randn(len(which), self.means.shape[2], dtype=torch.float64, generator=generator)
        return self.means[which, n] + (self.factors[which] @ e[..., None])[..., 0]

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance (n, m)."""
        mean = torch.einsum("kn,knm->nm", self.shares, self.means)
        own = self.factors.square().sum(-1)[:, None]
        return mean, torch.einsum("kn,knm->nm", self.shares, self.means.square() + own) - mean.square()


class PixelTokenizer(Tokenizer):
    """Every pixel is a position and its own vector."""

    patch, channels = 1, 1

    def encode(self, x: Tensor) -> Tensor:
        """Return x."""
        return x

    def decode(self, vectors: Tensor) -> Tensor:
        """Return the vectors."""
        return vectors

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Return 0: there is nothing to train."""
        del condition, rng
        return x.new_zeros(())


class MixtureNetwork(DenoisingNetwork):
    """Predicts what an objective asks for without error, from the exact expectation of the data given the state."""

    def __init__(self, mixture: Mixture, objective: str, path: Path) -> None:
        super().__init__()
        self.mixture, self.objective, self.path = mixture, OBJECTIVES[objective], path
        self.anchor = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.values, self.basis = torch.linalg.eigh(mixture.covariances)

    def forward(self, inputs: Tensor, time: Tensor, condition: Condition | None) -> Tensor:
        """Return the exact prediction; see `DenoisingNetwork`. All items have one level."""
        del condition
        level = self.path.level(float(time[0]))
        a, s = level.signal, level.noise
        z = inputs[:, :1].double() / float(self.objective.enter(torch.ones(()), a, s))
        x0 = self.expected(z.flatten(1), level.ab).view_as(z)
        return self.objective.target(x0, (z - a * x0) / s, a, s)

    def expected(self, z: Tensor, ab: float) -> Tensor:
        """Return E[x | z] of states (b, d)."""
        a = math.sqrt(ab)
        variance = ab * self.values + 1 - ab
        own = torch.einsum("kbd,kde->kbe", z - a * self.mixture.means[:, None], self.basis)
        log = -(own.square() / variance[:, None]).sum(-1) / 2 - variance.log().sum(-1)[:, None] / 2
        share = (log + self.mixture.weights.log()[:, None]).softmax(0)
        shrunk = own * (a * self.values / variance)[:, None]
        means = self.mixture.means[:, None] + torch.einsum("kbe,kde->kbd", shrunk, self.basis)
        return torch.einsum("kb,kbd->bd", share, means)


def mixture_model(mixture: Mixture, objective: Name = "v", schedule: Schedule = "cosine") -> LatentDiffusion:
    """Return the perfect diffusion model of a mixture, in eval mode."""
    network = MixtureNetwork(mixture, objective, make_path(objective, schedule))
    return LatentDiffusion(network, PixelTokenizer(), objective, schedule).eval()


@dataclass(frozen=True)
class Score:
    """How what a sampler draws compares with exact draws.

    Attributes:
        variance: Over that of the posterior, 1 for a sampler of it.
        bias: Squared error of the mean over the variance of the posterior, 0 for a sampler of it.
        energy: Energy score over that of exact draws, 1 for a sampler of it; more is worse.
        calls: Network calls for a draw.
    """

    variance: float
    bias: float
    energy: float
    calls: int


def score(
    model: Model,
    mixture: Mixture,
    known: Tensor,
    items: int = 24,
    draws: int = 16,
    seed: int = 0,
    **options: Any,
) -> Score:
    """Return how the draws of a model of the mixture compare with exact ones, for `known` (*item) bool.

    Args:
        model: Of the mixture, from `mixture_model` for example.
        mixture: The same.
        known: True = given, the same for all items.
        items: Pictures of which a part is given.
        draws: Of each.
        seed: Of the pictures and the draws.
        options: Of the model's `sample`.
    """
    generator = torch.Generator().manual_seed(seed)
    truth = mixture.sample(items, generator)
    hidden = ~known.flatten()
    posterior = mixture.posterior(truth, known.flatten())
    exact = torch.stack([posterior.sample(generator) for _ in range(draws)], 1)
    y = truth.float().view(-1, 1, *mixture.item).repeat_interleave(draws, 0)
    given = known.expand_as(y)
    rng = Streams(seed, [(i, k) for i in range(items) for k in range(draws)])
    with CallCounter(model) as calls:
        drawn = model.sample(torch.where(given, y, 0.0), given, rng=rng, **options)
    drawn = drawn.double().flatten(1)[:, hidden].unflatten(0, (items, draws))
    mean, variance = posterior.moments()
    spread = drawn.var(1).mean()
    # The mean of a few draws varies by itself, which is no bias of the sampler.
    bias = (drawn.mean(1) - mean).square().mean() - spread / draws
    unit, real = variance.mean(), truth[:, hidden]
    energy = energy_score(drawn, real) / energy_score(exact, real)
    return Score(float(spread / unit), float(bias / unit), float(energy), calls.count)


def energy_score(drawn: Tensor, truth: Tensor) -> Tensor:
    """Return the mean energy score of draws (n, k, m) against the truth (n, m) (Gneiting and Raftery 2007, eq. 22)."""
    k = drawn.shape[1]
    near = (drawn - truth[:, None]).norm(dim=-1).mean()
    return near - torch.cdist(drawn, drawn).sum((1, 2)).mean() / (2 * k * (k - 1))


def hole(kind: str, share: float, side: int = 16) -> Tensor:
    """Return known pixels (side, side) beside a hole of a share: `scattered`, `box`, `top` or `bottom`."""
    known = torch.ones(side, side, dtype=torch.bool)
    if kind == "scattered":
        order = torch.randperm(side**2, generator=torch.Generator().manual_seed(3))
        known.view(-1)[order[: round(share * side**2)]] = False
    elif kind == "box":
        edge = round(side * math.sqrt(share))
        start = (side - edge) // 2
        known[start : start + edge, start : start + edge] = False
    else:
        rows = round(side * share)
        known[slice(None, rows) if kind == "top" else slice(side - rows, None)] = False
    return known
