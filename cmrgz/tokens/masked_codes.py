"""The kit for bidirectional token predictors: training with any share hidden, and drawing many positions a step."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from cmrgz.latents import framewise, known_positions, lift, lower, position_pixels, training_order
from cmrgz.model import CodeTokenizer, Condition, Progress
from cmrgz.options import Axes, Range
from cmrgz.pieces import piece
from cmrgz.rng import Streams
from cmrgz.sending import sent
from cmrgz.tokens.blocks import block_condition
from cmrgz.tokens.codes import CANDIDATES_HELP, CodeModel
from cmrgz.tokens.drawer import Truncation
from cmrgz.tokens.masked_decoding import MaskedOrder, Pace, Unmasking, counter, redrawn
from cmrgz.tokens.network import MaskedNetwork
from cmrgz.tokens.prior import flat
from cmrgz.tokens.schedule import Schedule

HiddenLaw = Literal["arccos", "uniform"]
PAPER_LIKE = Pace("confidence", "cosine", steps=12, gumbel=4.5, over_grid=True)
"""What the preset `paper_like` stands for: the fault of published code that counts over the grid, not over the hole."""


class MaskedTokenModel(CodeModel):
    """A bidirectional model over the positions of a code tokenizer (Chang et al. 2022, arXiv 2202.04200).

    p(x | known) is drawn by revealing the hidden positions in a few steps, each of which draws some given all that is
    known or drawn. Known positions enter as they are (unquantised), and are never drawn.

    Args:
        network: Gives the logits.
        tokenizer: Frozen first stage.
        level_decay: Weight of a level's loss relative to the level before.
        hidden_law: Which share of what is not known is still hidden in training: `uniform` in (0, 1], or `arccos`,
            which is more often large.
        axes: Of its items, see `CodeModel`.
    """

    network: MaskedNetwork

    def __init__(
        self,
        network: MaskedNetwork,
        tokenizer: CodeTokenizer,
        level_decay: float = 0.75,
        hidden_law: HiddenLaw = "arccos",
        axes: Axes = "yx",
    ) -> None:
        super().__init__(network, tokenizer, level_decay, axes)
        self.hidden_law = hidden_law

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Mean negative log-likelihood in nats per code of hidden positions, given known ones and some that are drawn.

        As in decoding: a part is known, in any share and shape as masks are in use, and of the rest a part is drawn.
        At most half of the positions are asked for.
        """
        x = lift(x, self.axes)
        condition = block_condition(condition, x, self.axes)
        exact, codes = self.encode(x)
        order, known = training_order(self.grid(x), 0.0, rng)
        n = order.shape[1]
        given = torch.zeros_like(order, dtype=torch.bool)
        given.scatter_(1, order, torch.arange(n) < known[:, None])
        place = (rng.uniform(n) + given).argsort(dim=1).argsort(dim=1)  # known ones last
        hidden = (self._hidden_share(rng) * (n - known)).ceil().long().clamp(min=1)
        asked = (place < hidden[:, None].clamp(max=(n + 1) // 2)).flatten().nonzero()[:, 0]
        given, asked, shown = (sent(part, x.device) for part in (given, asked, place >= hidden[:, None]))
        content = torch.where(given[..., None], exact, self.vectors(codes))
        known = position_pixels(given.unflatten(1, self.grid(x)), self.tokenizer.patch)
        evidence = self.evidence(x, known, condition)
        states = piece(self.network)(torch.where(shown[..., None], content, 0.0), shown, condition, evidence.features)
        leaning = None if evidence.leaning is None else evidence.leaning.flat(asked)
        return self.level_loss(states.flatten(0, 1)[asked], codes.flatten(0, 1)[asked], rng, leaning)

    def _hidden_share(self, rng: Streams) -> Tensor:
        """Return which share (b,) of the positions that are not known is still hidden, above 0."""
        # Down to one position: a network that has only seen half or more hidden, as published ones have, is bad at
        # small holes.
        u = rng.uniform(1)[:, 0]
        return u.acos() / (torch.pi / 2) if self.hidden_law == "arccos" else 1 - u

    @torch.no_grad()
    def sample(
        self,
        x: Tensor,
        known: Tensor,
        *,
        condition: Condition | None = None,
        rng: Streams,
        progress: Progress | None = None,
        order: Annotated[MaskedOrder, "which hidden positions come first"] = "halton",
        schedule: Annotated[Schedule | None, "how many a step; automatic: arccos, for confidence cosine"] = None,
        steps: Annotated[int, "steps; 0 is 16 of a whole frame, by the square root of what is hidden", Range(0)] = 0,
        temperature: Annotated[float, "1 samples the model, 0 takes the most likely code", Range(0)] = 1.0,
        top_k: Annotated[int, "draw from the k most likely codes only; 0 is off", Range(0)] = 0,
        top_p: Annotated[float, "draw from the smallest set of codes of this share; 1 is off", Range(1e-6, 1)] = 1.0,
        gumbel: Annotated[float, "confidence: noise on the log-probabilities, which falls to 0", Range(0)] = 4.5,
        remask: Annotated[int, "sweeps that draw a quarter of the hidden positions again", Range(0)] = 0,
        entropy_bound: Annotated[float, "reveal what is independent to so many nats; 0 is by steps", Range(0)] = 0.0,
        output: Annotated[Literal["draw", "mean"], "mean: expected vectors in one step, no draw"] = "draw",
        levels: Annotated[int, "residual levels drawn; 0 is all, 4 is fast", Range(0)] = 0,
        candidates: Annotated[int | None, CANDIDATES_HELP, Range(0, 256)] = None,
        preset: Annotated[Literal["fixed", "paper_like"], "paper_like: counts over the grid, confidence"] = "fixed",
    ) -> Tensor:
        """Draw items from p(x | known); see `Model.sample`."""
        pace = Pace(order, schedule, steps, gumbel, entropy_bound)
        how = Truncation(temperature, top_k, top_p)
        if preset == "paper_like":
            pace, how, remask, output = PAPER_LIKE, Truncation(), 0, "draw"
        x, known = lift(x, self.axes), lift(known, self.axes)
        condition = block_condition(condition, x, self.axes)
        given = known_positions(known, self.tokenizer.patch).flatten(1)
        # Hidden positions are 0 from the start: what the tokenizer made of the zeros in their pixels is no content.
        vectors = torch.where(given[..., None], flat(framewise(self.tokenizer.encode, x)), 0.0)
        evidence, n, grid = self.evidence(x, known, condition), given.shape[1], self.grid(x)

        def look(content: Tensor, shown: Tensor) -> Tensor:
            return self.network(content, shown, condition, evidence.features)

        plain = top_k == 0 and top_p == 1 and levels == 0
        # A pace that weighs positions needs the probabilities of codes, which draws of a hint have not.
        many = 0 if output == "mean" or pace.weighs else self.candidates(candidates, plain)
        draw = self.drawer(n, levels, how, rng, evidence=evidence, candidates=many, condition=condition)
        if output == "mean":
            mean = draw.mean(look(vectors, given), torch.arange(n, device=x.device).expand_as(given))
            counter(progress, 1)(1)
            mean = self.within_cells(mean, given, evidence, rng, 0.0)
            return lower(self.items(torch.where(given[..., None], vectors, mean), grid, evidence), self.axes)
        # A corrector sweep looks at what was drawn, so that the network is needed even where one draw of the hint
        # would do.
        only = None if remask else draw.only()
        if only is not None:
            return lower(self.items(torch.where(given[..., None], vectors, only), grid, evidence, even=True), self.axes)
        hidden = (~given).sum(1)
        total = 0 if progress is None else int((hidden + remask * redrawn(hidden)).sum())
        run = Unmasking(look, grid, counter(progress, total), network=self.network)
        vectors = run.reveal(vectors, given, pace, draw, rng.child("order"))
        for sweep in range(remask):
            own = rng.child(f"sweep {sweep}")
            # New numbers in each sweep: with the old ones the same codes would come out.
            again = self.drawer(n, levels, how, own, evidence=evidence, candidates=many, condition=condition)
            vectors = run.redraw(vectors, given, pace, again, own)
        if not many:
            vectors = self.within_cells(vectors, given, evidence, rng, temperature)
        return lower(self.items(vectors, grid, evidence, even=many == 1), self.axes)
