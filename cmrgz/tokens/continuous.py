"""Masked autoregression over continuous vectors: known ones first, then hidden ones a few at a time."""

from abc import ABC, abstractmethod
from typing import Annotated, Literal, Protocol

import torch
from torch import Tensor, nn

from cmrgz.errors import UsageError
from cmrgz.latents import channel_weights, known_positions, position_hints, position_pixels, training_known
from cmrgz.model import Condition, Model, Progress, Tokenizer
from cmrgz.options import Range
from cmrgz.rng import Streams
from cmrgz.tokens.codes import flat
from cmrgz.tokens.decoding import take
from cmrgz.tokens.schedule import Schedule
from cmrgz.tokens.unmasking import Pace, Unmasking, counter

CHUNK = 8
"""Positions of an item that a call of the head draws, few: a call of the head is many steps."""
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
        """Return features (b, d, h, w).

        Args:
            vectors: (b, c, h, w), 0 where not shown.
            shown: (b, 1, h, w) bool: known or already drawn.
            condition: As in `Model.sample`.
            hints: (b, c + 4, h, w), see `position_hints`.
        """


class VectorHead(Protocol):
    """A distribution of a vector given features; `cmrgz.diffusion.head.DiffusionHead` is one."""

    def loss(self, features: Tensor, vectors: Tensor, rng: Streams) -> Tensor:
        """Return the loss (b, m, c) of vectors (b, m, c) given features (b, m, d)."""

    def noises(self, steps: int, solver: Solver) -> int:
        """Return how many normal vectors a draw needs."""

    def draw(self, features: Tensor, noise: Tensor, steps: int, temperature: float, solver: Solver) -> Tensor:
        """Return vectors (b, m, c) drawn given features (b, m, d) with normal numbers (b, m, noises, c)."""


class MaskedVectorModel(Model):
    """Masked autoregression over the vectors of a tokenizer (Li et al. 2024, arXiv 2406.11838).

    A bidirectional network reads what is known or drawn; a small head, told its features, draws the vectors of some
    hidden positions; and so on until none is hidden. Positions of one step are drawn as if independent of each other.

    Args:
        network: Gives features.
        head: Gives vectors of features.
        tokenizer: Frozen first stage, with standardised vectors.
        asked: Share of the positions that the loss looks at, hidden ones first.
    """

    weight: Tensor

    def __init__(self, network: VectorNetwork, head: VectorHead, tokenizer: Tokenizer, asked: float = 0.5) -> None:
        super().__init__()
        self.network, self.head = network, head
        self.tokenizer = tokenizer.requires_grad_(False)
        self.asked = asked
        self.register_buffer("weight", torch.ones(tokenizer.channels))

    @torch.no_grad()
    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Weigh the channels by what they do to the picture, see `channel_weights`, from items (n, 1, *item)."""
        del rng
        self.weight.copy_(channel_weights(self.tokenizer, x))

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Weighted loss of the head over hidden positions, for any share of known ones and of drawn ones beside them.

        What is drawn has its true vector, but does not count for the hints, as in sampling.
        """
        with torch.no_grad():
            vectors = self.tokenizer.encode(x)
        self._check_grid(vectors)
        known, shown = (part.to(x.device) for part in self._training_masks(vectors, rng))
        hints = position_hints(self.tokenizer, x, position_pixels(known, self.tokenizer.patch))
        features = self.network(torch.where(shown[:, None], vectors, 0.0), shown[:, None], condition, hints)
        shown, n = shown.flatten(1), shown[0].numel()
        places = (rng.uniform(n).to(x.device) + shown).argsort(dim=1)[:, : max(1, round(self.asked * n))]
        error = self.head.loss(take(flat(features), places), take(flat(vectors), places), rng)
        counted = ~shown.gather(1, places)[..., None]
        return (error * self.weight * counted).sum() / (counted.sum() * error.shape[2]).clamp(min=1)

    def _training_masks(self, vectors: Tensor, rng: Streams) -> tuple[Tensor, Tensor]:
        """Return which positions (b, h, w) are known, and which are known or drawn."""
        grid = (vectors.shape[2], vectors.shape[3])
        known = training_known(grid, rng)
        u = rng.uniform(1)
        share = ((u - FRESH_SHARE) / (1 - FRESH_SHARE)).clamp(min=0)
        drawn = rng.uniform(grid[0] * grid[1]) < share
        return known, known | drawn.unflatten(1, grid)

    def _check_grid(self, vectors: Tensor) -> None:
        multiple = self.network.multiple
        if vectors.shape[2] % multiple or vectors.shape[3] % multiple:
            facts = f"{vectors.shape[2]} x {vectors.shape[3]} positions"
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
        steps: Annotated[int, "calls of the network, at most; 0 grows with what is hidden, to 16", Range(0)] = 0,
        head_steps: Annotated[int, "noise levels of the head", Range(1, 1000)] = 15,
        solver: Annotated[Solver, "of the head; ddpm is stochastic"] = "dpm",
        temperature: Annotated[float, "factor of the head's noise; 1 samples the model", Range(0)] = 1.0,
        preset: Annotated[Literal["fixed", "paper_like"], "paper_like: known positions wait for their turn"] = "fixed",
    ) -> Tensor:
        """Draw items from p(x | known); see `Model.sample`."""
        vectors = self.tokenizer.encode(x)
        self._check_grid(vectors)
        given = known_positions(known, self.tokenizer.patch)
        if preset == "paper_like":
            (order, schedule, steps, head_steps, solver), temperature = PAPER_LIKE, 1.0
            known = torch.zeros_like(known)
        shown = known_positions(known, self.tokenizer.patch)
        grid, n, c = (vectors.shape[2], vectors.shape[3]), shown[0].numel(), vectors.shape[1]
        noise = rng.normal(n, self.head.noises(head_steps, solver) * c).to(vectors)
        start = flat(torch.where(given[:, None], vectors, 0.0))
        hints = position_hints(self.tokenizer, x, known)

        def look(content: Tensor, seen: Tensor) -> Tensor:
            maps = content.transpose(1, 2).unflatten(2, grid)
            return flat(self.network(maps, seen.unflatten(1, (1, *grid)), condition, hints))

        def draw(features: Tensor, positions: Tensor) -> Tensor:
            own = take(noise, positions).unflatten(-1, (-1, c))
            drawn = self.head.draw(features, own, head_steps, temperature, solver)
            return torch.where(given.flatten(1).gather(1, positions)[..., None], take(start, positions), drawn)

        unmasking = Unmasking(look, grid, counter(progress, int((~shown).sum())), CHUNK)
        drawn = unmasking.reveal(start, shown.flatten(1), Pace(order, schedule, steps), draw, rng)
        return self.tokenizer.decode(drawn.transpose(1, 2).unflatten(2, grid))
