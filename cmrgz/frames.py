"""A layer along the frames of a block: attention among what lies at one place of all of them.

With a layer in the plane before it, a block of 15 frames costs what 15 frames cost and a little more (factorised
attention, Bertasius et al. 2021, arXiv 2102.05095). Places in time and height are coordinates, not numbers of frames:
time on a circle, so that the last phase lies beside the first, and height in mm.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FARTHEST = 160.0
"""Height in mm within which no two slices look alike to a layer."""


def frame_angles(time: Tensor, height: Tensor, pairs: int) -> Tensor:
    """Return rotary angles (..., pairs) of frames at `time` (...), in cycles, and `height` (...), in mm.

    Half of the pairs turn with the time, in whole cycles, the others with the height (Su et al. 2021, arXiv
    2104.09864).
    """
    whole = pairs - pairs // 2
    # Whole cycles alone, so that the last phase and the first are as near as they are in a heart.
    cycles = 2 * math.pi * torch.arange(1, whole + 1, device=time.device)
    # Each wave is half as long as the one before, down to 10 mm, about the distance of slices: shorter ones tell none
    # apart.
    rates = 2 * math.pi / FARTHEST * 2.0 ** torch.arange(pairs // 2, device=time.device).clamp(max=4)
    return torch.cat([time[..., None].float() * cycles, height[..., None].float() * rates], -1)


Rotation = tuple[Tensor, Tensor]
"""Cosines and signed sines (..., 2 * pairs) for `rotate`."""


def rotation_by(angles: Tensor) -> Rotation:
    """Return the rotation by angles (..., pairs): feature i of the first half turns with feature i of the second."""
    cos, sin = angles.cos(), angles.sin()
    # The sign is in the sines, so that `rotate` takes four kernels, not seven: it is called at every layer.
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Return queries or keys (..., 2 * pairs), turned."""
    cos, sin = (part.to(x.dtype) for part in by)
    first, second = x.chunk(2, -1)
    # In place: arrays of this size are mapped anew each time by the allocator, which takes longer than the sums.
    return (x * cos).add_(torch.cat([second, first], -1).mul_(sin))


def frame_rotation(time: Tensor, height: Tensor, head_width: int) -> Rotation:
    """Return what turns queries and keys of frames at `time` (b, f) and `height` (b, f), for all layers alike."""
    return rotation_by(frame_angles(time, height, head_width // 2)[:, None, None])


class FrameAttention(nn.Module):
    """Normalise, attend along the frames at each place, add; starts as the identity.

    Args:
        width: Features; a multiple of twice the heads.
        heads: Of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.norm = nn.RMSNorm(width)
        self.enter, self.leave = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        # Added to a network of frames it changes nothing until it is trained.
        nn.init.zeros_(self.leave.weight)

    def forward(self, x: Tensor, by: Rotation) -> Tensor:
        """Return features (b, f, n, width) of n places of f frames; `by` is their `frame_rotation`."""
        b, f, n, _ = x.shape
        normal = self.norm(x.to(self.norm.weight.dtype)).transpose(1, 2)
        q, k, v = self.enter(normal).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        # Normalised in float32: autocast hands over bfloat16, which torch norms slowly.
        q = rotate(self.query_norm(q.float()).to(v), by)
        k = rotate(self.key_norm(k.float()).to(v), by)
        y = F.scaled_dot_product_attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1))
        return x + self.leave(y.transpose(1, 2).flatten(2)).unflatten(0, (b, n)).transpose(1, 2)
