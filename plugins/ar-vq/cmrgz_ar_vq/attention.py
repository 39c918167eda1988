"""Attention layers with two-dimensional rotary positions and a static cache.

x-transformers supplies the feed-forward. Its attention cannot prefill a part of the positions, write to chosen
slots or ask several targets at once, and grows its cache by copying; this one keeps keys and values in place.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from x_transformers.x_transformers import FeedForward

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine (b, 1, m, head_dim / 2) of the rotary angles."""


class GridRotary(nn.Module):
    """Rotary angles of grid positions: half of a head turns with the row, half with the column (Su et al. 2021)."""

    def __init__(self, grid: tuple[int, int], head_dim: int) -> None:
        super().__init__()
        rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
        rate = math.pi / 2 * (1 / 32) ** (torch.arange(head_dim // 4) / (head_dim // 4))
        angle = torch.cat([rows.flatten()[:, None] * rate, columns.flatten()[:, None] * rate], 1)
        angle = torch.cat([angle, torch.zeros(1, head_dim // 2)])  # the last row is the start token: not turned
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, positions: Tensor) -> Rotation:
        """Return the rotation of positions (b, m); the number of positions stands for the start token."""
        return self.get_buffer("cos")[positions][:, None], self.get_buffer("sin")[positions][:, None]


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn queries or keys (b, heads, m, head_dim)."""
    cos, sin = (part.to(x.dtype) for part in rotation)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def visible(seen: Tensor, like: Tensor) -> Tensor:
    """Return what is added to attention scores: 0 where `seen`, else -inf. Made once for all layers."""
    return like.new_zeros(seen.shape).masked_fill_(~seen, -torch.inf)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return (b, heads, m, head_dim) of (b, m, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def normalised(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    """Return `norm(x)` in the precision of its weight; autocast hands over bfloat16, which torch norms slowly."""
    return norm(x.to(norm.weight.dtype))


class Store:
    """Keys and values of one layer, in place: (b, heads, slots, head_dim), slot by slot in memory."""

    def __init__(self, batch: int, heads: int, slots: int, head_dim: int, like: Tensor) -> None:
        self._rows = [like.new_zeros(batch * slots, heads * head_dim) for _ in range(2)]
        shape = (batch, slots, heads, head_dim)
        self.keys, self.values = (rows.view(shape).transpose(1, 2) for rows in self._rows)

    def write(self, keys: Tensor, values: Tensor, rows: Tensor) -> None:
        """Write keys and values (b, heads, m, head_dim) to rows (b * m,): item * slots + slot."""
        for kept, new in zip(self._rows, (keys, values), strict=True):
            kept.index_copy_(0, rows, new.transpose(1, 2).flatten(2).flatten(0, 1).to(kept.dtype))


class Attention(nn.Module):
    """Multi-head attention of targets to content; queries and keys are normalised."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)

    def keys_values(self, content: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor]:
        """Return keys and values (b, heads, m, head_dim) of content (b, m, d)."""
        keys, values = (split_heads(part, self.heads) for part in self.key_value(content).chunk(2, -1))
        return rotate(normalised(self.key_norm, keys), rotation), values

    def forward(self, x: Tensor, rotation: Rotation, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """Return (b, m, d) of x attending to keys; `bias` (b, 1, m, slots) is added to scores, None is causal."""
        queries = rotate(normalised(self.query_norm, split_heads(self.query(x), self.heads)), rotation)
        y = F.scaled_dot_product_attention(queries, keys, values.to(keys.dtype), attn_mask=bias, is_causal=bias is None)
        return self.out(y.transpose(1, 2).flatten(2))


def feed_forward(width: int, inner: int) -> nn.Module:
    """Return a gated feed-forward network (SwiGLU)."""
    return FeedForward(width, mult=(inner + 0.5) / width, glu=True, swish=True, no_bias=True)  # it rounds down


class ContentLayer(nn.Module):
    """Causal self-attention over the content, and a feed-forward network."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.RMSNorm(width), Attention(width, heads)
        self.ff_norm, self.ff = nn.RMSNorm(width), feed_forward(width, inner)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """Return (b, n, d): each slot sees those up to itself."""
        normal = self.norm(x)
        x = x + self.attention(normal, rotation, *self.attention.keys_values(normal, rotation), None)
        return x + self.ff(self.ff_norm(x))

    def extend(self, x: Tensor, rotation: Rotation, store: Store, rows: Tensor, bias: Tensor) -> Tensor:
        """As `forward` for new slots, whose keys and values go into the `rows` of the store."""
        normal = self.norm(x)
        store.write(*self.attention.keys_values(normal, rotation), rows)
        x = x + self.attention(normal, rotation, store.keys, store.values, bias)
        return x + self.ff(self.ff_norm(x))


class TargetLayer(nn.Module):
    """Attention of targets to the finished content, and a feed-forward network; targets do not see each other."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm, self.content_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attention = Attention(width, heads)
        self.ff_norm, self.ff = nn.RMSNorm(width), feed_forward(width, inner)

    def keys_values(self, content: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor]:
        """Return the keys and values of finished content (b, m, d)."""
        return self.attention.keys_values(self.content_norm(content), rotation)

    def forward(self, x: Tensor, rotation: Rotation, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """Return (b, m, d); see `Attention`."""
        x = x + self.attention(self.norm(x), rotation, keys, values, bias)
        return x + self.ff(self.ff_norm(x))
