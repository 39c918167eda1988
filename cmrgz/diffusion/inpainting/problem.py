"""What every inpainting algorithm is given, and how it says what may be chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, NamedTuple, get_type_hints

import torch
from torch import Tensor

from cmrgz.diffusion.levels import Level, Levels
from cmrgz.diffusion.samplers import Denoise, Noise, Tick
from cmrgz.options import Range, schema

Eta = Annotated[float, "share of fresh noise in a step", Range(0, 1)]
"""An option of draws given nothing, too: an algorithm that names it gives its own default."""


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
        # No noise is left at the end, and no number is drawn for it.
        if level.ab >= 1:
            return self.paste(z)
        return torch.where(self.known, level.signal * self.y + level.noise * self.noise(), z)


class Declared(NamedTuple):
    """An option as a signature declares it."""

    annotation: Any
    default: Any


@dataclass(frozen=True)
class Algorithm:
    """An inpainting algorithm; its function's keywords are its options.

    Attributes:
        draw: `Problem` and options -> latents (b, c, h, w), of which the known part is as given.
        steps: Noise levels where the user names no number of them.
        told: The network is told of the known part, for which it has to be trained.
        objective: What the network has to predict, "" for anything.
        ahead: No other numbers are drawn between those of `Problem.noise`, which then may be drawn ahead.
    """

    draw: Callable[..., Tensor]
    steps: int
    told: bool = False
    objective: str = ""
    ahead: bool = True

    @cached_property
    def options(self) -> Mapping[str, Declared]:
        """The options by name."""
        hints = get_type_hints(self.draw, include_extras=True)
        return {
            name: Declared(hints[name], option.default) for name, option in schema(self.draw, skip=("problem",)).items()
        }

    def __call__(self, problem: Problem, given: Mapping[str, Any]) -> Tensor:
        """Draw with those of the options in `given` that it has; None stands for its own default."""
        # A model passes all that it was given: others may belong to other algorithms.
        own = {name: given[name] for name in self.options if given.get(name) is not None}
        return self.draw(problem, **own)
