"""LanPaint (Zheng et al. 2025, arXiv 2502.03491): conditional Langevin moves at every level, better integrated."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor

from cmrgz.diffusion.inpainting.problem import Eta, Problem
from cmrgz.diffusion.levels import Level
from cmrgz.diffusion.samplers import step
from cmrgz.options import Range


@dataclass(frozen=True)
class Move:
    """A Langevin move of the known and the hidden part together at a level.

    The hidden part follows its own score. It moves by the scheme of Leimkuhler and Matthews (2013, Applied Mathematics
    Research eXpress), which adds the mean of two successive random numbers, so that the stationary variance is exact
    for Gaussians at any stable size. Freezing the expected data in each move instead, as the method was published, is
    of first order: small moves are slow across a contiguous hole, and large ones narrow the spread.

    The known part follows the score of its noised value, `pull` times more strongly than the model's. It relaxes that
    much faster, and its linear part is solved exactly.
    """

    problem: Problem
    level: Level
    pull: float
    size: float

    def __call__(self, z: Tensor, before: Tensor, fresh: Tensor) -> Tensor:
        """Return the state after a move, given the state, the random numbers of the move before, and fresh ones."""
        level, pull, size = self.level, self.pull, self.size
        variance = 1 - level.ab
        score = level.signal * self.problem.denoise(z, level) - z  # times the variance
        hidden = z + size * score + math.sqrt(size * variance / 2) * (before + fresh)
        # An Ornstein-Uhlenbeck process, solved for the whole move: Euler's step would be unstable at a strong pull.
        decay = math.exp(-(1 + pull) * size)
        target = level.signal * self.problem.y - pull / (1 + pull) * score
        known = target + decay * (z - target) + math.sqrt((1 - decay**2) * variance / (1 + pull)) * fresh
        return torch.where(self.problem.known, known, hidden)


def lanpaint(
    problem: Problem,
    *,
    eta: Eta = 0.0,
    moves: Annotated[int, "Langevin moves per level", Range(0, 1000)] = 5,
    move_size: Annotated[float, "size of a move relative to the noise", Range(1e-6, 1.9)] = 1.2,
    pull: Annotated[
        float, "how much more strongly the known part is pulled than by its own score", Range(0, 1000)
    ] = 8.0,
) -> Tensor:
    """Move `moves` times at every level, then take one step with the known part in the expected data.

    Calls: levels * (moves + 1). At equal calls, few levels with many moves do better than the reverse.
    """
    z = problem.noise()
    for here, there in pairwise(problem.levels):
        # The known part starts at its level's noise, near where the moves take it: few of them are enough.
        z, before = problem.inject(z, here), problem.noise()
        move = Move(problem, here, pull, move_size)
        for _ in range(moves):
            fresh = problem.noise()
            z, before = move(z, before, fresh), fresh
        # Known values are pasted into the expected data, where they are exact, and not into the state, where they are
        # noised.
        z = step(z, problem.paste(problem.denoise(z, here)), here, there, eta, problem.noise)
        problem.tick()
    return problem.paste(z)
