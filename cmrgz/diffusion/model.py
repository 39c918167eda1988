"""The kit for denoisers: training, and drawing hidden latents given known ones."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from torch import Tensor

from cmrgz.adaptive import ITERATIONS
from cmrgz.diffusion.given import QUICK, BlockGiven, FrameGiven, Given, across
from cmrgz.diffusion.inpainting import ALGORITHMS, BLOCKS, FRAMES, Usual, declared
from cmrgz.diffusion.levels import TIMES, Schedule, make_path
from cmrgz.diffusion.network import DenoisingNetwork
from cmrgz.diffusion.objectives import OBJECTIVES
from cmrgz.diffusion.run import Denoiser, Draw
from cmrgz.errors import UsageError
from cmrgz.hints import Hints
from cmrgz.latents import channel_weights, lift, lower, position_pixels, training_known
from cmrgz.model import Condition, Model, Progress, Tokenizer
from cmrgz.options import Range, extended
from cmrgz.pieces import piece
from cmrgz.rng import Streams
from cmrgz.sending import sent

if TYPE_CHECKING:
    AlgorithmName = str
else:  # what there are is said once, in their table, which a type checker does not read
    AlgorithmName = Literal["auto", *ALGORITHMS]
SamplerName = Literal["auto", "dpm", "unipc", "trig", "ddim", "ddpm", "euler", "heun"]
GENERATION_STEPS = 20
FILL = "fill"
"""The condition that hints are made from, see `Hints.fill`; networks are not told it."""
COMMON = ("eta", "sampler")
"""Options of algorithms that a draw given nothing has, too."""
DECLARED = declared("algorithm", COMMON)
STEPS = ", ".join(f"{name} {algorithm.steps}" for name, algorithm in ALGORITHMS.items())
PAPER_LIKE: tuple[str, int, dict[str, Any]] = ("replace", 50, {"eta": 0.0, "late": True})
"""Algorithm, steps and options that the preset `paper_like` stands for: deterministic steps, late injection."""


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
        axes: Of the items: frames `yx`, or with phases (t) and slices (z). Those are seen as blocks (b, 1, t, z, H, W),
            whose states are measured from the hints of what is known, see `cmrgz.diffusion.given`.
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
        axes: str = "yx",
    ) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer.requires_grad_(False)
        self.objective = OBJECTIVES[objective]
        self.path = make_path(objective, schedule, shift)
        self.min_snr, self.known_share = min_snr, known_share
        self.guide: DenoisingNetwork | None = None
        self.axes = axes
        self.hints = Hints(tokenizer.channels) if axes != "yx" else None
        self.usual = FRAMES if self.hints is None else BLOCKS
        self.register_buffer("weight", torch.ones(tokenizer.channels))

    def guided_by(self, weaker: Model) -> None:
        """Let a weaker network guide this one, see the option `guidance`.

        Raises:
            UsageError: `usage`: it predicts something else, or of other items.
        """
        # The outputs of both are subtracted from one another, which needs one meaning of them.
        if not isinstance(weaker, LatentDiffusion) or type(weaker.objective) is not type(self.objective):
            raise UsageError("usage", "option --guide", "must have the objective of the model that it guides")
        if weaker.axes != self.axes:
            raise UsageError("usage", "option --guide", f"must see the axes of the model that it guides, {self.axes}")
        self.guide = weaker.network

    @classmethod
    def check_options(cls, build: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        """Refuse an algorithm that the objective does not allow, or that was not trained for.

        Raises:
            UsageError: `range`.
        """
        name = given.get("algorithm", "auto")
        # What `auto` stands for always fits, see `settled`.
        if name == "auto":
            return
        needed, objective = ALGORITHMS[name].objective, build.get("objective", "flow")
        if needed not in ("", objective):
            what = f"'{name}' needs a {needed}, this model has the objective '{objective}'"
            raise UsageError("range", "option --set", what, hint="use algorithm=lanpaint, or the model flow-dit")
        if ALGORITHMS[name].told and build.get("known_share", 1) == 0:
            what = f"'{name}' needs a network that was trained with a known part (known_share=0)"
            raise UsageError("range", "option --set", what, hint="use algorithm=lanpaint")

    @classmethod
    def settled(cls, build: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return sampling options with the algorithm that `auto` stands for; see `Model.settled`."""
        if given["algorithm"] != "auto":
            return given
        usual = FRAMES if build.get("axes", "yx") == "yx" else BLOCKS
        return {**given, "algorithm": _usual_algorithm(usual, build.get("known_share", 1))}

    @torch.no_grad()
    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Weigh the channels by what they do to the picture, and fit the hints of blocks, to items (n, 1, *item)."""
        x = lift(x, self.axes)
        self.weight.copy_(channel_weights(self.tokenizer, x))
        if self.hints is not None:
            self.hints.fit(self.tokenizer, x, rng)

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Weighted squared error of the prediction at a random level, over hidden positions.

        A share of the items knows a part, of any share and shape as masks are in use; the others know nothing.
        """
        x, condition = lift(x, self.axes), _without_fill(condition)
        grid = tuple(self._checked_grid(x))
        # Both numbers of time are drawn on every path, so that the streams behind them stay where they are.
        u = sent(rng.uniform(2), x.device)
        time = self.path.draw(u[:, 0], sent(rng.normal(1)[:, 0], x.device))
        ab = self.path.ab(time)
        known = sent(training_known(grid, rng), x.device)
        # The items that know nothing teach generation, and the denoiser that algorithms without training need.
        known = known & across(u[:, 1] < self.known_share, known)
        # The tokenizer is frozen, and the fill is a linear solve of many iterations: no gradient goes through them.
        with torch.no_grad():
            given = self._given(x, position_pixels(known, self.tokenizer.patch), condition, QUICK)
            latents, origin = given.encode(x), given.told
            states = origin.to_units(latents)
        noise = sent(rng.normal(*states.shape[1:]), x.device)
        # The same convention for all objectives, see `levels`: a network of a flow sees it scaled, by `enter`.
        a, s = across(ab.sqrt(), states), across((1 - ab).sqrt(), states)
        z = a * states + s * noise
        inputs = torch.cat([self.objective.enter(z, a, s), origin.context], 1)
        output = origin.predicted(piece(self.network)(inputs, time, condition).float(), self.objective, z, a, s)
        error = (output - self.objective.target(states, noise, a, s)).square()
        item = origin.mean_error(error, self.weight, ~known[:, None])
        return (item * origin.level_weight(self.objective, ab / (1 - ab), self.min_snr)).mean()

    def _given(self, x: Tensor, known: Tensor, condition: Condition | None, iterations: int = ITERATIONS) -> Given:
        """Return frames or blocks of which a part is given."""
        if self.hints is None:
            return FrameGiven(self.tokenizer, x, known, condition)
        return BlockGiven(self.tokenizer, self.hints, x, known, condition, iterations)

    def _checked_grid(self, x: Tensor) -> list[int]:
        """Return the positions of items along each axis.

        Raises:
            UsageError: `range`: they do not fit the network.
        """
        *frames, height, width = x.shape[2:]
        rows, columns, multiple = height // self.tokenizer.patch, width // self.tokenizer.patch, self.network.multiple
        if rows % multiple or columns % multiple:
            facts = f"{rows} x {columns} positions"
            raise UsageError("range", "item", f"the latent grid must be a multiple of {multiple}", facts)
        return [*frames, rows, columns]

    @torch.no_grad()
    @extended(DECLARED)
    def sample(
        self,
        x: Tensor,
        known: Tensor,
        *,
        condition: Condition | None = None,
        rng: Streams,
        progress: Progress | None = None,
        algorithm: Annotated[AlgorithmName, "how to inpaint; auto: `cond` for blocks, else `lanpaint`"] = "auto",
        steps: Annotated[int | None, f"noise levels; automatic: {STEPS}; 20 to generate", Range(1, TIMES)] = None,
        sampler: Annotated[
            SamplerName, "solver of generation and `cond`; auto: `trig` for blocks, else `dpm`"
        ] = "auto",
        eta: Annotated[
            float | None, "share of fresh noise in a step; automatic: the algorithm's own", Range(0, 1)
        ] = None,
        temperature: Annotated[float, "factor of all noise; 1 samples the model", Range(0, 10)] = 1.0,
        guidance: Annotated[float, "with --guide: 1 is no guidance, 1.5 to 2.5 sharpens", Range(1, 100)] = 1.0,
        preset: Annotated[Literal["fixed", "paper_like"], "paper_like: late injection, faults included"] = "fixed",
        **own: Any,
    ) -> Tensor:
        """Draw items from p(x | known); see `Model.sample`. The other options are those of the algorithms.

        An algorithm reads its own of them; the command line refuses those of others.
        """
        # `**own` takes any name: Python itself refuses none here.
        if unknown := own.keys() - DECLARED.keys():
            raise TypeError(f"sample() has no option {', '.join(sorted(unknown))}")
        solver = self.usual.sampler if sampler == "auto" else sampler
        name = _usual_algorithm(self.usual, self.known_share) if algorithm == "auto" else algorithm
        given = {**own, "sampler": solver, "eta": eta}
        # Last: the preset stands for all that published code fixes, whatever else was asked for.
        if preset == "paper_like":
            name, steps, given = PAPER_LIKE
        items = self._given(lift(x, self.axes), lift(known, self.axes), self._lifted(condition))
        self._checked_grid(items.x)
        denoiser = Denoiser(self.network, self.guide, self.objective, guidance)
        draw = Draw(items, denoiser, _without_fill(condition) or {}, rng, temperature, progress)
        latents = items.latents
        none_known, some_empty = items.blank
        if not none_known:
            latents = draw.inpainted(name, self.path.levels(steps or self.usual.steps_of(name)), given)
        # To generate is to inpaint with nothing known, in the same code: by the solver, whatever the algorithm.
        if some_empty:
            drawn = draw.generated(self.path.levels(steps or GENERATION_STEPS), solver, eta or 0.0)
            latents = torch.where(across(items.empty, drawn), drawn, latents)
        return lower(items.decode(latents), self.axes)

    def _lifted(self, condition: Condition | None) -> Condition:
        """Return a condition whose fill has the axes of a block."""
        return {name: lift(v, self.axes) if name == FILL else v for name, v in (condition or {}).items()}


def _usual_algorithm(usual: Usual, known_share: float) -> str:
    """Return the usual algorithm; a network that was never told a known part cannot be told one."""
    return usual.algorithm if known_share else FRAMES.algorithm


def _without_fill(condition: Condition | None) -> Condition | None:
    """Return what networks are told: all but the continuation, which hints are made from."""
    return condition and {name: value for name, value in condition.items() if name != FILL}
