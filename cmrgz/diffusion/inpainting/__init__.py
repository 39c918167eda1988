"""Inpainting with a denoiser, one paper a file: each draws the hidden part of latents given the known part."""

from collections.abc import Callable

from torch import Tensor

from cmrgz.diffusion.inpainting.conditional import conditional
from cmrgz.diffusion.inpainting.dps import dps
from cmrgz.diffusion.inpainting.lanpaint import lanpaint
from cmrgz.diffusion.inpainting.pnpflow import pnpflow
from cmrgz.diffusion.inpainting.problem import Problem, Settings
from cmrgz.diffusion.inpainting.repaint import repaint
from cmrgz.diffusion.inpainting.replace import replace
from cmrgz.diffusion.inpainting.smc import smc

__all__ = ["ALGORITHMS", "DEFAULT_STEPS", "Problem", "Settings"]

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
