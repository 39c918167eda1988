"""Layers that token networks are made of: whitened input, attention with two-dimensional rotary positions."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from x_transformers.x_transformers import FeedForward

from cmrgz.frames import Rotation as Rotation
from cmrgz.frames import rotate as rotate
from cmrgz.frames import rotation_by

HINT_SHARES = 4
"""Numbers of a hint beside its vector: known shares around the position."""
"""Cosine and sine (b, 1, m, head_dim / 2) of the rotary angles."""


class Whitening(nn.Module):
    """A fixed linear map that gives the components of patches about equal size, from training statistics."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("matrix", torch.eye(channels))

    def fit(self, vectors: Tensor) -> None:
        """Set mean and matrix from vectors (n, c); small components are raised, but not to full size."""
        mean = vectors.mean(0)
        # In double precision: in float32 the smallest components drown in the rounding of the largest.
        variance, basis = torch.linalg.eigh(torch.cov((vectors - mean).T.double()))
        scale = (variance + 0.01 * variance.mean()).rsqrt()
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("matrix").copy_(basis * scale)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return whitened vectors (..., c)."""
        return (vectors - self.get_buffer("mean")) @ self.get_buffer("matrix")


class GridRotary(nn.Module):
    """Rotary angles of grid positions: half of a head turns with the row, half with the column (Su et al. 2021)."""

    def __init__(self, grid: tuple[int, int], head_dim: int) -> None:
        super().__init__()
        rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
        rate = math.pi / 2 * (1 / 32) ** (torch.arange(head_dim // 4) / (head_dim // 4))
        angle = torch.cat([rows.flatten()[:, None] * rate, columns.flatten()[:, None] * rate], 1)
        angle = torch.cat([angle, torch.zeros(1, head_dim // 2)])  # the last row is the start token: not turned
        cos, sin = rotation_by(angle)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, positions: Tensor) -> Rotation:
        """Return the rotation of positions (b, m); the number of positions stands for the start token."""
        return self.get_buffer("cos")[positions][:, None], self.get_buffer("sin")[positions][:, None]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return (b, heads, m, head_dim) of (b, m, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def normalised(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    """Return `norm(x)` in the precision of its weight; autocast hands over bfloat16, which torch norms slowly."""
    return norm(x.to(norm.weight.dtype))


class Attention(nn.Module):
    """Multi-head attention of targets to content; queries and keys are normalised (Henry et al. 2020)."""

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

    def forward(
        self, x: Tensor, rotation: Rotation, keys: Tensor, values: Tensor, bias: Tensor | None, causal: bool = False
    ) -> Tensor:
        """Return (b, m, d) of x attending to keys; `bias` (b, 1, m, slots) is added to the scores."""
        queries = rotate(normalised(self.query_norm, split_heads(self.query(x), self.heads)), rotation)
        y = F.scaled_dot_product_attention(queries, keys, values.to(keys.dtype), attn_mask=bias, is_causal=causal)
        return self.out(y.transpose(1, 2).flatten(2))


def feed_forward(width: int, inner: int) -> nn.Module:
    """Return a gated feed-forward network (SwiGLU)."""
    return FeedForward(width, mult=(inner + 0.5) / width, glu=True, swish=True, no_bias=True)  # it rounds down
