"""The kit for causal token predictors: training in any order, and drawing hidden positions given known ones."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from cmrgz.errors import UsageError
from cmrgz.latents import known_positions, lift, lower, position_pixels, training_order
from cmrgz.model import CodeTokenizer, Condition, Progress
from cmrgz.options import Axes, Range
from cmrgz.pieces import piece
from cmrgz.rng import Streams
from cmrgz.sending import sent
from cmrgz.tokens.blocks import block_condition
from cmrgz.tokens.causal_decoding import Given, ask, decode, take
from cmrgz.tokens.codes import CANDIDATES_HELP, CodeModel
from cmrgz.tokens.drawer import Truncation
from cmrgz.tokens.network import CausalNetwork
from cmrgz.tokens.orders import ORDERS, prefix_length
from cmrgz.tokens.prior import Evidence, flat
from cmrgz.tokens.smc import smc

__all__ = ["TokenModel", "flat"]

Order = Literal["any", "forced", "orient", "smc"]
PAPER_LIKE: tuple[Order, Truncation, int] = ("forced", Truncation(top_k=50), 1)
"""Order, truncation and positions a step that the preset `paper_like` stands for."""
PARALLEL, STEPS_OF_A_BLOCK = 8, 40
"""Most positions a step of a frame, and fewest steps of a block of which all is hidden."""
ASKED = 768
"""Most positions of a block that a training step asks for."""


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
        axes: Of its items, see `CodeModel`.
    """

    network: CausalNetwork[Any]

    def __init__(
        self,
        network: CausalNetwork[Any],
        tokenizer: CodeTokenizer,
        raster_share: float = 0.1,
        level_decay: float = 0.75,
        axes: Axes = "yx",
    ) -> None:
        super().__init__(network, tokenizer, level_decay, axes)
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

        The known share is random. Half of the positions are asked for, of those that are hidden; of blocks at most
        `ASKED`, in a part of the order that starts where the hidden ones do and is cut at random: what is drawn first
        decides most, and what is never asked need not be computed.
        """
        x = lift(x, self.axes)
        condition = block_condition(condition, x, self.axes)
        exact, codes = self.encode(x)
        order, known = training_order(self.grid(x), self.raster_share, rng)
        slots, asked = self._slots(order, known, rng)
        end = int(slots.max()) + 1 if self.prior else order.shape[1]
        rows = sent(asked.flatten().nonzero()[:, 0], x.device)  # found by the host, which need not ask then
        order, known, slots = (sent(part, x.device) for part in (order, known, slots))
        codes, exact = take(codes, order), take(exact, order)
        given = torch.arange(order.shape[1], device=x.device) < known[:, None]
        # As in decoding: what is known enters as it is, what would have been drawn as the vector of its codes.
        content = torch.where(given[..., None], exact, self.vectors(codes))
        evidence = self.evidence(x, self._first_pixels(order, known, self.grid(x)), condition)
        # Of blocks the length differs from step to step.
        network = self.network.train_states if self.prior else piece(self.network.train_states)
        states = network(content[:, :end], order[:, :end], condition, evidence.features, slots)
        leaning = None if evidence.leaning is None else evidence.leaning.at(order.gather(1, slots)).flat(rows)
        return self.level_loss(states.flatten(0, 1)[rows], take(codes, slots).flatten(0, 1)[rows], rng, leaning)

    def _slots(self, order: Tensor, known: Tensor, rng: Streams) -> tuple[Tensor, Tensor]:
        """Return the slots (b, m) that are asked for, and which of them (b, m) are hidden."""
        n = order.shape[1]
        place = torch.arange(n)
        score = rng.uniform(n) + (place < known[:, None])  # hidden ones first
        if self.prior is None:
            slots = score.argsort(dim=1)[:, : n // 2]
            return slots, slots >= known[:, None]
        many = min(ASKED, -(-n // 2))
        end = known + (rng.uniform(1)[:, 0] * (n - known)).ceil().long().clamp(min=many)
        # Scores lie below 2, so that what is past the cut comes after everything else.
        slots = (score + 2 * (place >= end[:, None])).argsort(dim=1)[:, :many]
        return slots, slots >= known[:, None]

    def _first_pixels(self, order: Tensor, known: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Return which pixels (b, 1, *item) the first `known` (b,) positions of an order (b, n) cover."""
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
        parallel: Annotated[
            int | None, "most positions a step; automatic: 8 of frames, a fortieth of blocks; smc draws one", Range(1)
        ] = None,
        particles: Annotated[int, "smc: draws that compete for an item", Range(2, 4096)] = 8,
        output: Annotated[Literal["draw", "mean"], "mean: expected vectors in one step, no draw"] = "draw",
        levels: Annotated[int, "residual levels drawn; 0 is all, 4 is fast", Range(0)] = 0,
        candidates: Annotated[int | None, CANDIDATES_HELP, Range(0, 256)] = None,
        preset: Annotated[Literal["fixed", "paper_like"], "paper_like: forced, top_k=50, one a step"] = "fixed",
    ) -> Tensor:
        """Draw items from p(x | known); see `Model.sample`."""
        how = Truncation(temperature, top_k, top_p)
        if preset == "paper_like":
            # A preset stands for all of them, so that it means the same whatever else is asked for.
            (order, how, parallel), output = PAPER_LIKE, "draw"
        x, known = lift(x, self.axes), lift(known, self.axes)
        condition = block_condition(condition, x, self.axes)
        exact, codes = self.encode(x)
        grid, n = self.grid(x), exact.shape[1]
        positions = known_positions(known, self.tokenizer.patch).flatten(1)
        sequence = ORDERS[order](positions, grid, rng)
        evidence = self._evidence(x, known, condition, sequence, order)
        # The fill is in the hints already; particles would repeat it, and it is twice as large as the items.
        told = {name: value for name, value in condition.items() if name != "fill"} if condition else condition
        given = Given(torch.where(positions[..., None], exact, 0.0), positions, sequence, told, evidence.features)
        many = self.candidates(candidates, plain=top_k == 0 and top_p == 1 and levels == 0 and preset == "fixed")
        many = 0 if order == "smc" or output == "mean" else many
        draw = self.drawer(n, levels, how, rng, particles if order == "smc" else 1, evidence, many, condition)
        even = many == 1 and order == "any"  # other orders keep some of what is known from the hints
        only = draw.only() if even else None
        if only is not None:
            drawn = torch.where(positions[..., None], exact, only)
            return lower(self.items(drawn, grid, evidence, even), self.axes)
        if output == "mean":
            every = torch.arange(n, device=x.device).expand_as(positions)
            mean = draw.mean(ask(self.network, given, every), every)
            drawn = torch.where(positions[..., None], exact, mean)
            if progress is not None:
                progress(1, 1)
        elif order == "smc":
            drawn = smc(self.network, given, codes, particles, draw, rng.child("smc"), progress)
        else:
            usual = max(PARALLEL, n // STEPS_OF_A_BLOCK if self.prior else 0)
            drawn = decode(self.network, given, draw, parallel or usual, progress)
        if not many:
            drawn = self.within_cells(drawn, positions, evidence, rng, 0.0 if output == "mean" else temperature)
        return lower(self.items(drawn, grid, evidence, even), self.axes)

    def _evidence(self, x: Tensor, known: Tensor, condition: Condition | None, order: Tensor, name: Order) -> Evidence:
        """Return what may be told of hidden positions: nothing that lies ahead of them in the order (b, n)."""
        if name == "any":
            return self.evidence(x, known, condition)
        # Hints of all that is known would show a forced order what comes later, which is what it is not to see.
        seen = torch.zeros_like(known)
        if name == "orient":
            positions = known_positions(known, self.tokenizer.patch).flatten(1)
            seen = self._first_pixels(order, prefix_length(order, positions), self.grid(known))
        early = {key: value for key, value in (condition or {}).items() if key != "fill"}  # a fill knows what is ahead
        return self.evidence(x, seen, early)
