"""One draw: the network as a denoiser of the states of its items, and their streams of noise."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cmrgz.diffusion.given import Given, Origin
from cmrgz.diffusion.inpainting import ALGORITHMS, Problem, Settings
from cmrgz.diffusion.levels import Level, Levels
from cmrgz.diffusion.network import DenoisingNetwork
from cmrgz.diffusion.objectives import Objective
from cmrgz.diffusion.samplers import SAMPLERS, Tick
from cmrgz.model import Condition, Progress
from cmrgz.rng import Streams


def ticker(progress: Progress | None, total: int) -> Tick:
    """Return a function that tells `progress` of one more step each time it is called."""
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return tick


@dataclass(frozen=True)
class Denoiser:
    """A network, and one that it is guided away from, as a function to the expected data.

    Attributes:
        network: Predicts what the objective asks for.
        guide: A weaker network, or None.
        objective: Of both.
        guidance: How far it moves away from the guide; 1 is not at all.
    """

    network: DenoisingNetwork
    guide: DenoisingNetwork | None
    objective: Objective
    guidance: float

    def __call__(self, z: Tensor, level: Level, origin: Origin, condition: Condition | None) -> Tensor:
        """Return the expected data of states (b, c, *grid).

        With a guide it moves away from what the weaker network expects (Karras et al. 2024, arXiv 2406.02507, eq. 4).
        """
        inputs = torch.cat([self.objective.enter(z, level.signal, level.noise), origin.context], 1)
        time = z.new_full((len(z),), level.time)
        output = self.network(inputs, time, condition).float()
        if self.guide is not None and self.guidance != 1:
            weaker = self.guide(inputs, time, condition).float()
            output = weaker + self.guidance * (output - weaker)
        predicted = origin.predicted(output, self.objective, z, level.signal, level.noise)
        return self.objective.to_x0(predicted, z, level.signal, level.noise)


@dataclass(frozen=True)
class Run:
    """States of items on their way from noise to data.

    Attributes:
        denoiser: The network.
        origin: What the states are measured from.
        y: (b, c, *grid) states of known positions, 0 where hidden.
        known: (b, 1, *grid) bool.
        condition: What is known beside the pixels.
        rng: One stream per item.
        temperature: Factor of all noise.
        copies: Times that each stream is in use, one after the other.
    """

    denoiser: Denoiser
    origin: Origin
    y: Tensor
    known: Tensor
    condition: Condition
    rng: Streams
    temperature: float = 1.0
    copies: int = 1

    @classmethod
    def of(
        cls, denoiser: Denoiser, origin: Origin, given: Given, condition: Condition, rng: Streams, temperature: float
    ) -> "Run":
        """Return the run of items of which a part is given, measured from an origin."""
        y = torch.where(given.positions, origin.to_units(given.latents), 0.0)
        return cls(denoiser, origin, y, given.positions, condition, rng, temperature)

    def denoise(self, z: Tensor, level: Level) -> Tensor:
        """Return the expected data of states (b, c, *grid)."""
        return self.denoiser(z, level, self.origin, self.condition)

    def noise(self) -> Tensor:
        """Return fresh normal numbers (b, c, *grid) times the temperature, from each item's own stream."""
        shape = self.y.shape[1:]
        drawn = self.rng.normal(*shape) if self.copies == 1 else self.rng.normal(self.copies, *shape).flatten(0, 1)
        return self.temperature * drawn.to(self.y)

    def uniform(self, n: int) -> Tensor:
        """Return fresh numbers (b, n) in [0, 1)."""
        return self.rng.uniform(n).to(self.y)

    def spread(self, k: int) -> "Run":
        """Return the same run with every item k times in a row."""
        y, known = self.y.repeat_interleave(k, 0), self.known.repeat_interleave(k, 0)
        condition = {name: value.repeat_interleave(k, 0) for name, value in self.condition.items()}
        return replace(self, origin=self.origin.repeated(k), y=y, known=known, condition=condition, copies=k)

    def problem(self, levels: Levels, tick: Tick) -> Problem:
        """Return what an algorithm is given."""
        return Problem(
            self.denoise,
            self.y,
            self.known,
            levels,
            self.noise,
            self.uniform,
            tick,
            lambda k: self.spread(k).problem(levels, tick),
        )


@dataclass(frozen=True)
class Draw:
    """One call of `LatentDiffusion.sample`.

    Attributes:
        given: The items of which a part is given.
        denoiser: The network.
        condition: What it is told beside the pixels.
        rng: One stream per item.
        temperature: Factor of all noise.
        progress: Told the steps done.
    """

    given: Given
    denoiser: Denoiser
    condition: Condition
    rng: Streams
    temperature: float
    progress: Progress | None

    def _run(self, origin: Origin, purpose: str) -> Run:
        rng = self.rng.child(purpose)
        return Run.of(self.denoiser, origin, self.given, self.condition, rng, self.temperature)

    def inpainted(self, algorithm: str, levels: Levels, settings: Settings) -> Tensor:
        """Return latents (b, c, *grid), of which the known part is as given."""
        given = self.given
        run = self._run(given.told if algorithm == "cond" else given.untold, "inpaint")
        states = ALGORITHMS[algorithm](run.problem(levels, ticker(self.progress, len(levels) - 1)), settings)
        return torch.where(given.positions, given.latents, run.origin.from_units(states))

    def generated(self, levels: Levels, settings: Settings) -> Tensor:
        """Return latents (b, c, *grid) drawn given nothing."""
        run = self._run(self.given.untold, "generate")
        tick = ticker(self.progress, len(levels) - 1)
        solve = SAMPLERS[settings.sampler]
        return run.origin.from_units(solve(run.denoise, run.noise(), levels, run.noise, tick, settings.eta or 0.0))
