"""Noise levels, and the two paths from noise to data along which networks are trained.

One convention serves every objective and algorithm: a state is z = signal * x + noise * e with
signal**2 + noise**2 = 1, and `ab` (alpha bar) is signal**2. A flow-matching state (1 - s) * x + s * e is the same
state, scaled.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from cmrgz.sending import sent

Schedule = Literal["cosine", "linear", "scaled_linear"]
TIMES = 1000
LEAST_AB = 1e-5
"""A state of pure noise counts as this: the log signal-to-noise ratio stays finite, and eps can be turned into x0."""


@dataclass(frozen=True)
class Level:
    """A noise level.

    Attributes:
        ab: Share of the variance that is signal: near 0 for noise, 1 for data.
        time: What the network is told: 0 for data to 1000 for noise.
    """

    ab: float
    time: float

    @cached_property
    def signal(self) -> float:
        """Factor of the data."""
        return math.sqrt(self.ab)

    @cached_property
    def noise(self) -> float:
        """Factor of the noise."""
        return math.sqrt(1 - self.ab)

    @cached_property
    def angle(self) -> float:
        """atan2(noise, signal): 0 for data to pi / 2 for noise."""
        return math.atan2(self.noise, self.signal)

    @cached_property
    def log_snr(self) -> float:
        """log(signal / noise), infinite for data: the time in which the solvers step."""
        return math.inf if self.ab >= 1 else math.log(self.signal / self.noise)


CLEAN = Level(1.0, 0.0)
Levels = tuple[Level, ...]


class Path(ABC):
    """The noise levels of training and of sampling."""

    @abstractmethod
    def times(self, steps: int) -> list[float]:
        """Return the times of `steps` calls, noise first."""

    @abstractmethod
    def ab(self, time: Tensor) -> Tensor:
        """Return the share of signal at times (b,)."""

    def levels(self, steps: int) -> Levels:
        """Return `steps` + 1 levels from noise to data."""
        return *(self.level(time) for time in self.times(steps)), CLEAN

    def level(self, time: float) -> Level:
        """Return the level of a time."""
        # In double precision: solvers divide by differences between logarithms of levels that lie close together.
        return Level(float(self.ab(torch.tensor([time], dtype=torch.float64))[0]), time)

    @abstractmethod
    def draw(self, u: Tensor, normal: Tensor) -> Tensor:
        """Return the times (b,) of training items, from uniform and normal numbers (b,)."""


class DiffusionPath(Path):
    """The levels of a discrete diffusion process, as diffusers defines them.

    Sampling takes `trailing` times, so that the first is the noisiest (Lin et al. 2024, arXiv 2305.08891, table 2).

    Args:
        schedule: `cosine` (Nichol and Dhariwal 2021, arXiv 2102.09672), `linear` (Ho et al. 2020, arXiv 2006.11239) or
            `scaled_linear` (Rombach et al. 2022, arXiv 2112.10752).
    """

    def __init__(self, schedule: Schedule = "cosine") -> None:
        name = "squaredcos_cap_v2" if schedule == "cosine" else schedule
        ends = (0.00085, 0.012) if schedule == "scaled_linear" else (1e-4, 0.02)
        with torch.device("cpu"):  # a table of values, which the meta device has not
            scheduler = DDPMScheduler(TIMES, beta_schedule=name, beta_start=ends[0], beta_end=ends[1])
            self._tables: dict[torch.device, Tensor] = {}
            self.table = scheduler.alphas_cumprod.clamp(min=LEAST_AB)  # the last cosine levels are as good as noise

    def times(self, steps: int) -> list[float]:
        """Return trailing times."""
        # From 999 down: times that start lower begin at a state with some signal, which pure noise has not. So draws
        # were grey on average (Lin et al. 2024, sec. 3.3).
        return [round(TIMES * (1 - i / steps)) - 1.0 for i in range(steps)]

    def ab(self, time: Tensor) -> Tensor:
        """Return the share of signal at times (b,)."""
        return self._table(time.device)[time.long()].to(time)

    def _table(self, device: torch.device) -> Tensor:
        """Return the table on a device, where it is kept."""
        # A table that goes up to the card in every step makes the host wait for it.
        if device not in self._tables:
            self._tables[device] = sent(self.table, device)
        return self._tables[device]

    def draw(self, u: Tensor, normal: Tensor) -> Tensor:
        """Return times in even use."""
        del normal
        return (u * TIMES).floor()


class FlowPath(Path):
    """The straight path of flow matching (Lipman et al. 2023, arXiv 2210.02747), with times of training in the middle.

    Args:
        shift: Moves the steps of sampling towards the noise, s' = shift * s / (1 + (shift - 1) * s) (Esser et al. 2024,
            arXiv 2403.03206, eq. 23).
    """

    def __init__(self, shift: float = 1.0) -> None:
        self.shift = shift

    def times(self, steps: int) -> list[float]:
        """Return even times, shifted."""
        # Shifted towards noise: a picture of more pixels needs more of it to hide what it shows.
        even = (1 - i / steps for i in range(steps))
        return [TIMES * self.shift * s / (1 + (self.shift - 1) * s) for s in even]

    def ab(self, time: Tensor) -> Tensor:
        """Return the share of signal at times (b,)."""
        s = time / TIMES
        return ((1 - s) ** 2 / ((1 - s) ** 2 + s**2)).clamp(min=LEAST_AB)

    def draw(self, u: Tensor, normal: Tensor) -> Tensor:
        """Return logit-normal times (Esser et al. 2024, arXiv 2403.03206, sec. 3.1)."""
        del u
        return TIMES * normal.sigmoid()


def make_path(objective: str, schedule: Schedule = "cosine", shift: float = 1.0) -> Path:
    """Return the path that an objective is trained along."""
    return FlowPath(shift) if objective == "flow" else DiffusionPath(schedule)
