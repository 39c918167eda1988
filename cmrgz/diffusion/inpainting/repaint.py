"""RePaint (Lugmayr et al. 2022, arXiv 2201.09865, alg. 1), with jumps of one level."""

import math
from itertools import pairwise
from typing import Annotated

from torch import Tensor

from cmrgz.diffusion.inpainting.problem import Problem
from cmrgz.diffusion.samplers import step
from cmrgz.options import Range


def repaint(problem: Problem, *, rounds: Annotated[int, "times that each level is done", Range(1, 1000)] = 5) -> Tensor:
    """Do every level `rounds` times: after a step with injection, noise is put back, so that the parts can agree."""
    z = problem.noise()
    for here, there in pairwise(problem.levels):
        # The last level ends in data, on which no noise is put back.
        times = rounds if there.ab < 1 else 1
        for time in range(times):
            z = problem.inject(z, here)
            z = step(z, problem.denoise(z, here), here, there, 1.0, problem.noise)
            if time < times - 1:
                # One step of the forward process, from `there` to `here`: hidden and known part are mixed by it alike.
                back = here.ab / there.ab
                z = math.sqrt(back) * z + math.sqrt(1 - back) * problem.noise()
        problem.tick()
    return problem.paste(z)
