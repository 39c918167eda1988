"""Token models of the mixture of `mixtures`, without error: every pixel a position, its value the codes of a bin.

The networks know the exact distribution of every pixel given those that are shown, whichever they are. What differs
from exact draws is the decoding's, up to the width of a bin.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cmrgz.model import CodeTokenizer, Condition
from cmrgz.rng import Streams
from cmrgz.testing.mixtures import Mixture
from cmrgz.testing.plain_hints import without_prior
from cmrgz.tokens.causal import TokenModel
from cmrgz.tokens.masked_codes import MaskedTokenModel
from cmrgz.tokens.network import CausalNetwork, MaskedNetwork

# About five deviations of a pixel beyond the means of all components.
LOW, HIGH = -8.0, 12.0
"""Bins cover these values, in standard deviations of a pixel."""


class BinTokenizer(CodeTokenizer):
    """Two codes of a one-pixel patch: a coarse bin of its value, and a fine one inside."""

    patch, channels, levels, vocab = 1, 1, 2, 24
    coarse, fine = (HIGH - LOW) / 24, (HIGH - LOW) / 24**2

    def encode(self, x: Tensor) -> Tensor:
        """Return x."""
        return x

    def decode(self, vectors: Tensor) -> Tensor:
        """Return the vectors."""
        return vectors

    def quantise(self, vectors: Tensor) -> Tensor:
        """Return the codes (b, h, w, 2) of vectors (b, 1, h, w)."""
        index = ((vectors[:, 0] - LOW) / self.fine).floor().long().clamp(0, self.vocab**2 - 1)
        return torch.stack([index // self.vocab, index % self.vocab], -1)

    def embed(self, codes: Tensor, level: int) -> Tensor:
        """Return the centre of a coarse bin, or how far a fine one is from it: (..., 1)."""
        value = LOW + (codes + 0.5) * self.coarse if level == 0 else (codes + 0.5) * self.fine - self.coarse / 2
        return value[..., None].float()

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Return 0: there is nothing to train."""
        del condition, rng
        return x.new_zeros(())


def bin_logits(features: Tensor, codes: Tensor, level: int) -> Tensor:
    """Return log-probabilities (..., vocab) of the bins of a pixel; see `CodeNetwork.logits`.

    Features are its distribution (..., 3 k): log-shares, means, variances.
    """
    log, mean, variance = (part[..., None] for part in features.double().chunk(3, -1))
    places = torch.arange(BinTokenizer.vocab + 1, device=features.device)
    edges = LOW + places * BinTokenizer.coarse
    if level == 1:
        edges = LOW + codes[..., :1, None] * BinTokenizer.coarse + places * BinTokenizer.fine
    # A pixel that is shown has no variance: all of it falls into one bin.
    below = torch.special.ndtr((edges - mean) / (variance + 1e-12).sqrt())
    # Bins that nothing falls into have a finite logarithm, for sums over levels.
    share = (log.exp() * below.diff(dim=-1)).sum(-2) + 1e-30
    return (share / share.sum(-1, keepdim=True)).log()


def laws(mixture: Mixture, values: Tensor, shown: Tensor) -> Tensor:
    """Return the distribution (b, d, 3 k) of every pixel given those shown (b, d) of values (b, d).

    Items of which the same pixels are shown share the matrices.
    """
    patterns, which = shown.unique(dim=0, return_inverse=True)
    result = torch.empty(*values.shape, 3 * len(mixture.weights), dtype=torch.float64)
    for i, seen in enumerate(patterns):
        result[which == i] = _law(mixture, values[which == i].double(), seen)
    return result


def _law(mixture: Mixture, y: Tensor, seen: Tensor) -> Tensor:
    """Return the distribution (n, d, 3 k) of every pixel of pictures y (n, d) given those seen (d,)."""
    cross = mixture.covariances[:, seen]  # (k, seen, d)
    factor = torch.linalg.cholesky(cross[:, :, seen])
    gain = torch.linalg.solve_triangular(factor, cross, upper=False)
    off = (y[:, seen] - mixture.means[:, None, seen]).transpose(1, 2)
    white = torch.linalg.solve_triangular(factor, off, upper=False)  # (k, seen, n)
    log = -white.square().sum(1) / 2 - factor.diagonal(dim1=1, dim2=2).log().sum(1)[:, None]
    share = (log + mixture.weights.log()[:, None]).log_softmax(0)
    mean = mixture.means[:, None] + torch.einsum("kin,kid->knd", white, gain)
    variance = (mixture.covariances.diagonal(dim1=1, dim2=2) - gain.square().sum(1)).clamp(min=0)
    parts = [share[..., None].expand_as(mean), mean, variance[:, None].expand_as(mean)]
    return torch.cat(parts).permute(1, 2, 0)


