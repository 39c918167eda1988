"""Options that the builders of diffusion plugins share; a builder names them with its own defaults."""

from typing import Annotated, Literal

from cmrgz.diffusion.levels import Schedule
from cmrgz.options import Axes as Axes  # builders name it beside the others
from cmrgz.options import OfLoss, Range

DiffusionObjective = Annotated[Literal["v", "eps", "x0"], "what the network predicts"]
NoiseSchedule = Annotated[Schedule, "noise levels of the diffusion"]
MinSnr = Annotated[
    float, "largest signal-to-noise ratio at which an error of the data counts in full", Range(1e-6), OfLoss
]
KnownShare = Annotated[float, "share of the training items with a known part; 0 leaves out `cond`", Range(0, 1), OfLoss]
Shift = Annotated[float, "moves a flow's sampling steps towards the noise", Range(0.01, 100)]
