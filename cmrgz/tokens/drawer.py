"""Draws the vectors of positions: of codes, level after level, or of candidates that the network weighs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cmrgz.model import CodeTokenizer
from cmrgz.tokens.candidates import Candidates
from cmrgz.tokens.network import Logits
from cmrgz.tokens.prior import PriorLogits
from cmrgz.tokens.sampling import along, draw

MEAN_DRAWS = 8
"""Draws over which an expected vector is averaged."""


@dataclass(frozen=True)
class Truncation:
    """How codes are drawn from logits: see `sampling.draw`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


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
        self,
        logits: Logits,
        tokenizer: CodeTokenizer,
        u: Tensor,
        how: Truncation,
        prior: PriorLogits | None = None,
        of_hints: Candidates | None = None,
    ) -> None:
        self.logits, self.tokenizer, self.u, self.how, self.prior = logits, tokenizer, u, how, prior
        self.orders = None if prior is None else along(prior.books)
        self.of_hints = of_hints

    def __call__(self, states: Tensor, positions: Tensor) -> Tensor:
        """Return vectors (b, m, c) drawn at positions (b, m) with features (b, m, d): of codes, or candidates."""
        if self.of_hints is None:
            return self._of_codes(states, positions)
        drawn = self.of_hints(self.logits, self.tokenizer, states, positions)
        if self.of_hints.all:
            return drawn
        return torch.where(self.of_hints.some[:, None, None], drawn, self._of_codes(states, positions))

    def only(self) -> Tensor | None:
        """Return the vectors (b, n, c) of all positions where no network is asked; else None."""
        return None if self.of_hints is None else self.of_hints.only()

    def _of_codes(self, states: Tensor, positions: Tensor) -> Tensor:
        """Return the vectors (b, m, c) of codes drawn at positions (b, m) with features (b, m, d)."""
        parts = [self.tokenizer.embed(code, level) for level, (code, _) in enumerate(self._levels(states, positions))]
        return torch.stack(parts).sum(0)

    def propose(self, states: Tensor, positions: Tensor) -> Proposal:
        """Draw as a call does, and say how sure the model is."""
        parts, score, entropy = [], torch.zeros_like(states[..., 0]), torch.zeros_like(states[..., 0])
        for level, (code, logits) in enumerate(self._levels(states, positions)):
            share = logits.float().log_softmax(-1)
            # A mean, so that scores are alike whether all levels are drawn or a few.
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
            # A shift around the circle keeps the law of a uniform number, and spreads several draws of one evenly.
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