class ExactMasked(MaskedNetwork):
    """Features of a position are its exact distribution."""

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.mixture = mixture
        # The kit asks a network for its device by its first parameter.
        self.anchor = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, vectors: Tensor, shown: Tensor, condition: Condition | None, hints: Tensor | None) -> Tensor:
        """Return (b, d, 3 k); see `MaskedNetwork`. Neither conditions nor hints matter."""
        del condition, hints
        return laws(self.mixture, vectors[..., 0], shown)

    def logits(self, features: Tensor, codes: Tensor, level: int) -> Tensor:
        """Return the log-probabilities (..., vocab) of a level; see `CodeNetwork`."""
        return bin_logits(features, codes, level)


@dataclass
class ShownPixels:
    """What an exact causal network was given: values and positions (b, n + 1) by slot."""

    values: Tensor
    positions: Tensor


class ExactCausal(CausalNetwork[ShownPixels]):
    """As `ExactMasked`, for what stands in the first slots of a cache."""

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.mixture = mixture
        self.anchor = nn.Parameter(torch.zeros(()), requires_grad=False)

    def start(self, batch: int, n: int, condition: Condition | None, hints: Tensor | None = None) -> ShownPixels:
        """Return an empty cache; see `CausalNetwork`. Neither conditions nor hints matter."""
        del condition, hints
        return ShownPixels(torch.zeros(batch, n + 1), torch.zeros(batch, n + 1, dtype=torch.long))

    def extend(self, cache: ShownPixels, vectors: Tensor, positions: Tensor, slots: Tensor) -> None:
        """Write content to slots; see `CausalNetwork`."""
        cache.values.scatter_(1, slots, vectors[..., 0])
        cache.positions.scatter_(1, slots, positions)

    def select(self, cache: ShownPixels, rows: Tensor) -> None:
        """Put items of the cache in the place of others; see `CausalNetwork`."""
        cache.values, cache.positions = cache.values[rows], cache.positions[rows]

    def forward(self, cache: ShownPixels, targets: Tensor, length: Tensor) -> Tensor:
        """Return (b, m, 3 k); see `CausalNetwork`."""
        n = cache.values.shape[1] - 1
        # Slots that are not seen point at position n, which is cut off.
        at = torch.where(torch.arange(n + 1) < length[:, None], cache.positions, n)
        shown = torch.zeros_like(at, dtype=torch.bool).scatter(1, at, True)[:, :n]
        own = laws(self.mixture, torch.zeros_like(cache.values).scatter(1, at, cache.values)[:, :n], shown)
        return own.gather(1, targets[..., None].expand(-1, -1, own.shape[-1]))

    def train_states(
        self,
        vectors: Tensor,
        order: Tensor,
        condition: Condition | None,
        hints: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        """Return the features (b, m, 3 k) of the positions at `slots` of the order; see `CausalNetwork`."""
        every = torch.arange(order.shape[1]).expand_as(order)
        cache = self.start(len(order), order.shape[1], condition, hints)
        self.extend(cache, vectors, order, every)
        slots = every if slots is None else slots
        targets = order.gather(1, slots)
        return torch.cat([self(cache, targets[:, i : i + 1], slots[:, i]) for i in range(slots.shape[1])], 1)

    def logits(self, features: Tensor, codes: Tensor, level: int) -> Tensor:
        """Return the log-probabilities (..., vocab) of a level; see `CodeNetwork`."""
        return bin_logits(features, codes, level)


def masked_model(mixture: Mixture) -> MaskedTokenModel:
    """Return the perfect bidirectional model of a mixture, in eval mode."""
    return without_prior(MaskedTokenModel(ExactMasked(mixture), BinTokenizer(), axes=mixture.axes)).eval()


def causal_model(mixture: Mixture) -> TokenModel:
    """Return the perfect causal model of a mixture, in any order, in eval mode."""
    return without_prior(TokenModel(ExactCausal(mixture), BinTokenizer(), axes=mixture.axes)).eval()
