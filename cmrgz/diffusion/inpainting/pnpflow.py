"""PnP-Flow (Martin et al. 2025, arXiv 2410.02423, alg. 3): a denoiser of a flow as the prior of a descent."""

import torch
from torch import Tensor

from cmrgz.diffusion.inpainting.problem import Problem, Settings


def pnpflow(problem: Problem, settings: Settings) -> Tensor:
    """Alternate a step towards the known part, noise along the straight path, and the network's expected data.

    An estimator of one likely result rather than a sampler: near the truth, with little variety. The average of
    `rounds` calls is taken at every level.
    """
    x = problem.paste(torch.zeros_like(problem.y))
    for level in problem.levels[:-1]:
        t = level.signal / (level.signal + level.noise)
        x = x - settings.strength * (1 - t) * torch.where(problem.known, x - problem.y, 0.0)
        calls = (
            problem.denoise(level.signal * x + level.noise * problem.noise(), level) for _ in range(settings.rounds)
        )
        x = torch.stack(list(calls)).mean(0)
        problem.tick()
    return problem.paste(x)
