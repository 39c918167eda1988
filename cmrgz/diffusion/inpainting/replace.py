"""Known-region injection (Song et al. 2021, arXiv 2011.13456; Lugmayr et al. 2022, arXiv 2201.09865, eq. 8)."""

from itertools import pairwise
from typing import Annotated

from torch import Tensor

from cmrgz.diffusion.inpainting.problem import Eta, Problem
from cmrgz.diffusion.samplers import step


def replace(
    problem: Problem,
    *,
    eta: Eta = 1.0,
    late: Annotated[bool, "inject the known part one level too noisy, a fault of published code"] = False,
) -> Tensor:
    """Put the known part, noised to the level of the state, into it before every call.

    The usual baseline, and biased: a state is not drawn given the known part, only placed beside it, so that samples
    vary more than the posterior does however many steps there are. With `late` the injected part has the level before
    the step, one too noisy: a fault of published code that is kept to measure it.
    """
    z = problem.noise()
    for here, there in pairwise(problem.levels):
        # Before the call, with the level of the state; published code does it after the step, with that of before.
        if not late:
            z = problem.inject(z, here)
        z = step(z, problem.denoise(z, here), here, there, eta, problem.noise)
        if late:
            z = problem.inject(z, here)
        problem.tick()
    return problem.paste(z)
