"""Inpainting with a denoiser, one paper a file: each draws the hidden part of latents given the known part.

To add an algorithm, write one file with one function, and one line in `ALGORITHMS`. The function's keywords are its
options: `Annotated[int, "what it is", Range(1, 1000)]` with a default is `--set NAME=VALUE`, listed and checked.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, NamedTuple

from cmrgz.diffusion.inpainting.conditional import conditional
from cmrgz.diffusion.inpainting.dps import dps
from cmrgz.diffusion.inpainting.lanpaint import lanpaint
from cmrgz.diffusion.inpainting.pnpflow import pnpflow
from cmrgz.diffusion.inpainting.problem import Algorithm, Declared, Problem
from cmrgz.diffusion.inpainting.repaint import repaint
from cmrgz.diffusion.inpainting.replace import replace
from cmrgz.diffusion.inpainting.smc import smc
from cmrgz.options import Only

__all__ = ["ALGORITHMS", "BLOCKS", "FRAMES", "Algorithm", "Problem", "Usual", "declared"]

ALGORITHMS = {
    "lanpaint": Algorithm(lanpaint, steps=12),
    "cond": Algorithm(conditional, steps=20, told=True),
    "replace": Algorithm(replace, steps=50),
    "repaint": Algorithm(repaint, steps=50),
    "dps": Algorithm(dps, steps=100),
    "pnpflow": Algorithm(pnpflow, steps=50, objective="flow"),
    "smc": Algorithm(smc, steps=50, ahead=False),
}


def declared(option: str, common: Collection[str]) -> dict[str, Declared]:
    """Return the options of all algorithms, each marked with those that have it.

    Args:
        option: Name of the option that chooses the algorithm.
        common: Options that every draw has, whatever the algorithm.

    Raises:
        TypeError: Two algorithms mean different things by one name.
    """
    found: dict[str, Declared] = {}
    owners: dict[str, tuple[str, ...]] = {}
    for name, algorithm in ALGORITHMS.items():
        for key, told in algorithm.options.items():
            # eta has other defaults in other algorithms, and means the same in all.
            if key not in common and found.setdefault(key, told) != told:
                raise TypeError(f"'{key}' of '{name}' is declared otherwise by '{owners[key][0]}'")
            owners[key] = (*owners.get(key, ()), name)
    return {
        key: Declared(Annotated[told.annotation, Only(option, owners[key])], told.default)
        for key, told in found.items()
    }


class Usual(NamedTuple):
    """What is done where the user names nothing; noise levels only where they are not those of the algorithm."""

    algorithm: str
    sampler: str
    steps: Mapping[str, int]

    def steps_of(self, algorithm: str) -> int:
        """Return the noise levels of an algorithm."""
        return self.steps.get(algorithm, ALGORITHMS[algorithm].steps)


FRAMES = Usual("lanpaint", "dpm", {})
BLOCKS = Usual("cond", "trig", {"cond": 6})
"""States of blocks are standard normal but for what a network has learnt. With 6 levels `trig` draws .92 to .99 of the
variance of exact posteriors with correlated frames, for which `dpm` needs 12 to 20."""
