"""Inpainting with a denoiser, one paper a file: each draws the hidden part of latents given the known part."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from cmrgz.diffusion.inpainting.conditional import conditional
from cmrgz.diffusion.inpainting.dps import dps
from cmrgz.diffusion.inpainting.lanpaint import lanpaint
from cmrgz.diffusion.inpainting.pnpflow import pnpflow
from cmrgz.diffusion.inpainting.problem import Problem, Settings
from cmrgz.diffusion.inpainting.repaint import repaint
from cmrgz.diffusion.inpainting.replace import replace
from cmrgz.diffusion.inpainting.smc import smc

__all__ = ["ALGORITHMS", "BLOCKS", "DEFAULT_STEPS", "FRAMES", "Problem", "Settings"]

ALGORITHMS: dict[str, Callable[[Problem, Settings], Tensor]] = {
    "lanpaint": lanpaint,
    "cond": conditional,
    "replace": replace,
    "repaint": repaint,
    "dps": dps,
    "pnpflow": pnpflow,
    "smc": smc,
}
DEFAULT_STEPS = {"lanpaint": 12, "cond": 20, "replace": 50, "repaint": 50, "dps": 100, "pnpflow": 50, "smc": 50}
"""Noise levels where the user names no number of steps."""


class Usual(NamedTuple):
    """What is done where the user names nothing: algorithm, solver, and noise levels of each algorithm."""

    algorithm: str
    sampler: str
    steps: Mapping[str, int]


FRAMES = Usual("lanpaint", "dpm", DEFAULT_STEPS)
BLOCKS = Usual("cond", "trig", {**DEFAULT_STEPS, "cond": 6})
"""States of blocks are standard normal but for what a network has learnt. With 6 levels `trig` draws .92 to .99 of the
variance of exact posteriors with correlated frames, for which `dpm` needs 12 to 20."""
