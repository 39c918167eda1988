"""One draw: the network as a denoiser of the states of its items, and their streams of noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cmrgz.diffusion.given import Given, Origin
from cmrgz.diffusion.inpainting import ALGORITHMS, Problem
from cmrgz.diffusion.levels import Level, Levels
from cmrgz.diffusion.network import DenoisingNetwork
from cmrgz.diffusion.objectives import Objective
from cmrgz.diffusion.samplers import SAMPLERS, Tick
from cmrgz.graphs import Replayed
from cmrgz.model import Condition, Progress
from cmrgz.rng import Streams
from cmrgz.sending import sent

MOST = 32
"""Draws of noise that are made at once."""


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
        records: Of the calls of one draw, whose condition is always the same.
    """

    network: DenoisingNetwork
    guide: DenoisingNetwork | None
    objective: Objective
    guidance: float
    records: dict[Any, Replayed] = field(default_factory=dict)

    def __call__(self, z: Tensor, level: Level, origin: Origin, condition: Condition | None) -> Tensor:
        """Return the expected data of states (b, c, *grid).

        With a guide it moves away from what the weaker network expects (Karras et al. 2024, arXiv 2406.02507, eq. 4).
        """
        entered, time = self.objective.enter(z, level.signal, level.noise), z.new_full((len(z),), level.time)
        output = self._asked(self.network, entered, time, origin.context, condition)
        if self.guide is not None and self.guidance != 1:
            weaker = self._asked(self.guide, entered, time, origin.context, condition)
            # Between outputs: x0 is affine in them for a given state, and the weights add up to 1, so that it is as
            # between x0s.
            output = weaker + self.guidance * (output - weaker)
        predicted = origin.predicted(output, self.objective, z, level.signal, level.noise)
        return self.objective.to_x0(predicted, z, level.signal, level.noise)

    def _asked(
        self, network: DenoisingNetwork, entered: Tensor, time: Tensor, context: Tensor, condition: Condition | None
    ) -> Tensor:
        """Return the output of a network, which is told the same context and condition all along a draw."""

        def ask(state: Tensor, time: Tensor) -> Tensor:
            output: Tensor = network(torch.cat([state, context], 1), time, condition)
            return output.float()

        # `dps` asks for a gradient, which a recorded call that is replayed has none of.
        if torch.is_grad_enabled():
            return ask(entered, time)
        key = (network, id(context))  # which lives as long as the record
        if key not in self.records:
            self.records[key] = Replayed(ask, network)
        made = self.records[key](entered, time)
        assert made is not None
        return made


class Noises:
    """Normal numbers of the shape of some states, draw after draw, times the temperature.

    On the CPU they are drawn when they are asked for; elsewhere ahead, ever more at once, the same ones: a device that
    is asked for single ones waits for the host.

    Args:
        rng: One stream per item.
        like: (b, c, *grid) states.
        temperature: Factor.
        copies: Times that each stream is in use, one after the other.
        ahead: Draw ahead; nothing else is drawn from the streams.
    """

    def __init__(self, rng: Streams, like: Tensor, temperature: float, copies: int = 1, ahead: bool = True) -> None:
        self.rng, self.temperature, self.copies, self.ahead = rng, temperature, copies, ahead
        self.device, self.dtype, self.shape = like.device, like.dtype, like.shape[1:]
        self._left: list[Tensor] = []
        self._next = 1

    def __call__(self) -> Tensor:
        """Return the next (b * copies, c, *grid)."""
        if not self._left:
            # Turned round, because `pop` takes from the end: numbers come in the order in which they were drawn.
            self._left = list(reversed(self._more()))
        return self._left.pop()

    def _more(self) -> Sequence[Tensor]:
        """Return what is drawn at once."""
        if self.copies > 1:
            return [self._there(self.rng.normal(self.copies, *self.shape).flatten(0, 1))]
        # Twice as many each time: a short draw makes few that nobody asks for, a long one seldom waits.
        many, self._next = self._next, min(2 * self._next, MOST)
        if not self.ahead or self.device.type == "cpu":
            return [self._there(self.rng.normal(*self.shape))]
        return self._there(self.rng.normals(many, *self.shape)).unbind()

    def _there(self, noise: Tensor) -> Tensor:
        noise = sent(noise, self.device).to(self.dtype)
        return noise if self.temperature == 1 else self.temperature * noise


@dataclass(frozen=True)
class Run:
    """States of items on their way from noise to data.

    Attributes:
        denoiser: The network.
        origin: What the states are measured from.
        y: (b, c, *grid) states of known positions, 0 where hidden.
        known: (b, 1, *grid) bool.
        condition: What is known beside the pixels.
        noise: Gives fresh normal numbers (b, c, *grid), from each item's own stream.
    """

    denoiser: Denoiser
    origin: Origin
    y: Tensor
    known: Tensor
    condition: Condition
    noise: Noises

    @classmethod
    def of(
        cls,
        denoiser: Denoiser,
        origin: Origin,
        given: Given,
        condition: Condition,
        rng: Streams,
        temperature: float,
        ahead: bool,
    ) -> "Run":
        """Return the run of items of which a part is given, measured from an origin."""
        # Hidden positions are 0 here too, whatever the units are, so that no algorithm can read them by mistake.
        y = torch.where(given.positions, origin.to_units(given.latents), 0.0)
        return cls(denoiser, origin, y, given.positions, condition, Noises(rng, y, temperature, ahead=ahead))

    def denoise(self, z: Tensor, level: Level) -> Tensor:
        """Return the expected data of states (b, c, *grid)."""
        return self.denoiser(z, level, self.origin, self.condition)

    def uniform(self, n: int) -> Tensor:
        """Return fresh numbers (b, n) in [0, 1)."""
        return sent(self.noise.rng.uniform(n), self.y.device).to(self.y.dtype)

    def spread(self, k: int) -> "Run":
        """Return the same run with every item k times in a row."""
        y, known = self.y.repeat_interleave(k, 0), self.known.repeat_interleave(k, 0)
        condition = {name: value.repeat_interleave(k, 0) for name, value in self.condition.items()}
        # The stream of an item serves all its copies in turn: particles differ, and no other item's numbers move.
        noise = Noises(self.noise.rng, self.y, self.noise.temperature, k)
        return Run(self.denoiser, self.origin.repeated(k), y, known, condition, noise)

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

    def _run(self, origin: Origin, purpose: str, ahead: bool = True) -> Run:
        # A stream for each purpose: what an item draws does not depend on whether others of its batch are empty.
        rng = self.rng.child(purpose)
        return Run.of(self.denoiser, origin, self.given, self.condition, rng, self.temperature, ahead)

    def inpainted(self, name: str, levels: Levels, options: Mapping[str, Any]) -> Tensor:
        """Return latents (b, c, *grid), of which the known part is as given; options of others are not read."""
        given, algorithm = self.given, ALGORITHMS[name]
        run = self._run(given.told if algorithm.told else given.untold, "inpaint", algorithm.ahead)
        states = algorithm(run.problem(levels, ticker(self.progress, len(levels) - 1)), options)
        # To units and back is rounded: known positions are taken as they were given.
        return torch.where(given.positions, given.latents, run.origin.from_units(states))

    def generated(self, levels: Levels, sampler: str, eta: float) -> Tensor:
        """Return latents (b, c, *grid) drawn given nothing."""
        run = self._run(self.given.untold, "generate")
        tick = ticker(self.progress, len(levels) - 1)
        solve = SAMPLERS[sampler]
        return run.origin.from_units(solve(run.denoise, run.noise(), levels, run.noise, tick, eta))
