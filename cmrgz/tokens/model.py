"""The kit for causal token predictors: training in any order, and drawing hidden positions given known ones."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from cmrgz.errors import UsageError
from cmrgz.latents import known_positions, position_pixels, training_order
from cmrgz.model import CodeTokenizer, Condition, Progress
from cmrgz.options import Range
from cmrgz.rng import Streams
from cmrgz.tokens.codes import CodeModel, Truncation, flat
from cmrgz.tokens.decoding import Given, ask, decode, take
from cmrgz.tokens.network import CausalNetwork
from cmrgz.tokens.orders import ORDERS, prefix_length
from cmrgz.tokens.smc import smc

__all__ = ["TokenModel", "flat"]

Order = Literal["any", "forced", "orient", "smc"]
PAPER_LIKE: tuple[Order, Truncation, int] = ("forced", Truncation(top_k=50), 1)
"""Order, truncation and positions a step that the preset `paper_like` stands for."""


class TokenModel(CodeModel):
    """A causal model over the positions of a code tokenizer.

    p(x | known) is drawn by putting the known positions first, as they are (unquantised), in one prefill, and then
    drawing the codes of the hidden ones in order, each given all that is known or drawn (any-order autoregression:
    Pannatier et al. 2024, arXiv 2404.09562; several a step with content and targets apart: Li et al. 2025, arXiv
    2503.10568; residual codes of a position one after another: Lee et al. 2022, arXiv 2203.01941).

    Args:
        network: Gives the logits.
        tokenizer: Frozen first stage.
        raster_share: Share of the training items in raster order, which keeps the raster baseline fair.
        level_decay: Weight of a level's loss relative to the level before.
    """

    network: CausalNetwork[Any]

    def __init__(
        self,
        network: CausalNetwork[Any],
        tokenizer: CodeTokenizer,
        raster_share: float = 0.1,
        level_decay: float = 0.75,
    ) -> None:
        super().__init__(network, tokenizer, level_decay)
        self.raster_share = raster_share

    @classmethod
    def check_options(cls, build: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        """Refuse to ask for expected vectors in an order that does not show all that is known.

        Raises:
            UsageError: `range`.
        """
        del build
        if given.get("output") == "mean" and given.get("order", "any") != "any":
            what = f"'output=mean' asks for all positions at once, which has no order '{given['order']}'"
            raise UsageError("range", "option --set", what, hint="leave out order")

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Mean negative log-likelihood in nats per code of hidden positions, in a random order after the known ones.

        The known share is random. Half of the positions are asked for, of those that are hidden.
        """
        exact, codes = self.encode(x)
        order, known = (part.to(x.device) for part in training_order(self.grid(x), self.raster_share, rng))
        n = order.shape[1]
        given = torch.arange(n, device=x.device) < known[:, None]
        slots = (rng.uniform(n).to(x.device) + given).argsort(dim=1)[:, : n // 2]  # hidden ones first
        codes, exact = take(codes, order), take(exact, order)
        content = torch.where(given[..., None], exact, self.vectors(codes))
        hints = self.hints(x, self._first_pixels(order, known, self.grid(x)))
        states = self.network.train_states(content, order, condition, hints, slots)
        asked = slots >= known[:, None]
        return self.level_loss(states[asked], take(codes, slots)[asked], rng)

    def _first_pixels(self, order: Tensor, known: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return which pixels (b, 1, H, W) the first `known` (b,) positions of an order (b, n) cover."""
        first = torch.arange(order.shape[1], device=order.device) < known[:, None]
        positions = torch.zeros_like(first).scatter(1, order, first).unflatten(1, grid)
        return position_pixels(positions, self.tokenizer.patch)

    @torch.no_grad()
    def sample(
        self,
        x: Tensor,
        known: Tensor,
        *,
        condition: Condition | None = None,
        rng: Streams,
        progress: Progress | None = None,
        order: Annotated[Order, "known first; row by row, forced; that, best turned; particles"] = "any",
        temperature: Annotated[float, "1 samples the model, 0 takes the most likely code", Range(0)] = 1.0,
        top_k: Annotated[int, "draw from the k most likely codes only; 0 is off", Range(0)] = 0,
        top_p: Annotated[float, "draw from the smallest set of codes of this share; 1 is off", Range(1e-6, 1)] = 1.0,
        parallel: Annotated[int, "most positions drawn in one step; smc draws one", Range(1)] = 8,
        particles: Annotated[int, "smc: draws that compete for an item", Range(2, 4096)] = 8,
        output: Annotated[Literal["draw", "mean"], "mean: expected vectors in one step, no draw"] = "draw",
        levels: Annotated[int, "residual levels drawn; 0 is all, 4 is fast", Range(0)] = 0,
        preset: Annotated[Literal["fixed", "paper_like"], "paper_like: forced, top_k=50, one a step"] = "fixed",
    ) -> Tensor:
        """Draw items from p(x | known); see `Model.sample`."""
        how = Truncation(temperature, top_k, top_p)
        if preset == "paper_like":
            (order, how, parallel), output = PAPER_LIKE, "draw"
        exact, codes = self.encode(x)
        grid, n = self.grid(x), exact.shape[1]
        positions = known_positions(known, self.tokenizer.patch).flatten(1)
        sequence = ORDERS[order](positions, grid, rng)
        hints = self.hints(x, self._hinting(known, positions, sequence, order))
        given = Given(torch.where(positions[..., None], exact, 0.0), positions, sequence, condition, hints)
        draw = self.drawer(n, levels, how, rng, particles if order == "smc" else 1)
        if output == "mean":
            every = torch.arange(n, device=x.device).expand_as(positions)
            mean = draw.mean(ask(self.network, given, every), every)
            drawn = torch.where(positions[..., None], exact, mean)
            if progress is not None:
                progress(1, 1)
        elif order == "smc":
            drawn = smc(self.network, given, codes, particles, draw, rng.child("smc"), progress)
        else:
            drawn = decode(self.network, given, draw, parallel, progress)
        return self.items(drawn, grid)

    def _hinting(self, known: Tensor, positions: Tensor, order: Tensor, name: Order) -> Tensor:
        """Return the pixels (b, 1, H, W) that hints may be made of: none that lie ahead of what they are hints for."""
        if name == "any":
            return known
        if name != "orient":
            return torch.zeros_like(known)
        return self._first_pixels(order, prefix_length(order, positions), self.grid(known))
