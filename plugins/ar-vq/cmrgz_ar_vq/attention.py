"""Attention layers with a static cache.

x-transformers' attention cannot prefill a part of the positions, write to chosen slots or ask several targets at once,
and grows its cache by copying; this one keeps keys and values in place.
"""

import torch
from torch import Tensor, nn

from cmrgz.tokens.layers import Attention, Rotation, feed_forward


def visible(seen: Tensor, like: Tensor) -> Tensor:
    """Return what is added to attention scores: 0 where `seen`, else -inf. Made once for all layers."""
    kind = like.device.type
    # Of the type that attention has under autocast, which would else convert it for each layer.
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype
    return like.new_zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)


ALIGNED = 8
"""Kernels of a GPU that add to the scores take rows of a multiple of so many, and copy others into such first."""
PART = 512
"""Slots that the kernel of the CPU takes at once: to leave out whole parts that nothing sees changes no bit."""


def reach(last: Tensor, slots: int) -> int:
    """Return how many of the slots to look at, where `last` are the last ones that are seen.

    All that a store has on a GPU, which would have to be waited for.
    """
    return min(slots, PART * (int(last.max()) // PART + 1)) if last.device.type == "cpu" else stored(slots)


def stored(slots: int) -> int:
    """Return how many slots a store has that needs so many."""
    return -(-slots // ALIGNED) * ALIGNED


class Store:
    """Keys and values of one layer, in place: (b, heads, slots, head_dim), slot by slot in memory."""

    def __init__(self, batch: int, heads: int, slots: int, head_dim: int, like: Tensor) -> None:
        # A row for each slot, so that new ones are written by one copy; heads and slots change places in a view.
        self._rows = [like.new_zeros(batch * slots, heads * head_dim) for _ in range(2)]
        shape = (batch, slots, heads, head_dim)
        self.keys, self.values = (rows.view(shape).transpose(1, 2) for rows in self._rows)

    def write(self, keys: Tensor, values: Tensor, rows: Tensor) -> None:
        """Write keys and values (b, heads, m, head_dim) to rows (b * m,): item * slots + slot."""
        for kept, new in zip(self._rows, (keys, values), strict=True):
            kept.index_copy_(0, rows, new.transpose(1, 2).flatten(2).flatten(0, 1).to(kept.dtype))

    def first(self, slots: int) -> tuple[Tensor, Tensor]:
        """Return the keys and values of the first slots."""
        return self.keys[:, :, :slots], self.values[:, :, :slots]

    def select(self, items: Tensor) -> None:
        """Put what is held of `items` (b,) in the place of the items."""
        for kept in (self.keys, self.values):
            # In place: a recorded launch knows the memory of the store by its address.
            kept.copy_(kept[items])


class ContentLayer(nn.Module):
    """Causal self-attention over the content, and a feed-forward network."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.RMSNorm(width), Attention(width, heads)
        self.ff_norm, self.ff = nn.RMSNorm(width), feed_forward(width, inner)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """Return (b, n, d): each slot sees those up to itself."""
        normal = self.norm(x)
        x = x + self.attention(normal, rotation, *self.attention.keys_values(normal, rotation), None, causal=True)
        return x + self.ff(self.ff_norm(x))

    def extend(self, x: Tensor, rotation: Rotation, store: Store, rows: Tensor, bias: Tensor) -> Tensor:
        """As `forward` for new slots, whose keys and values go into the `rows` of the store.

        They see as many slots as the bias has.
        """
        normal = self.norm(x)
        store.write(*self.attention.keys_values(normal, rotation), rows)
        x = x + self.attention(normal, rotation, *store.first(bias.shape[-1]), bias)
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
