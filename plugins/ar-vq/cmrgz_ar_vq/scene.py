"""What the network of `ar-vq` is told of items beside their vectors: conditions, and where the positions lie."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cmrgz.conditions import ConditionEmbedding
from cmrgz.frames import frame_angles, rotation_by
from cmrgz.model import Condition
from cmrgz.tokens.layers import GridRotary, Rotation


class Scene(NamedTuple):
    """Of b items with f frames, 1 or those of a block, one after another.

    Attributes:
        condition: (b, f, d) embeddings.
        angles: (b, n + 1, pairs) rotary angles of the positions of a block; the last one is of the start token.
    """

    condition: Tensor
    angles: Tensor | None

    def select(self, rows: Tensor) -> "Scene":
        """Return that of items `rows` (b,)."""
        return Scene(self.condition[rows], None if self.angles is None else self.angles[rows])


class Places(nn.Module):
    """Rotary places and conditions of positions, of frames by grid position, of blocks also by time and height.

    Positions of a block are turned by row, column, time (in whole cycles) and height (in mm), each in pairs of its own.

    Args:
        grid: Positions of a frame, rows and columns.
        head_dim: Features of an attention head.
        blocks: Items are blocks, of any phases and slices.
    """

    def __init__(self, grid: tuple[int, int], head_dim: int, blocks: bool) -> None:
        super().__init__()
        self.plane, self.blocks, pairs = grid[0] * grid[1], blocks, head_dim // 2
        self.rotary = None if blocks else GridRotary(grid, head_dim)
        # Three eighths of the pairs, for time and height together; the rest is for rows and columns.
        self.frame_pairs = 2 * max(1, 3 * pairs // 16)
        own = (pairs - self.frame_pairs) // 2
        rate = math.pi / 2 * (1 / 32) ** (torch.arange(own) / max(own, 1))
        rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
        angles = torch.cat([rows.flatten()[:, None] * rate, columns.flatten()[:, None] * rate], 1)
        self.register_buffer("angles", angles if blocks else None, persistent=False)

    def scene(self, embedding: ConditionEmbedding, condition: Condition | None, batch: int) -> Scene:
        """Return what is told of items; of blocks the condition has `time` and `height`, (b, t, z)."""
        if not self.blocks:
            return Scene(embedding(condition, batch)[:, None], None)
        assert condition is not None
        time, height = (condition[name].to(self.get_buffer("angles")) for name in ("time", "height"))
        own = frame_angles(time, height, self.frame_pairs).flatten(1, 2)
        plane = self.get_buffer("angles").expand(batch, own.shape[1], -1, -1)
        angles = torch.cat([plane, own[:, :, None].expand(-1, -1, self.plane, -1)], -1).flatten(1, 2)
        told = embedding(condition, batch, tuple(time.shape[1:])).flatten(1, 2)
        # The start token lies nowhere, so it is not turned.
        return Scene(told, torch.cat([angles, torch.zeros_like(angles[:, :1])], 1))

    def rotation(self, scene: Scene, positions: Tensor) -> Rotation:
        """Return the rotation of positions (b, m); the number of positions stands for the start token."""
        if self.rotary is not None:
            rotation: Rotation = self.rotary(positions)
            return rotation
        assert scene.angles is not None
        angles = scene.angles.gather(1, positions[..., None].expand(-1, -1, scene.angles.shape[-1]))[:, None]
        return rotation_by(angles)

    def told(self, scene: Scene, positions: Tensor) -> Tensor:
        """Return embeddings of the conditions of positions (b, m): (b, m, d), or (b, 1, d) of frames."""
        if not self.blocks:
            return scene.condition
        index = (positions // self.plane)[..., None].expand(-1, -1, scene.condition.shape[-1])
        return scene.condition.gather(1, index)

    def inside(self, positions: Tensor) -> Tensor:
        """Return the places of positions in their frame."""
        return positions % self.plane if self.blocks else positions
