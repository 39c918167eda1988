"""What the models of residual codes share: statistics, hints, the loss and the draw of the codes of a position."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.adaptive import ITERATIONS
from cmrgz.latents import framewise, lift, position_hints
from cmrgz.model import CodeTokenizer, Condition, Model
from cmrgz.rng import Streams, derive
from cmrgz.tokens.blocks import QUICK
from cmrgz.tokens.network import CodeNetwork, Logits
from cmrgz.tokens.prior import (
    BLOCK_FRAMES,
    CodePrior,
    Evidence,
    Leaning,
    PriorLogits,
    decoded,
    flat,
    frames_of,
    framewise_codes,
)
from cmrgz.tokens.sampling import along, draw

__all__ = ["CodeModel", "Drawer", "Proposal", "Truncation", "flat", "level_loss"]

MEAN_DRAWS = 8
"""Draws over which an expected vector is averaged."""


@dataclass(frozen=True)
class Truncation:
    """How codes are drawn from logits: see `sampling.draw`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def level_loss(
    logits: Logits,
    states: Tensor,
    codes: Tensor,
    decay: float,
    training: bool,
    rng: Streams,
    prior: PriorLogits | None = None,
) -> Tensor:
    """Weighted mean over levels of the cross-entropy of codes (n, levels) given states (n, d).

    A level after the second is seen by half of the positions: fine levels cost as much as coarse ones, but the picture
    hangs on the coarse. Each level weighs `decay` times the one before. All positions count where nothing is trained.
    A prior, one row for each of the codes, is added to the logits.
    """
    total, weight = states.new_zeros(()), 0.0
    generator = torch.Generator().manual_seed(derive(rng.seed, *rng.keys[0], "half"))
    half = torch.rand(len(codes), generator=generator) < 0.5
    every = not (training and bool(half.any()))  # of one or two positions, half may be none
    some = (half | every).nonzero()[:, 0].to(codes.device)
    for level in range(codes.shape[-1]):
        at, own = (states, codes) if level < 2 else (states[some], codes[some])
        given = logits(at, own, level).float()
        if prior is not None:
            given = given + (prior if level < 2 else prior.of(some))(own, level)
        total = total + decay**level * F.cross_entropy(given, own[:, level])
        weight += decay**level
    return total / weight


