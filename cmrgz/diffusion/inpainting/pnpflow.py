"""PnP-Flow (Martin et al. 2025, arXiv 2410.02423, alg. 3): a denoiser of a flow as the prior of a descent."""

from typing import Annotated

import torch
from torch import Tensor

from cmrgz.diffusion.inpainting.problem import Problem
from cmrgz.options import Range


def pnpflow(
    problem: Problem,
    *,
    averages: Annotated[int, "calls of the network that are averaged at each level", Range(1, 1000)] = 5,
    data_step: Annotated[float, "length of a step towards the known part", Range(0, 1000)] = 1.0,
) -> Tensor:
    """Alternate a step towards the known part, noise along the straight path, and the network's expected data.

    An estimator of one likely result rather than a sampler: near the truth, with little variety. The average of
    `averages` calls is taken at every level.
    """
    # Latents are standardised: 0 is the mean of the data, a start that prefers nothing.
    x = problem.paste(torch.zeros_like(problem.y))
    for level in problem.levels[:-1]:
        # Time on the straight path, 1 for data. The step shrinks as 1 - t, the paper's (1 - t)^alpha with alpha 1.
        t = level.signal / (level.signal + level.noise)
        x = x - data_step * (1 - t) * torch.where(problem.known, x - problem.y, 0.0)
        calls = (problem.denoise(level.signal * x + level.noise * problem.noise(), level) for _ in range(averages))
        # Each call has noise of its own; the mean takes the variance out, and with it the variety.
        x = torch.stack(list(calls)).mean(0)
        problem.tick()
    return problem.paste(x)
