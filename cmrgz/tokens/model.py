"""The kit for token predictors: training in any order, and drawing hidden positions given known ones."""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.latents import known_positions, position_pixels, smooth_fill, training_order
from cmrgz.model import CodeTokenizer, Condition, Model, Progress
from cmrgz.options import Range
from cmrgz.rng import Streams, derive
from cmrgz.tokens.decoding import decode, take
from cmrgz.tokens.network import CausalNetwork
from cmrgz.tokens.orders import ORDERS
from cmrgz.tokens.sampling import draw


def flat(grid: Tensor) -> Tensor:
    """Return positions in a row (b, n, c) of a grid (b, c, h, w)."""
    return grid.flatten(2).transpose(1, 2)


class TokenModel(Model):
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

    def __init__(
        self,
        network: CausalNetwork[Any],
        tokenizer: CodeTokenizer,
        raster_share: float = 0.1,
        level_decay: float = 0.75,
    ) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer.requires_grad_(False)
        self.raster_share, self.level_decay = raster_share, level_decay

    @torch.no_grad()
    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Give the network the statistics of the vectors and codes of items (n, 1, *item)."""
        del rng
        vectors = self.tokenizer.encode(x)
        codes = self.tokenizer.quantise(vectors).flatten(0, 2)
        every = torch.arange(self.tokenizer.vocab, device=x.device)
        features = torch.stack([self.tokenizer.embed(every, level) for level in range(self.tokenizer.levels)])
        self.network.fit(flat(vectors).flatten(0, 1), codes, features)

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Mean negative log-likelihood in nats per code of hidden positions, in a random order after the known ones.

        The known share is random. Half of the positions are asked for, of those that are hidden.
        """
        exact, codes = self._encode(x)
        grid = (x.shape[-2] // self.tokenizer.patch, x.shape[-1] // self.tokenizer.patch)
        order, known = (part.to(x.device) for part in training_order(grid, self.raster_share, rng))
        n = order.shape[1]
        given = torch.arange(n, device=x.device) < known[:, None]
        slots = (rng.uniform(n).to(x.device) + given).argsort(dim=1)[:, : n // 2]  # hidden ones first
        codes, exact = take(codes, order), take(exact, order)
        content = torch.where(given[..., None], exact, self._vectors(codes))
        hints = self.hints(x, self._pixels(order, known, grid))
        states = self.network.train_states(content, order, condition, hints, slots)
        asked = slots >= known[:, None]
        return self._level_loss(states[asked], take(codes, slots)[asked], rng)

    def _pixels(self, order: Tensor, known: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return which pixels (b, 1, H, W) the first `known` (b,) positions of an order (b, n) cover."""
        first = torch.arange(order.shape[1], device=order.device) < known[:, None]
        positions = torch.zeros_like(first).scatter(1, order, first).unflatten(1, grid)
        return position_pixels(positions, self.tokenizer.patch)

    @torch.no_grad()
    def hints(self, x: Tensor, known: Tensor) -> Tensor:
        """Return what the known pixels alone say of each position: (b, n, channels + 4).

        The vector of a smooth continuation of what is known, and the share that is known around the position. Static,
        and free of hidden values: a target starts from what interpolation knows, and need not learn it.

        Args:
            x: Items (b, 1, *item); hidden pixels are not used.
            known: (b, 1, *item) bool.
        """
        vectors = self.tokenizer.encode(smooth_fill(x, known))
        share = known_positions(known, self.tokenizer.patch)[:, None].to(x.dtype)
        near = [F.avg_pool2d(share, k, 1, k // 2, count_include_pad=False) for k in (3, 5, 9)]
        everywhere = share.mean((2, 3), keepdim=True).expand_as(share)
        return flat(torch.cat([vectors, *near, everywhere], 1))

    def _level_loss(self, states: Tensor, codes: Tensor, rng: Streams) -> Tensor:
        """Weighted mean over levels of the cross-entropy of codes (n, levels) given states (n, d).

        A level after the second is seen by half of the positions, at twice the weight: fine levels cost as much as
        coarse ones, but the picture hangs on the coarse.
        """
        total, weight = states.new_zeros(()), 0.0
        generator = torch.Generator().manual_seed(derive(rng.seed, *rng.keys[0], "half"))
        half = torch.rand(len(codes), generator=generator) < 0.5
        every = not (self.training and bool(half.any()))  # of one or two positions, half may be none
        some = (half | every).nonzero()[:, 0].to(codes.device)
        for level in range(codes.shape[-1]):
            at, own = (states, codes) if level < 2 else (states[some], codes[some])
            logits = self.network.logits(at, own, level).float()
            total = total + self.level_decay**level * F.cross_entropy(logits, own[:, level])
            weight += self.level_decay**level
        return total / weight

    @torch.no_grad()
    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors (b, n, c) and codes (b, n, levels) of items."""
        vectors = self.tokenizer.encode(x)
        return flat(vectors), self.tokenizer.quantise(vectors).flatten(1, 2)

    def _vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors (..., c) that codes (..., levels) stand for."""
        parts = [self.tokenizer.embed(codes[..., level], level) for level in range(codes.shape[-1])]
        return torch.stack(parts).sum(0)

    @torch.no_grad()
    def sample(
        self,
        x: Tensor,
        known: Tensor,
        *,
        condition: Condition | None = None,
        rng: Streams,
        progress: Progress | None = None,
        order: Annotated[Literal["any", "raster"], "known positions first, or the raster baseline"] = "any",
        temperature: Annotated[float, "1 samples the model, 0 takes the most likely code", Range(0)] = 1.0,
        top_k: Annotated[int, "draw from the k most likely codes only; 0 is off", Range(0)] = 0,
        top_p: Annotated[float, "draw from the smallest set of codes of this share; 1 is off", Range(1e-6, 1)] = 1.0,
        parallel: Annotated[int, "most positions drawn in one step", Range(1)] = 8,
        levels: Annotated[int, "residual levels drawn; 0 is all, 4 is fast", Range(0)] = 0,
    ) -> Tensor:
        """Draw items from p(x | known); see `Model.sample`."""
        vectors = self.tokenizer.encode(x)
        grid = (vectors.shape[2], vectors.shape[3])
        given = known_positions(known, self.tokenizer.patch).flatten(1)
        levels = min(levels, self.tokenizer.levels) or self.tokenizer.levels
        sequence = ORDERS[order](given, grid, rng)
        u = rng.uniform(given.shape[1], levels).to(x.device)
        logits_of = self.network.frozen_logits()

        def draw_codes(states: Tensor, positions: Tensor) -> Tensor:
            codes = torch.zeros(*positions.shape, 0, dtype=torch.long, device=x.device)
            number = u.gather(1, positions[..., None].expand(-1, -1, levels))
            for level in range(levels):
                code = draw(logits_of(states, codes, level), number[..., level], temperature, top_k, top_p)
                codes = torch.cat([codes, code[..., None]], -1)
            return self._vectors(codes)

        start = torch.where(given[..., None], flat(vectors), 0.0)
        hints = self.hints(x, known if order == "any" else torch.zeros_like(known))  # raster sees nothing ahead of it
        drawn = decode(self.network, start, given, sequence, draw_codes, condition, hints, parallel, progress)
        return self.tokenizer.decode(drawn.transpose(1, 2).unflatten(2, grid))
