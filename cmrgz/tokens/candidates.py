"""Draws of what the hints of a block say, of which the network takes one: how codes are drawn where much is known.

The hints say that the vector of a position is about normal. Where that is narrow, a code drawn from logits is off by a
cell in every channel, and channels are many. So vectors are drawn from the normal law; each has its codes; and the
network, which says how likely codes are beside what the hints say of them, picks one by its weight

    w = (p(codes | all that is seen) / p(codes | hint)) ** say,

both by the closed form of `prior.py`. It is sampling-importance resampling (Rubin 1987, JASA 82; Smith and Gelfand
1992, American Statistician 46): with say = 1, of many candidates the pick is distributed as the network's codes, with
vectors within their cells as the hint has them. A network that says nothing beyond the hint picks blindly. One that is
too sure would do harm, so its say, in [0, 1], is learned: it is that with which true codes are best told from those of
a candidate (a logistic regression on the logarithm of w; Gutmann and Hyvarinen 2012, JMLR 13).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from cmrgz.model import CodeTokenizer
from cmrgz.rng import Streams
from cmrgz.sending import sent
from cmrgz.tokens.neighbours import WAVES, around_cycle, correlated
from cmrgz.tokens.network import Logits
from cmrgz.tokens.prior import PriorLogits


@dataclass(frozen=True)
class Candidates:
    """What draws vectors of the n positions of items.

    Attributes:
        prior: What the hints say of them.
        noise: (b, n, k, c) standard normal.
        pick: (b, n) in [0, 1), which of the k is taken.
        some: (b,) bool, the items of which anything is known; hints say nothing of others.
    """

    prior: PriorLogits
    noise: Tensor
    pick: Tensor
    some: Tensor

    @classmethod
    def of(
        cls, prior: PriorLogits, some: Tensor, grid: tuple[int, ...], k: int, rng: Streams, moments: Tensor
    ) -> "Candidates":
        """Return k candidates a position of blocks on a grid, whose phases lie at `moments` (b, t) of the cycle.

        What the k-th draws is one field around the cycle, and one number picks at all positions of it: where the
        network has nothing to say, one field is drawn. Antithetic streams oppose the fields and pick alike.
        """
        n, c = prior.leaning.mean.shape[1:]
        like = prior.leaning.mean
        waves = sent(rng.around("candidates").normal(WAVES, *grid[1:], k, c), like.device).to(like.dtype)
        # A field around the cycle, the same for all blocks: independent ones made cines flicker from block to block.
        noise = correlated(around_cycle(waves, prior.prior.alike[0], moments), prior.prior.alike).flatten(1, 4)
        # Alike for an antithetic pair: candidates oppose each other only where both take the same one.
        pick = sent(rng.around("pick").uniform(1, alike=True), noise.device).to(noise.dtype)
        return cls(prior, noise, pick.expand(-1, n), some)

    def scaled(self, factor: float) -> "Candidates":
        """Return the same with so much of the noise."""
        return replace(self, noise=factor * self.noise)

    @cached_property
    def all(self) -> bool:
        """Whether something is known of all items; of a GPU it is asked once."""
        return bool(self.some.all())

    def only(self) -> Tensor | None:
        """Return the vectors (b, n, c) of all positions where there is no choice; None where the network has one."""
        # Of items of which nothing is known hints say nothing: their codes come from the network, whatever the
        # candidates.
        if self.noise.shape[2] > 1 or not self.all:
            return None
        return of_hint(self.prior.alike(), self.noise)[:, :, 0]

    def __call__(self, logits: Logits, tokenizer: CodeTokenizer, states: Tensor, positions: Tensor) -> Tensor:
        """Return vectors (b, m, c) at positions (b, m) with features (b, m, d)."""
        hint = self.prior.at(positions).alike()
        # Noise belongs to a position, not to a step: what is drawn there does not depend on when.
        index = positions[..., None, None].expand(-1, -1, *self.noise.shape[2:])
        drawn = of_hint(hint, self.noise.gather(1, index))
        b, m, k, c = drawn.shape
        codes = tokenizer.quantise(drawn.reshape(-1, c, 1, 1)).view(b, m, k, -1)
        weight = weights(hint, logits, states[:, :, None].expand(b, m, k, -1), codes).softmax(-1).cumsum(-1)
        u = self.pick.gather(1, positions)[..., None]
        taken = (weight < u * weight[..., -1:]).sum(-1).clamp(max=k - 1)
        return drawn.gather(2, taken[..., None, None].expand(-1, -1, 1, c))[:, :, 0]


def of_hint(hint: PriorLogits, noise: Tensor) -> Tensor:
    """Return vectors (..., c) drawn from what hints say of positions (...), with standard normal noise (..., c)."""
    return (hint.leaning.mean + hint.leaning.precision.rsqrt() * noise) @ hint.prior.hints.basis.T


def weights(hint: PriorLogits, logits: Logits, states: Tensor, codes: Tensor) -> Tensor:
    """Return the logarithms of the weights (...) of codes (..., levels); see `beyond`."""
    # A say beyond 1 would trust the network more than its own probabilities; below 0 it would be held against it.
    return hint.prior.say.clamp(0, 1) * beyond(hint, logits, states, codes)


def beyond(hint: PriorLogits, logits: Logits, states: Tensor, codes: Tensor) -> Tensor:
    """Return how much likelier (...) than hints codes (..., levels) are to a network, as logarithms.

    Args:
        hint: Of the positions (...).
        logits: Of the network.
        states: (..., d) what it makes of all that is seen.
        codes: (..., levels).
    """
    total = states.new_zeros(codes.shape[:-1])
    for level in range(codes.shape[-1]):
        own = hint(codes, level)
        seen = logits(states, codes[..., :level], level).float() + own
        # Beside the hint stand the frequencies of the codes, which the bias of the head holds: what counts is what is
        # beyond both.
        ratio = seen.log_softmax(-1) - (hint.prior.common[level] + own).log_softmax(-1)
        total = total + ratio.gather(-1, codes[..., level, None])[..., 0]
    return total


def mistaken(
    hint: PriorLogits, logits: Logits, tokenizer: CodeTokenizer, states: Tensor, codes: Tensor, noise: Tensor
) -> Tensor:
    """Return the mean negative log-probability that true codes (n, levels) are picked, and not those of a candidate.

    Only the say of the network depends on it.

    Args:
        hint: Of n positions.
        logits: Of the network.
        tokenizer: Of the codes.
        states: (n, d).
        codes: (n, levels).
        noise: (n, c) standard normal.
    """
    # Only the say is to learn from this: the network learns from its likelihood alone.
    with torch.no_grad():
        other = tokenizer.quantise(of_hint(hint, noise)[:, :, None, None]).flatten(0, 2)
        both = torch.stack([beyond(hint, logits, states, part) for part in (codes, other)], -1)
    return -(hint.prior.say.clamp(0, 1) * both).log_softmax(-1)[:, 0].mean()
