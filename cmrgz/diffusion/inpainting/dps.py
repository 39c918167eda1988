"""Diffusion posterior sampling (Chung et al. 2023, arXiv 2209.14687, alg. 1) for known latents."""

from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor

from cmrgz.diffusion.inpainting.problem import Eta, Problem
from cmrgz.diffusion.levels import Level
from cmrgz.diffusion.samplers import step
from cmrgz.options import Range


def dps(
    problem: Problem,
    *,
    eta: Eta = 1.0,
    strength: Annotated[float, "length of the walk down the gradient, for each step", Range(0, 1000)] = 1.0,
) -> Tensor:
    """Take a stochastic step, then walk down the gradient of the distance of the expected data to the known part.

    A call costs a backward pass as well, about three times as much.
    """
    z = problem.noise()
    for here, there in pairwise(problem.levels):
        x0, gradient = _residual_gradient(problem, z, here)
        # The gradient is taken at the state before the step and used after it, as in alg. 1.
        z = step(z, x0, here, there, eta, problem.noise) - strength * gradient
        problem.tick()
    return problem.paste(z)


def _residual_gradient(problem: Problem, z: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """Return the expected data, and the gradient with respect to z of each item's distance to its known part."""
    # Callers draw in inference mode, of whose tensors none may be part of a graph: hence the copies.
    with torch.inference_mode(False), torch.enable_grad():
        state, y, known = z.clone().requires_grad_(), problem.y.clone(), problem.known.clone()
        x0 = problem.denoise(state, level)
        # The root, not the square: the paper divides its step by the distance. The small number, since a root has no
        # gradient at 0.
        distance = torch.where(known, x0 - y, 0.0).square().flatten(1).sum(1).add(1e-12).sqrt()
        (gradient,) = torch.autograd.grad(distance.sum(), state)
    return x0.detach(), gradient
