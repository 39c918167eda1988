"""The kit for denoisers: training, and drawing hidden latents given known ones."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from cmrgz.diffusion.inpainting import ALGORITHMS, DEFAULT_STEPS, Problem, Settings
from cmrgz.diffusion.levels import TIMES, Level, Schedule, make_path
from cmrgz.diffusion.network import DenoisingNetwork
from cmrgz.diffusion.objectives import OBJECTIVES
from cmrgz.diffusion.samplers import SAMPLERS, Tick
from cmrgz.errors import UsageError
from cmrgz.latents import channel_weights, known_positions, position_pixels, smooth_fill, training_known
from cmrgz.model import Condition, Model, Progress, Tokenizer
from cmrgz.options import Range
from cmrgz.rng import Streams

Algorithm = Literal["lanpaint", "cond", "replace", "repaint", "dps", "pnpflow", "smc"]
SamplerName = Literal["dpm", "unipc", "ddim", "ddpm", "euler", "heun"]
GENERATION_STEPS = 20
PAPER_LIKE: tuple[Algorithm, int, Settings] = ("replace", 50, Settings(eta=0.0, late=True))
"""Algorithm, steps and settings that the preset `paper_like` stands for: deterministic steps, late injection."""


class LatentDiffusion(Model):
    """A denoiser of the latents of a tokenizer, by diffusion or flow matching.

    One network serves all: it is trained with the known part as further channels and, for the other part of the
    items, without them. So it generates, it inpaints as a conditional network, and it is the denoiser that the
    algorithms need that sample a posterior without having been trained for it.

    Args:
        network: Predicts what the objective asks for.
        tokenizer: Frozen first stage, with standardised vectors.
        objective: `v`, `eps`, `x0` or `flow`.
        schedule: Noise levels of a diffusion; a flow has its own.
        shift: Moves a flow's sampling steps towards the noise.
        min_snr: Largest signal-to-noise ratio at which the error of x0 counts in full.
        known_share: Share of the training items with a known part.
    """

    weight: Tensor

    def __init__(
        self,
        network: DenoisingNetwork,
        tokenizer: Tokenizer,
        objective: Literal["v", "eps", "x0", "flow"] = "v",
        schedule: Schedule = "cosine",
        shift: float = 1.0,
        min_snr: float = 5.0,
        known_share: float = 0.5,
    ) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer.requires_grad_(False)
        self.objective = OBJECTIVES[objective]
        self.path = make_path(objective, schedule, shift)
        self.min_snr, self.known_share = min_snr, known_share
        self.guide: DenoisingNetwork | None = None
        self.register_buffer("weight", torch.ones(tokenizer.channels))

    def guided_by(self, weaker: Model) -> None:
        """Let a weaker network guide this one, see the option `guidance`.

        Raises:
            UsageError: `usage`: it predicts something else.
        """
        if not isinstance(weaker, LatentDiffusion) or type(weaker.objective) is not type(self.objective):
            raise UsageError("usage", "option --guide", "must have the objective of the model that it guides")
        self.guide = weaker.network

    @classmethod
    def check_options(cls, build: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        """Refuse an algorithm that the objective does not allow, or that was not trained for.

        Raises:
            UsageError: `range`.
        """
        algorithm = given.get("algorithm")
        if algorithm == "pnpflow" and build.get("objective", "flow") != "flow":
            what = "'pnpflow' needs a flow, this model has the objective " + f"'{build['objective']}'"
            raise UsageError("range", "option --set", what, hint="use algorithm=lanpaint, or the model flow-dit")
        if algorithm == "cond" and build.get("known_share", 1) == 0:
            what = "'cond' needs a network that was trained with a known part (known_share=0)"
            raise UsageError("range", "option --set", what, hint="use algorithm=lanpaint")

    @torch.no_grad()
    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Weigh the channels by what they do to the picture, see `channel_weights`, from items (n, 1, *item)."""
        del rng
        self.weight.copy_(channel_weights(self.tokenizer, x))

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Weighted squared error of the prediction at a random level, over hidden positions.

        A share of the items knows a part, of any share and shape as masks are in use; the others know nothing.
        """
        with torch.no_grad():
            latents = self.tokenizer.encode(x)
        self._check_grid(latents)
        u = rng.uniform(2).to(x.device)
        time = self.path.draw(u[:, 0], rng.normal(1)[:, 0].to(x.device))
        ab = self.path.ab(time)
        grid = (latents.shape[2], latents.shape[3])
        known = training_known(grid, rng).to(x.device) & (u[:, 1] < self.known_share)[:, None, None]
        noise = rng.normal(*latents.shape[1:]).to(x.device)
        a, s = ab.sqrt()[:, None, None, None], (1 - ab).sqrt()[:, None, None, None]
        state = self.objective.enter(a * latents + s * noise, a, s)
        context = self._context(x, position_pixels(known, self.tokenizer.patch))
        output = self.network(torch.cat([state, context], 1), time, condition).float()
        error = (output - self.objective.target(latents, noise, a, s)).square() * self.weight[:, None, None]
        hidden = (~known)[:, None]
        item = (error * hidden).sum((1, 2, 3)) / (hidden.sum((1, 2, 3)) * error.shape[1]).clamp(min=1)
        return (item * self.objective.weight(ab / (1 - ab), self.min_snr)).mean()

    @torch.no_grad()
    def _context(self, x: Tensor, known: Tensor) -> Tensor:
        """Return what the network is told of the known part: (b, c + 1, h, w), all 0 where nothing is known.

        The vectors of a smooth continuation of the known pixels, at known positions those of the pixels themselves,
        and which positions are known.
        """
        vectors = self.tokenizer.encode(smooth_fill(x, known))
        positions = known_positions(known, self.tokenizer.patch)[:, None].to(vectors)
        return torch.cat([vectors * positions.amax((2, 3), keepdim=True), positions], 1)

    def _check_grid(self, latents: Tensor) -> None:
        multiple = self.network.multiple
        if latents.shape[2] % multiple or latents.shape[3] % multiple:
            facts = f"{latents.shape[2]} x {latents.shape[3]} positions"
            raise UsageError("range", "item", f"the latent grid must be a multiple of {multiple}", facts)

    @torch.no_grad()
    def sample(
        self,
        x: Tensor,
        known: Tensor,
        *,
        condition: Condition | None = None,
        rng: Streams,
        progress: Progress | None = None,
        algorithm: Annotated[Algorithm, "how to inpaint; nothing known is solved by `sampler` instead"] = "lanpaint",
        steps: Annotated[int | None, "noise levels; none is the default of the algorithm", Range(1, TIMES)] = None,
        sampler: Annotated[SamplerName, "solver where nothing is known, and of `cond`"] = "dpm",
        eta: Annotated[float | None, "fresh noise in a step, 0 .. 1; none is the algorithm's own", Range(0, 1)] = None,
        moves: Annotated[int, "lanpaint: Langevin moves per level", Range(0, 1000)] = 5,
        move_size: Annotated[float, "lanpaint: size of a move relative to the noise", Range(1e-6, 1.9)] = 1.2,
        pull: Annotated[float, "lanpaint: extra pull of the known part", Range(0, 1000)] = 8.0,
        rounds: Annotated[int, "repaint: times a level is done; pnpflow: calls averaged", Range(1, 1000)] = 5,
        strength: Annotated[float, "dps: guidance; pnpflow: data step", Range(0, 1000)] = 1.0,
        particles: Annotated[int, "smc: draws that compete for an item", Range(2, 4096)] = 8,
        guidance: Annotated[float, "with --guide: 1 is no guidance, 1.5 to 2.5 sharpens", Range(1, 100)] = 1.0,
        preset: Annotated[Literal["fixed", "paper_like"], "paper_like: late injection, faults included"] = "fixed",
    ) -> Tensor:
        """Draw items from p(x | known); see `Model.sample`."""
        settings = Settings(
            sampler=sampler,
            eta=eta,
            moves=moves,
            move_size=move_size,
            pull=pull,
            rounds=rounds,
            strength=strength,
            particles=particles,
        )
        if preset == "paper_like":
            algorithm, steps, settings = PAPER_LIKE
        given = known_positions(known, self.tokenizer.patch)[:, None]
        latents = torch.where(given, self.tokenizer.encode(x), 0.0)
        self._check_grid(latents)
        empty = ~given.flatten(1).any(1)
        levels = self.path.levels(steps or DEFAULT_STEPS[algorithm])
        z = latents
        if not bool(empty.all()):
            context = self._context(x, known) if algorithm == "cond" else None
            tick = _ticker(progress, len(levels) - 1)
            run = _Run(self, latents, given, condition, rng.child("inpaint"), context, guidance)
            z = ALGORITHMS[algorithm](run.problem(levels, tick), settings)
        if bool(empty.any()):
            levels = self.path.levels(steps or GENERATION_STEPS)
            run = _Run(self, latents, given, condition, rng.child("generate"), None, guidance)
            solve, tick = SAMPLERS[sampler], _ticker(progress, len(levels) - 1)
            drawn = solve(run.denoise, run.noise(), levels, run.noise, tick, eta or 0.0)
            z = torch.where(empty[:, None, None, None], drawn, z)
        return self.tokenizer.decode(z)


def _ticker(progress: Progress | None, total: int) -> Tick:
    """Return a function that tells `progress` of one more step each time it is called."""
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return tick


class _Run:
    """One call of `sample`: the network as a denoiser for its items, and their streams of noise."""

    def __init__(
        self,
        model: LatentDiffusion,
        latents: Tensor,
        given: Tensor,
        condition: Condition | None,
        rng: Streams,
        context: Tensor | None,
        guidance: float,
        copies: int = 1,
    ) -> None:
        self.model, self.latents, self.given, self.rng, self.copies = model, latents, given, rng, copies
        self.guidance = guidance
        b, c, h, w = latents.shape
        self.context = latents.new_zeros(b, c + 1, h, w) if context is None else context
        self.condition = condition

    def denoise(self, z: Tensor, level: Level) -> Tensor:
        """Return the expected data of states (b, c, h, w).

        With a guide it moves away from what the weaker network expects (Karras et al. 2024, arXiv 2406.02507, eq. 4).
        """
        objective, guide = self.model.objective, self.model.guide
        inputs = torch.cat([objective.enter(z, level.signal, level.noise), self.context], 1)
        time = z.new_full((len(z),), level.time)
        output = self.model.network(inputs, time, self.condition).float()
        if guide is not None and self.guidance != 1:
            weaker = guide(inputs, time, self.condition).float()
            output = weaker + self.guidance * (output - weaker)
        return objective.to_x0(output, z, level.signal, level.noise)

    def noise(self) -> Tensor:
        """Return fresh normal numbers (b, c, h, w), from each item's own stream."""
        shape = self.latents.shape[1:]
        drawn = self.rng.normal(*shape) if self.copies == 1 else self.rng.normal(self.copies, *shape).flatten(0, 1)
        return drawn.to(self.latents)

    def uniform(self, n: int) -> Tensor:
        """Return fresh numbers (b, n) in [0, 1)."""
        return self.rng.uniform(n).to(self.latents)

    def spread(self, k: int) -> "_Run":
        """Return the same run with every item k times in a row."""
        latents, given, context = (part.repeat_interleave(k, 0) for part in (self.latents, self.given, self.context))
        condition = {name: value.repeat_interleave(k, 0) for name, value in (self.condition or {}).items()}
        return _Run(self.model, latents, given, condition, self.rng, context, self.guidance, k)

    def problem(self, levels: tuple[Level, ...], tick: Tick) -> Problem:
        """Return what an algorithm is given."""
        return Problem(
            self.denoise,
            self.latents,
            self.given,
            levels,
            self.noise,
            self.uniform,
            tick,
            lambda k: self.spread(k).problem(levels, tick),
        )
