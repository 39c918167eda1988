"""SMCDiff (Trippe et al. 2023, arXiv 2206.04119, alg. 2): particles weighted by the known path that they predict."""

import math
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor

from cmrgz.diffusion.inpainting.problem import Problem
from cmrgz.diffusion.levels import Level
from cmrgz.diffusion.samplers import step
from cmrgz.options import Range
from cmrgz.rng import systematic


def smc(problem: Problem, *, particles: Annotated[int, "draws that compete for an item", Range(2, 4096)] = 8) -> Tensor:
    """Run `particles` for each item beside one noised path of the known part, and return one of them.

    Exact for many particles; collapses onto one where much is known, because a weight is a density in as many
    dimensions. A diagnostic, not a default. Calls the network on b * particles items.
    """
    k, (b, c) = particles, problem.y.shape[:2]
    many = problem.spread(k)
    weight = problem.y.new_zeros(b, k)
    # One path for all particles, as in the paper: a weight says how well a particle foretells it.
    path = _known_path(problem)
    z = many.noise()
    for (here, there), now, then in zip(pairwise(problem.levels), path, path[1:], strict=False):
        # Particles are in places i * k to i * k + k - 1 of item i, here and in `spread`.
        z = torch.where(many.known, now.repeat_interleave(k, 0), z)
        x0 = many.denoise(z, here)
        mean, variance = _transition(z, x0, here, there)
        off = torch.where(many.known, then.repeat_interleave(k, 0) - mean, 0.0).square().flatten(1).sum(1)
        weight = weight - off.view(b, k) / (2 * variance)
        z = step(z, x0, here, there, 1.0, many.noise)
        share = weight.softmax(1)
        # Resampled only where the effective number is below half of them: each time it makes copies of one another.
        few = 1 / share.square().sum(1, keepdim=True) < k / 2
        parents = torch.where(few, systematic(share, problem.uniform(1)), torch.arange(k, device=z.device))
        z = z.view(b, k, c, -1).gather(1, parents[..., None, None].expand(-1, -1, c, z[0, 0].numel())).view_as(z)
        # Those that were resampled count alike again.
        weight = torch.where(few, 0.0, weight)
        problem.tick()
    # The sum of the shares may end below 1 by rounding, and the number lie above it.
    chosen = (weight.softmax(1).cumsum(1) < problem.uniform(1)).sum(1).clamp(max=k - 1)
    return problem.paste(z.view(b, k, *problem.y.shape[1:])[torch.arange(b, device=z.device), chosen])


def _known_path(problem: Problem) -> list[Tensor]:
    """Return the known part at every level, one path of the forward process from data to noise."""
    path = [problem.y]
    for noisy, clean in zip(problem.levels[-2::-1], problem.levels[:0:-1], strict=True):
        kept = math.sqrt(noisy.ab / clean.ab)
        path.append(kept * path[-1] + math.sqrt(1 - kept**2) * problem.noise())
    return path[::-1]


def _transition(z: Tensor, x0: Tensor, here: Level, there: Level) -> tuple[Tensor, float]:
    """Return the mean and variance of the state after an ancestral step."""
    mean = step(z, x0, here, there, 1.0, lambda: torch.zeros_like(z))
    # The variance is 0 in the last step and tiny before: without a floor one particle had all weight at once.
    ratio = here.ab / there.ab
    return mean, max((1 - there.ab) / (1 - here.ab) * (1 - ratio), 1e-2)
