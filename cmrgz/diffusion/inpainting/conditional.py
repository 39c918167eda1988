"""A network that was trained with the known part as further channels (Saharia et al. 2022, arXiv 2111.05826)."""

from typing import Annotated

from torch import Tensor

from cmrgz.diffusion.inpainting.problem import Eta, Problem
from cmrgz.diffusion.levels import Level
from cmrgz.diffusion.samplers import SAMPLERS


def conditional(problem: Problem, *, sampler: Annotated[str, "solver"] = "dpm", eta: Eta = 0.0) -> Tensor:
    """Solve from noise to data with the network's own conditional denoiser.

    The model has to be one that learnt the task; every comparison with algorithms that need no training should say so.
    The known part of the expected data is pasted, which keeps the state on its path.
    """

    def denoise(z: Tensor, level: Level) -> Tensor:
        return problem.paste(problem.denoise(z, level))

    solve = SAMPLERS[sampler]
    z = solve(denoise, problem.noise(), problem.levels, problem.noise, problem.tick, eta)
    return problem.paste(z)