class CodeModel(Model):
    """A model of the codes of a tokenizer, by a network that predicts those of a position level after level.

    Residual codes of a position are drawn one after another (Lee et al. 2022, arXiv 2203.01941).

    Args:
        network: Gives the logits.
        tokenizer: Frozen first stage.
        level_decay: Weight of a level's loss relative to the level before.
        axes: Of its items. Those of other axes than `yx` are blocks: their hints see all axes, and the logits of the
            network are added to what the hints say of the codes, see `prior.py`.
    """

    def __init__(self, network: CodeNetwork, tokenizer: CodeTokenizer, level_decay: float, axes: str = "yx") -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer.requires_grad_(False)
        self.level_decay, self.axes = level_decay, axes
        self.prior = None if axes == "yx" else CodePrior(tokenizer.channels, tokenizer.levels, tokenizer.vocab)

    @torch.no_grad()
    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Give the network the statistics of the vectors and codes of items (n, 1, *item)."""
        if self.prior is not None:
            x = lift(x, self.axes)
            self.prior.fit(self.tokenizer, x, rng)
            x = frames_of(x)
            x = x[:: -(-len(x) // BLOCK_FRAMES)]
        vectors = self.tokenizer.encode(x)
        codes = self.tokenizer.quantise(vectors).flatten(0, 2)
        every = torch.arange(self.tokenizer.vocab, device=x.device)
        features = torch.stack([self.tokenizer.embed(every, level) for level in range(self.tokenizer.levels)])
        self.network.fit(flat(vectors).flatten(0, 1), codes, features)

    @torch.no_grad()
    def evidence(self, x: Tensor, known: Tensor, condition: Condition | None = None) -> Evidence:
        """Return what the known pixels alone say of each position; in training, of blocks, by a quick fill.

        Args:
            x: Frames (b, 1, H, W) or blocks (b, 1, t, z, H, W); hidden pixels are not used.
            known: As x, bool.
            condition: Of blocks `time`, `height` and `fill` count.
        """
        if self.prior is None:
            return Evidence(flat(position_hints(self.tokenizer, x, known)))
        iterations = QUICK if self.training else ITERATIONS
        return self.prior.evidence(self.tokenizer, x, known, condition, iterations)

    def hints(self, x: Tensor, known: Tensor, condition: Condition | None = None) -> Tensor:
        """Return what a network is told of the `evidence`: (b, n, h)."""
        return self.evidence(x, known, condition).features

    def level_loss(self, states: Tensor, codes: Tensor, rng: Streams, leaning: Leaning | None = None) -> Tensor:
        """Return `level_loss` of codes (n, levels) given states (n, d) and, in blocks, the leaning of the n rows.

        It is 0 where n is: of a block all may be known.
        """
        if not len(codes):
            return states.sum()
        prior = self._prior(leaning)
        return level_loss(self.network.logits, states, codes, self.level_decay, self.training, rng, prior)

    def _prior(self, leaning: Leaning | None) -> PriorLogits | None:
        """Return what a leaning adds to logits."""
        return None if self.prior is None or leaning is None else self.prior.bind(self.tokenizer, leaning)

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors (b, n, c) and codes (b, n, levels) of frames or blocks, n in the order of their grid."""
        vectors = framewise(self.tokenizer.encode, x)
        return flat(vectors), framewise_codes(self.tokenizer, vectors)

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors (..., c) that codes (..., levels) stand for."""
        parts = [self.tokenizer.embed(codes[..., level], level) for level in range(codes.shape[-1])]
        return torch.stack(parts).sum(0)

    def grid(self, x: Tensor) -> tuple[int, ...]:
        """Return the positions of frames, (h, w), or of blocks, (t, z, h, w)."""
        patch = self.tokenizer.patch
        return (*x.shape[2:-2], x.shape[-2] // patch, x.shape[-1] // patch)

    def items(self, vectors: Tensor, grid: tuple[int, ...], evidence: Evidence | None = None) -> Tensor:
        """Return the frames or blocks of vectors (b, n, c); blocks with the detail that their evidence has."""
        return decoded(self.tokenizer, vectors, grid, evidence)

    def drawer(
        self,
        n: int,
        levels: int,
        how: Truncation,
        rng: Streams,
        copies: int = 1,
        leaning: Leaning | None = None,
    ) -> "Drawer":
        """Return what draws codes of n positions, with one number of `rng` for each code.

        Args:
            n: Positions.
            levels: Drawn are the first ones, 0 being all.
            how: The codes are drawn.
            rng: One stream per item.
            copies: Draws of an item, side by side.
            leaning: Of the n positions, `evidence(...).leaning`.
        """
        asked = min(levels, self.tokenizer.levels) or self.tokenizer.levels
        u = rng.uniform(copies * n, asked).to(next(self.network.parameters()).device)
        prior = self._prior(leaning.spread(copies) if leaning and copies > 1 else leaning)
        return Drawer(self.network.frozen_logits(), self.tokenizer, u.view(-1, n, asked), how, prior)


class Proposal(NamedTuple):
    """What was drawn at positions.

    Attributes:
        vectors: (b, m, c) of the drawn codes.
        score: (b, m) log-probability of a drawn code under the model, in nats: the mean over the levels.
        entropy: (b, m) of the codes that could have been drawn, in nats: of each level given those drawn before it.
    """

    vectors: Tensor
    score: Tensor
    entropy: Tensor


class Drawer:
    """Draws the codes of positions, level after level, with numbers u (b, n, levels): one for each code of an item.

    A prior of the n positions is added to the logits. Where there is one, a number runs through the codes in the order
    of their vectors, so that opposite numbers, as those of antithetic streams, give opposite vectors.
    """

    def __init__(
        self, logits: Logits, tokenizer: CodeTokenizer, u: Tensor, how: Truncation, prior: PriorLogits | None = None
    ) -> None:
        self.logits, self.tokenizer, self.u, self.how, self.prior = logits, tokenizer, u, how, prior
        self.orders = None if prior is None else along(prior.books)

    def __call__(self, states: Tensor, positions: Tensor) -> Tensor:
        """Return the vectors (b, m, c) of codes drawn at positions (b, m) with features (b, m, d)."""
        parts = [self.tokenizer.embed(code, level) for level, (code, _) in enumerate(self._levels(states, positions))]
        return torch.stack(parts).sum(0)

    def propose(self, states: Tensor, positions: Tensor) -> Proposal:
        """Draw as a call does, and say how sure the model is."""
        parts, score, entropy = [], torch.zeros_like(states[..., 0]), torch.zeros_like(states[..., 0])
        for level, (code, logits) in enumerate(self._levels(states, positions)):
            share = logits.float().log_softmax(-1)
            score = score + share.gather(-1, code[..., None])[..., 0] / self.u.shape[-1]
            entropy = entropy - (share.exp() * share).sum(-1)
            parts.append(self.tokenizer.embed(code, level))
        return Proposal(torch.stack(parts).sum(0), score, entropy)

    def mean(self, states: Tensor, positions: Tensor) -> Tensor:
        """Return the expected vectors (b, m, c).

        The mean over each level's codes given those drawn before it, and that over draws that are spread evenly: its
        own mean is that of the model (Rao-Blackwell, level by level).
        """
        every = torch.arange(self.tokenizer.vocab, device=states.device)
        parts = []
        for k in range(MEAN_DRAWS):
            for level, (_, logits) in enumerate(self._levels(states, positions, k / MEAN_DRAWS)):
                parts.append(logits.float().softmax(-1) @ self.tokenizer.embed(every, level) / MEAN_DRAWS)
        return torch.stack(parts).sum(0)

    def log_prob(self, states: Tensor, codes: Tensor, positions: Tensor) -> Tensor:
        """Return the log-probability (b, m) of codes (b, m, levels) at positions (b, m).

        It is the model's own, whatever temperature and truncation are.
        """
        total, logits = torch.zeros_like(states[..., 0]), self._at(states, positions)
        for level in range(self.u.shape[-1]):
            share = logits(codes[..., :level], level).float().log_softmax(-1)
            total = total + share.gather(-1, codes[..., level, None])[..., 0]
        return total

    def _levels(self, states: Tensor, positions: Tensor, turn: float = 0.0) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw level after level; yield the codes (b, m) and the logits (b, m, vocab) they were drawn from.

        The numbers are moved around the unit circle by `turn`.
        """
        codes = torch.zeros(*positions.shape, 0, dtype=torch.long, device=states.device)
        given = self._at(states, positions)
        for level in range(self.u.shape[-1]):
            logits = given(codes, level)
            number = self.u[..., level].gather(1, positions)
            number = (number + turn) % 1 if turn else number
            order = None if self.orders is None else self.orders[level]
            code = draw(logits, number, self.how.temperature, self.how.top_k, self.how.top_p, order)
            codes = torch.cat([codes, code[..., None]], -1)
            yield code, logits

    def _at(self, states: Tensor, positions: Tensor) -> Callable[[Tensor, int], Tensor]:
        """Return what gives logits (b, m, vocab) of codes (b, m, >= level) and a level, at positions (b, m)."""
        if self.prior is None:
            return lambda codes, level: self.logits(states, codes, level)
        prior = self.prior.at(positions)
        return lambda codes, level: self.logits(states, codes, level).float() + prior(codes, level)
