"""Layers that denoisers are made of: patches of latents, 2-D positions, attention, in the plane and along frames."""

import math
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.frames import FrameAttention, Rotation, frame_rotation
from cmrgz.hints import places
from cmrgz.model import Condition
from cmrgz.sending import sent


def to_tokens(x: Tensor, patch: int) -> Tensor:
    """Return tokens (b, n, c * patch**2) of maps (b, c, h, w), row by row."""
    return F.pixel_unshuffle(x, patch).flatten(2).transpose(1, 2)


def to_maps(tokens: Tensor, patch: int, rows: int, columns: int) -> Tensor:
    """Return maps (b, c, rows * patch, columns * patch) of tokens (b, rows * columns, c * patch**2)."""
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), patch)


def _waves(n: int, width: int) -> Tensor:
    """Return sines and cosines (n, width) of the places 0 .. n - 1."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angle = torch.arange(n)[:, None] * rates
    return torch.cat([angle.sin(), angle.cos()], 1)


def grid_positions(rows: int, columns: int, width: int, like: Tensor) -> Tensor:
    """Return fixed 2-D embeddings (rows * columns, width), half for the row and half for the column; any shape."""
    return _positions(rows, columns, width, like.device, like.dtype)


@lru_cache(maxsize=16)
def _positions(rows: int, columns: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # it is kept for training too
        row, column = _waves(rows, width // 2), _waves(columns, width // 2)
        both = torch.cat([row[:, None].expand(-1, columns, -1), column[None].expand(rows, -1, -1)], -1)
        return sent(both.flatten(0, 1), device).to(dtype)


class Attention(nn.Module):
    """Self-attention over all tokens, queries and keys normalised (Henry et al. 2020, arXiv 2010.04245)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.enter, self.leave = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, n, width)."""
        # One product for all three: three small ones cost a launch each.
        q, k, v = self.enter(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.query_norm(q.float()).to(v), self.key_norm(k.float()).to(v)  # in full precision under autocast
        y = F.scaled_dot_product_attention(q, k, v)
        return self.leave(y.transpose(1, 2).flatten(2))


@dataclass(frozen=True)
class Lines:
    """Where the frames of blocks lie, in the order in which `framewise` shows them to a network of frames.

    Attributes:
        shape: Phases and slices (t, z) of a block; () of frames by themselves.
        time: (b, t * z) in cycles; (0,) of frames by themselves.
        height: (b, t * z) in mm; (0,) of frames by themselves.
    """

    shape: tuple[int, ...]
    time: Tensor
    height: Tensor
    _turns: dict[int, Rotation] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, inputs: Tensor, condition: Condition | None) -> "Lines":
        """Return those of inputs (b, c, t, z, h, w), or of frames (b, c, h, w)."""
        if inputs.ndim == 4:
            return cls((), inputs.new_empty(0), inputs.new_empty(0))
        # Of what is told, not by counting: scans differ in the distance of slices, and a block may hold a part of a
        # cycle.
        time, height = places(condition, inputs)
        return cls(tuple(inputs.shape[2:4]), time.flatten(1), height.flatten(1))

    def attend(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Return features (b * t * z, n, width) of n places after a layer along the frames at each of them."""
        assert isinstance(layer, FrameAttention)
        size = layer.head_width
        if size not in self._turns:  # all layers with heads of one width turn alike
            self._turns[size] = frame_rotation(self.time, self.height, size)
        attended: Tensor = layer(x.unflatten(0, self.time.shape), self._turns[size])
        return attended.flatten(0, 1)

    def attend_maps(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Return maps (b * t * z, width, h, w) after a `FrameAttention` at each place."""
        return self.attend(layer, x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
