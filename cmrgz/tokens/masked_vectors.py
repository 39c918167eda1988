"""Masked autoregression over continuous vectors: known ones first, then hidden ones a few at a time."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import torch
from torch import Tensor, nn

from cmrgz.adaptive import ITERATIONS
from cmrgz.errors import UsageError
from cmrgz.hints import LEAST, Hint, Hints, block_hint, exactly, with_detail
from cmrgz.latents import (
    channel_weights,
    known_positions,
    lift,
    lower,
    position_hints,
    position_pixels,
    training_known,
)
from cmrgz.model import Condition, Model, Progress, Tokenizer
from cmrgz.options import Axes, Range
from cmrgz.pieces import piece
from cmrgz.rng import Streams
from cmrgz.sending import sent
from cmrgz.tokens.blocks import QUICK, block_condition
from cmrgz.tokens.causal_decoding import take
from cmrgz.tokens.masked_decoding import Pace, Unmasking, counter
from cmrgz.tokens.prior import flat
from cmrgz.tokens.schedule import Schedule

CHUNK = 8
"""Positions of a frame that a call of the head draws, few: a call of the head is many steps."""
FRESH_SHARE = 0.3
"""Share of the training items of which nothing is drawn yet."""
Order = Literal["halton", "random"]
Solver = Literal["dpm", "unipc", "heun", "ddim", "ddpm"]
PAPER_LIKE: tuple[Order, Schedule, int, int, Solver] = ("random", "cosine", 64, 100, "ddpm")
"""Order, schedule, steps, steps and solver of the head that the preset `paper_like` stands for."""


class VectorNetwork(nn.Module, ABC):
    """A bidirectional network: vectors at any positions in, features of every position out.

    Attributes:
        multiple: Rows and columns of the grid must be multiples of it.
    """

    multiple: int = 1

    @abstractmethod
    def forward(self, vectors: Tensor, shown: Tensor, condition: Condition | None, hints: Tensor) -> Tensor:
        """Return features (b, d, *grid) of frames, grid (h, w), or of blocks, grid (t, z, h, w).

        Args:
            vectors: (b, c, *grid), 0 where not shown. Those of blocks are in units of the hints, see `Evidence`.
            shown: (b, 1, *grid) bool: known or already drawn.
            condition: As in `Model.sample`.
            hints: Of frames (b, c + 4, h, w), see `position_hints`; of blocks (b, 2 c + SHARES, t, z, h, w), the mean,
                the logarithm of the scale relative to that of the data, and the shares of `cmrgz.hints`.
        """


class VectorHead(Protocol):
    """A distribution of a vector given features; `cmrgz.diffusion.head.DiffusionHead` is one."""

    def loss(self, features: Tensor, vectors: Tensor, rng: Streams) -> Tensor:
        """Return the loss (b, m, c) of vectors (b, m, c) given features (b, m, d)."""

    def noises(self, steps: int, solver: Solver) -> int:
        """Return how many normal vectors a draw needs."""

    def draw(self, features: Tensor, noise: Tensor, steps: int, temperature: float, solver: Solver) -> Tensor:
        """Return vectors (b, m, c) drawn given features (b, m, d) with normal numbers (b, m, noises, c)."""


@dataclass(frozen=True)
class Evidence:
    """What the known part of items says, and in what units vectors are drawn that it is known for.

    Those of frames are as they are. Of blocks what is left over is drawn, (vector - mean) / scale: where nothing is
    learnt yet, it is about standard normal.

    Attributes:
        told: (b, k, *grid) hints for the network.
        spread: (c,) standard deviation of the vectors of the data.
        hint: Of blocks.
    """

    told: Tensor
    spread: Tensor
    hint: Hint | None = None

    @classmethod
    def of_blocks(cls, hint: Hint, spread: Tensor, known: Tensor) -> "Evidence":
        """Return the evidence of blocks of which the positions `known` (b, t, z, h, w) are known."""
        # What is known is certain, whatever the fit says of such a position.
        relative = torch.where(known[:, None], LEAST, hint.scale / spread.view(-1, 1, 1, 1, 1))
        return cls(torch.cat([hint.mean, relative.log(), hint.shares], 1), spread, hint)

    def to_units(self, vectors: Tensor) -> Tensor:
        """Return what is drawn (b, c, *grid) of vectors."""
        return vectors if self.hint is None else (vectors - self.hint.mean) / self.hint.scale

    def from_units(self, drawn: Tensor) -> Tensor:
        """Return the vectors (b, c, *grid) of what was drawn."""
        return drawn if self.hint is None else self.hint.mean + self.hint.scale * drawn

    def mean_error(self, error: Tensor, weight: Tensor, places: Tensor, counted: Tensor) -> Tensor:
        """Return the mean of errors (b, m, c) at places (b, m) that count (b, m, 1), channels weighed by `weight` (c,).

        In blocks also by the scale: where little is certain counts most; and items count alike.
        """
        if self.hint is None:
            return (error * weight * counted).sum() / (counted.sum() * error.shape[2]).clamp(min=1)
        weights = take(flat(self.hint.scale), places) * (weight / self.spread) * counted
        return ((error * weights).sum((1, 2)) / weights.sum((1, 2)).clamp(min=1e-6)).mean()

    def items(self, tokenizer: Tokenizer, vectors: Tensor, known: Tensor) -> Tensor:
        """Return the items (b, 1, *item) of vectors, given the known pixels.

        Those of blocks get back what the tokenizer loses of the continuation of what is known.
        """
        if self.hint is None:
            return tokenizer.decode(vectors)
        return with_detail(tokenizer, vectors, self.hint, known)


class MaskedVectorModel(Model):
    """Masked autoregression over the vectors of a tokenizer (Li et al. 2024, arXiv 2406.11838).

    A bidirectional network reads what is known or drawn; a small head, told its features, draws the vectors of some
    hidden positions; and so on until none is hidden. Positions of one step are drawn as if independent of each other.

    Args:
        network: Gives features.
        head: Gives vectors of features.
        tokenizer: Frozen first stage, with standardised vectors.
        asked: Share of the positions that the loss looks at, hidden ones first.
        axes: Of its items; all but frames, `yx`, are seen as blocks.
    """

    weight: Tensor

    def __init__(
        self, network: VectorNetwork, head: VectorHead, tokenizer: Tokenizer, asked: float = 0.5, axes: Axes = "yx"
    ) -> None:
        super().__init__()
        self.network, self.head = network, head
        self.tokenizer = tokenizer.requires_grad_(False)
        self.asked, self.axes = asked, axes
        self.hints = None if axes == "yx" else Hints(tokenizer.channels)
        self.register_buffer("weight", torch.ones(tokenizer.channels))

    @torch.no_grad()
    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Weigh the channels by what they do to the picture, see `channel_weights`, from items (n, 1, *item).

        Those of blocks also give the hints.
        """
        x = lift(x, self.axes)
        self.weight.copy_(channel_weights(self.tokenizer, x))
        if self.hints is not None:
            self.hints.fit(self.tokenizer, x, rng)

    @torch.no_grad()
    def evidence(self, x: Tensor, known: Tensor, condition: Condition | None, iterations: int = ITERATIONS) -> Evidence:
        """Return what the pixels `known` (b, 1, ...) of frames or blocks x say; hidden ones are not used."""
        if self.hints is None:
            return Evidence(position_hints(self.tokenizer, x, known), self.weight)
        hint = block_hint(self.hints, self.tokenizer, x, known, condition, iterations)
        return Evidence.of_blocks(hint, self.hints.spread, known_positions(known, self.tokenizer.patch))

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Weighted loss of the head over hidden positions, for any share of known ones and of drawn ones beside them.

        What is drawn has its true vector, but does not count for the hints, as in sampling.
        """
        x = lift(x, self.axes)
        condition = block_condition(condition, x, self.axes)
        with torch.no_grad():
            vectors = piece(exactly)(self.tokenizer.encode, x)
        self._check_grid(vectors)
        known, shown = (sent(part, x.device) for part in self._training_masks(vectors, rng))
        evidence = self.evidence(x, position_pixels(known, self.tokenizer.patch), condition, QUICK)
        vectors = evidence.to_units(vectors)
        features = piece(self.network)(
            torch.where(shown[:, None], vectors, 0.0), shown[:, None], condition, evidence.told
        )
        shown, n = shown.flatten(1), shown[0].numel()
        places = (sent(rng.uniform(n), x.device) + shown).argsort(dim=1)[:, : max(1, round(self.asked * n))]
        error = self.head.loss(take(flat(features), places), take(flat(vectors), places), rng)
        return evidence.mean_error(error, self.weight, places, ~shown.gather(1, places)[..., None])

    def _training_masks(self, vectors: Tensor, rng: Streams) -> tuple[Tensor, Tensor]:
        """Return which positions (b, *grid) are known, and which are known or drawn."""
        grid = tuple(vectors.shape[2:])
        known = training_known(grid, rng)
        u = rng.uniform(1)
        # Nothing is drawn yet in the first step of every draw, and what is drawn then decides most.
        share = ((u - FRESH_SHARE) / (1 - FRESH_SHARE)).clamp(min=0)
        # Any share of the rest is drawn already, at places in no order: an order of decoding may be anything.
        drawn = rng.uniform(math.prod(grid)) < share
        return known, known | drawn.unflatten(1, grid)

    def _check_grid(self, vectors: Tensor) -> None:
        multiple = self.network.multiple
        rows, columns = vectors.shape[-2:]
        if rows % multiple or columns % multiple:
            facts = f"{rows} x {columns} positions"
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
        order: Annotated[Order, "in which order hidden positions are drawn"] = "halton",
        schedule: Annotated[Schedule, "how the number drawn grows from step to step"] = "arccos",
        steps: Annotated[
            int, "calls of the network, at most; 0 grows with what is hidden of a frame, to 16", Range(0)
        ] = 0,
        head_steps: Annotated[int, "noise levels of the head", Range(1, 1000)] = 15,
        solver: Annotated[Solver, "of the head; ddpm is stochastic"] = "dpm",
        temperature: Annotated[float, "factor of the head's noise; 1 samples the model", Range(0)] = 1.0,
        preset: Annotated[Literal["fixed", "paper_like"], "paper_like: known positions wait for their turn"] = "fixed",
    ) -> Tensor:
        """Draw items from p(x | known); see `Model.sample`."""
        x, known = lift(x, self.axes), lift(known, self.axes)
        condition = block_condition(condition, x, self.axes)
        vectors = exactly(self.tokenizer.encode, x)
        self._check_grid(vectors)
        given = known_positions(known, self.tokenizer.patch)
        if preset == "paper_like":
            (order, schedule, steps, head_steps, solver), temperature = PAPER_LIKE, 1.0
            # The fault of published orders is kept here: known positions are given when their turn comes, and seen no
            # earlier.
            known = torch.zeros_like(known)
        shown = known_positions(known, self.tokenizer.patch)
        grid, n, c = tuple(vectors.shape[2:]), shown[0].numel(), vectors.shape[1]
        # Noise belongs to a position, not to a step: what is drawn there does not depend on when or beside what.
        noise = sent(rng.normal(n, self.head.noises(head_steps, solver) * c), x.device).to(vectors.dtype)
        evidence = self.evidence(x, known, condition)
        start = flat(torch.where(given[:, None], evidence.to_units(vectors), 0.0))

        def look(content: Tensor, seen: Tensor) -> Tensor:
            maps = content.transpose(1, 2).unflatten(2, grid)
            return flat(self.network(maps, seen.unflatten(1, (1, *grid)), condition, evidence.told))

        def draw(features: Tensor, positions: Tensor) -> Tensor:
            own = take(noise, positions).unflatten(-1, (-1, c))
            drawn = self.head.draw(features, own, head_steps, temperature, solver)
            return torch.where(given.flatten(1).gather(1, positions)[..., None], take(start, positions), drawn)

        total = 0 if progress is None else int((~shown).sum())
        unmasking = Unmasking(look, grid, counter(progress, total), CHUNK, self.network)
        drawn = unmasking.reveal(start, shown.flatten(1), Pace(order, schedule, steps), draw, rng)
        drawn = evidence.from_units(drawn.transpose(1, 2).unflatten(2, grid))
        # Known vectors as they were: to units and back they would come out with other last bits.
        drawn = torch.where(given[:, None], vectors, drawn)
        return lower(evidence.items(self.tokenizer, drawn, known), self.axes)
