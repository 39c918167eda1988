"""A diffusion over the vector of one position: the head of a model that draws position after position.

Li et al. 2024 (arXiv 2406.11838): what a token model needs is a distribution of the next vector given features, and a
small denoiser that is told the features gives one without a codebook.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from cmrgz.diffusion.levels import Level, Schedule, make_path
from cmrgz.diffusion.objectives import OBJECTIVES
from cmrgz.diffusion.samplers import SAMPLERS
from cmrgz.pieces import piece
from cmrgz.rng import Streams
from cmrgz.sending import sent

Solver = Literal["dpm", "unipc", "heun", "ddim", "ddpm"]
STOCHASTIC = ("ddpm",)
"""Solvers that use fresh noise in every step."""


class VectorDenoiser(nn.Module, ABC):
    """Predicts what an objective asks for, of single vectors that do not see each other."""

    @abstractmethod
    def prepare(self, features: Tensor) -> Tensor:
        """Return what is told of features (..., d), (..., w): all that depends on neither state nor noise level."""

    @abstractmethod
    def forward(self, state: Tensor, time: Tensor, told: Tensor) -> Tensor:
        """Return the prediction (..., c) for states (..., c) at noise levels, 0 for data to 1000 for noise.

        `time` (...) and `told` (..., w) may be of size 1 where they are the same for all.
        """


class DiffusionHead(nn.Module):
    """A distribution of vectors given features, by a denoiser and a solver.

    Args:
        network: Predicts what the objective asks for.
        objective: `v`, `eps`, `x0` or `flow`.
        schedule: Noise levels of a diffusion; a flow has its own.
        min_snr: Largest signal-to-noise ratio at which the error of x0 counts in full.
        draws: Noise levels at which the loss looks at each vector: the features are what is dear, not the head.
    """

    def __init__(
        self,
        network: VectorDenoiser,
        objective: Literal["v", "eps", "x0", "flow"] = "v",
        schedule: Schedule = "cosine",
        min_snr: float = 5.0,
        draws: int = 4,
    ) -> None:
        super().__init__()
        self.network, self.objective = network, OBJECTIVES[objective]
        self.path = make_path(objective, schedule)
        self.min_snr, self.draws = min_snr, draws

    def loss(self, features: Tensor, vectors: Tensor, rng: Streams) -> Tensor:
        """Return the weighted squared error (b, m, c) of the prediction for vectors (b, m, c) given features (b, m, d).

        The mean over `draws` levels, which are spread evenly over all and are the same for the positions of an item.
        """
        k = self.draws
        # One number in each k-th of the levels: for the same calls the loss varies less than by independent ones.
        u = sent((rng.uniform(k) + torch.arange(k)) / k, vectors.device).to(vectors.dtype)
        # Normal numbers by their quantile, so that the strata carry over to logit-normal times; at 0 and 1 it is
        # infinite.
        time = self.path.draw(u, torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6)))
        ab = self.path.ab(time)[..., None, None]
        a, s = ab.sqrt(), (1 - ab).sqrt()
        noise, x = sent(rng.normal(k, *vectors.shape[1:]), vectors.device).to(vectors.dtype), vectors[:, None]
        state = self.objective.enter(a * x + s * noise, a, s)
        # Features are told once for all `draws` levels: the network that made them is what costs.
        told = piece(self.network.prepare)(features)[:, None]
        output = piece(self.network)(state, time[..., None], told).float()
        error = (output - self.objective.target(x, noise, a, s)).square()
        return (error * self.objective.weight(ab / (1 - ab), self.min_snr)).mean(1)

    def noises(self, steps: int, solver: Solver) -> int:
        """Return how many normal vectors a draw needs."""
        return steps if solver in STOCHASTIC else 1

    def draw(
        self, features: Tensor, noise: Tensor, steps: int = 20, temperature: float = 1.0, solver: Solver = "dpm"
    ) -> Tensor:
        """Return vectors (..., c) drawn given features (..., d).

        Args:
            features: Of each position.
            noise: Normal numbers (..., `noises`, c): the start, and what is fresh in each step.
            steps: Noise levels of the solver.
            temperature: Factor of all noise, start included: the spread of a Gaussian is multiplied by it.
            solver: `ddpm` is stochastic, as in the paper; the others are deterministic.
        """
        told = self.network.prepare(features)
        # All noise comes at once, in the order of the steps: what a position draws is then a function of its own
        # stream.
        parts = iter((temperature * noise).unbind(-2))

        def denoise(z: Tensor, level: Level) -> Tensor:
            # One level for all positions, of size 1: it is embedded once, not for each.
            time = z.new_full((1,) * (z.ndim - 1), level.time)
            output = self.network(self.objective.enter(z, level.signal, level.noise), time, told).float()
            return self.objective.to_x0(output, z, level.signal, level.noise)

        return SAMPLERS[solver](denoise, next(parts), self.path.levels(steps), lambda: next(parts), lambda: None, 0.0)
