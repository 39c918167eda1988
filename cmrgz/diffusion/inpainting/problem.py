"""What every inpainting algorithm is given."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cmrgz.diffusion.levels import Level, Levels
from cmrgz.diffusion.samplers import Denoise, Noise, Tick


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of the algorithms; each reads its own.

    Attributes:
        sampler: Solver of `cond`, by name.
        eta: Share of fresh noise in the outer steps of `cond`, `replace`, `dps` and `lanpaint`; None is the
            algorithm's own.
        moves: Langevin moves per level (`lanpaint`).
        move_size: Their size relative to the noise (`lanpaint`).
        pull: How much more the known part is pulled than by its own score (`lanpaint`).
        rounds: Times that a level is done (`repaint`), calls that are averaged (`pnpflow`).
        strength: Step size of the guidance (`dps`), of the data step (`pnpflow`).
        particles: Draws that compete for an item (`smc`).
        late: Inject the known part one level too noisy, as published code does (`replace` under `paper_like`).
    """

    sampler: str = "dpm"
    eta: float | None = None
    moves: int = 5
    move_size: float = 1.2
    pull: float = 8.0
    rounds: int = 5
    strength: float = 1.0
    particles: int = 8
    late: bool = False


@dataclass(frozen=True)
class Problem:
    """Draw latents (b, c, h, w) given part of them.

    Attributes:
        denoise: The network as (z, level) -> x0; any number of items.
        y: The given latents (b, c, h, w), 0 where hidden.
        known: (b, 1, h, w) bool.
        levels: From noise to data.
        noise: Fresh standard normal numbers (b, c, h, w).
        uniform: Fresh numbers (b, n) in [0, 1).
        tick: Called once per level.
        spread: The same problem with each item k times in a row; `denoise` and `noise` serve b * k items.
    """

    denoise: Denoise
    y: Tensor
    known: Tensor
    levels: Levels
    noise: Noise
    uniform: Callable[[int], Tensor]
    tick: Tick
    spread: Callable[[int], "Problem"]

    def paste(self, z: Tensor) -> Tensor:
        """Return z with the known part as given."""
        return torch.where(self.known, self.y, z)

    def inject(self, z: Tensor, level: Level) -> Tensor:
        """Return z with the known part as the forward process takes it to a level."""
        if level.ab >= 1:
            return self.paste(z)
        return torch.where(self.known, level.signal * self.y + level.noise * self.noise(), z)
