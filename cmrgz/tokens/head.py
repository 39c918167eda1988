"""The depth head: the residual codes of a position, one after another."""

import torch
from torch import Tensor, nn

from cmrgz.tokens.layers import feed_forward


class DepthHead(nn.Module):
    """Logits of each level given the features of a position and the codes of the levels before.

    A code is described by its vector, its squared length and a few free numbers; a logit is linear in that description.
    Logits linear in vector and squared length are a Gaussian over the codebook, so similar codes share what is learnt.
    """

    def __init__(self, width: int, inner: int, channels: int, levels: int, vocab: int, free: int) -> None:
        super().__init__()
        size = channels + 1 + free
        self.register_buffer("fixed", torch.zeros(levels, vocab, channels + 1))
        self.free = nn.Parameter(torch.randn(levels, vocab, free) * 0.02)
        self.bias = nn.Parameter(torch.zeros(levels, vocab))
        # Levels in the head and not in the sequence: a transformer over 1024 codes took four times as long as one over
        # 256 positions with four codes each.
        self.enter = nn.ModuleList([nn.Linear(size, width, bias=False) for _ in range(levels - 1)])
        self.level = nn.Parameter(torch.zeros(levels, width))
        self.norm, self.block, self.out_norm = nn.RMSNorm(width), feed_forward(width, inner), nn.RMSNorm(width)
        self.leave = nn.ModuleList([nn.Linear(width, size) for _ in range(levels)])
        for layer in self.leave:
            # Small, so that training starts at the frequencies of the codes, which the bias has.
            nn.init.normal_(layer.get_parameter("weight"), std=0.05 * width**-0.5)

    def fit(self, codes: Tensor, features: Tensor) -> None:
        """Describe the codes by `features` (levels, vocab, c), and start at the frequencies of `codes` (n, levels)."""
        self.describe_by(features)
        for level, bias in enumerate(self.bias.data):
            # One more of each: a code that the sample lacks is rare, not impossible.
            count = torch.bincount(codes[:, level], minlength=len(bias)).float() + 1
            bias.copy_((count / count.sum()).log())

    def describe_by(self, features: Tensor) -> None:
        """Describe the codes by their vectors, `features` (levels, vocab, c), each number at about unit size."""
        length = features.square().sum(-1, keepdim=True)
        raw = torch.cat([features, length], -1)
        spread = torch.cat([features.flatten(1).std(1)[:, None, None].expand(*raw.shape[:1], 1, features.shape[-1]),
                            length.std(1, keepdim=True)], -1)  # fmt: skip
        spread = torch.where(spread > 0, spread, 1.0)  # codes that are all the same differ in nothing
        self.get_buffer("fixed").copy_((raw - raw.mean(1, keepdim=True)) / spread)

    def forward(self, states: Tensor, codes: Tensor, level: int) -> Tensor:
        """Return logits (..., vocab) of `level`, given states (..., d) and codes (..., >= level)."""
        x = states + self.level[level]
        for earlier in range(level):
            # Told by their descriptions, not by embeddings of their own: similar codes then act alike from the start.
            x = x + self.enter[earlier](self.describe(earlier)[codes[..., earlier]])
        x = self.out_norm(x + self.block(self.norm(x)))
        description = self.describe(level)
        return self.leave[level](x) @ description.T.to(x.dtype) + self.bias[level]

    def describe(self, level: int) -> Tensor:
        """Return the description (vocab, size) of the codes of a level."""
        return torch.cat([self.get_buffer("fixed")[level], self.free[level]], -1)


class FrozenHead:
    """A `DepthHead` whose weights do not change: what it computes of the codes alone is computed once."""

    def __init__(self, head: DepthHead) -> None:
        self.head = head
        descriptions = [head.describe(level) for level in range(len(head.leave))]
        self.entering = [
            layer(part) for layer, part in zip(head.enter, descriptions, strict=False)
        ]  # the last enters nothing
        self.leaving = [part.T.contiguous() for part in descriptions]

    def __call__(self, states: Tensor, codes: Tensor, level: int) -> Tensor:
        """Return what the head returns."""
        head, x = self.head, states + self.head.level[level]
        for earlier in range(level):
            x = x + self.entering[earlier][codes[..., earlier]]
        x = head.out_norm(x + head.block(head.norm(x)))
        return head.leave[level](x) @ self.leaving[level].to(x.dtype) + head.bias[level]
