"""Layers of the scale transformer: attention within blocks and to earlier ones, and squares of cells as tokens."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.tokens.head import DepthHead
from cmrgz.tokens.layers import Attention, Rotation, feed_forward, normalised, rotate, split_heads


class Seen(NamedTuple):
    """Keys and values (b, heads, tokens, head_dim) of one layer, of all blocks so far."""

    keys: Tensor
    values: Tensor


class BlockLayer(nn.Module):
    """Attention of each block of tokens to itself and to the blocks before it, and a feed-forward network."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.attention = nn.RMSNorm(width), Attention(width, heads)
        self.ff_norm, self.ff = nn.RMSNorm(width), feed_forward(width, inner)

    def forward(self, x: Tensor, rotation: Rotation, bias: Tensor) -> Tensor:
        """Return tokens (b, n, width) of all blocks; `bias` (n, n) is added to scores: 0 where seen, else -inf."""
        normal = normalised(self.norm, x)
        keys, values = self.attention.keys_values(normal, rotation)
        own = rotate(
            normalised(self.attention.query_norm, split_heads(self.attention.query(normal), self.heads)), rotation
        )
        scores = own @ keys.transpose(-1, -2) * own.shape[-1] ** -0.5
        y = (scores + bias).softmax(-1).to(values.dtype) @ values  # torch's own is four times slower to train in bf16
        return self._feed(x + self.attention.out(y.transpose(1, 2).flatten(2)))

    def extend(self, x: Tensor, rotation: Rotation, seen: Seen | None) -> tuple[Tensor, Seen]:
        """Return tokens (b, m, width) of the next block, and what the layer has seen with it."""
        normal = normalised(self.norm, x)
        new = Seen(*self.attention.keys_values(normal, rotation))
        if seen is not None:
            new = Seen(torch.cat([seen.keys, new.keys], 2), torch.cat([seen.values, new.values], 2))
        # No bias: all that is in the cache lies before, and cells of a scale see each other.
        return self._feed(x + self.attention(normal, rotation, *new, None)), new

    def _feed(self, x: Tensor) -> Tensor:
        return x + self.ff(normalised(self.ff_norm, x))


class Squares(nn.Module):
    """Cells of a grid as tokens of edge x edge of them."""

    def __init__(self, grid: tuple[int, int], edge: int, inputs: int, local: int, width: int) -> None:
        super().__init__()
        self.grid, self.edge = grid, edge
        self.enter, self.fold = nn.Linear(inputs, local), nn.Linear(local * edge**2, width)

    @property
    def tokens(self) -> int:
        """Their number."""
        return self.grid[0] * self.grid[1] // self.edge**2

    def join(self, own: Tensor) -> Tensor:
        """Return tokens (b, n / edge**2, width) of embedded cells (b, n, local)."""
        picture = F.silu(own).transpose(1, 2).unflatten(2, self.grid)
        return self.fold(F.pixel_unshuffle(picture, self.edge).flatten(2).transpose(1, 2))


class DrawnSquares(Squares):
    """Cells of a scale as tokens, and the features of each cell from those of its token.

    All cells of a scale are drawn at once, so nothing is lost when the transformer sees several as one token: it costs
    as much less. What is single about a cell goes around it.
    """

    def __init__(self, grid: tuple[int, int], edge: int, inputs: int, local: int, width: int) -> None:
        super().__init__(grid, edge, inputs, local, width)
        self.unfold, self.norm, self.leave = (
            nn.Linear(width, local * edge**2),
            nn.RMSNorm(local),
            nn.Linear(local, width),
        )

    def part(self, x: Tensor, own: Tensor) -> Tensor:
        """Return features (b, n, width) of the cells, given tokens (b, n / edge**2, width) and embedded cells."""
        coarse = (self.grid[0] // self.edge, self.grid[1] // self.edge)
        picture = self.unfold(x).transpose(1, 2).unflatten(2, coarse)
        cells = F.pixel_shuffle(picture, self.edge).flatten(2).transpose(1, 2)
        return self.leave(normalised(self.norm, F.silu(own + cells)))


class ScaleHead(DepthHead):
    """A depth head of one scale, whose description of the codes is looked up in the tokenizer and not stored."""

    def __init__(self, width: int, inner: int, features: Tensor, free: int) -> None:
        """Describe the codes by `features` (levels, vocab, channels)."""
        levels, vocab, channels = features.shape
        super().__init__(width, inner, channels, levels, vocab, free)
        # Copies of the codebooks were a fifth of the weights.
        self.register_buffer("fixed", self.get_buffer("fixed"), persistent=False)
        self.describe_by(features)
