"""Crops of frames for training: exact pixels, or turned, scaled and changed in brightness and contrast a little."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cmrgz.data.cines import Cine, Corner, Pair, crop


@dataclass(frozen=True)
class Turn:
    """How the pixels of an item are changed, all its frames alike.

    Attributes:
        angle: Radians.
        zoom: Factor.
        gain: Factor of the brightness, 0 being air.
        gamma: Exponent of the brightness.
    """

    angle: float
    zoom: float
    gain: float
    gamma: float

    def shaded(self, x: Tensor) -> Tensor:
        """Change brightness and contrast of pixels in [-1, 1]."""
        shade = ((x + 1) / 2).clamp(min=0) ** self.gamma
        return (2 * shade * self.gain - 1).clamp(-1, 1)


@dataclass(frozen=True)
class Cut:
    """What an item is cut from, and how.

    Attributes:
        source: Number of the data set, and of the cine in it.
        t: Its phases, in their order in the item.
        z: Its slices.
        corner: (row, column) of its first pixel, whole numbers.
        turn: None where its pixels are exact.
    """

    source: tuple[int, int]
    t: NDArray[np.int64]
    z: NDArray[np.int64]
    corner: Corner
    turn: Turn | None

    def pixels(self, cine: Cine, item: Pair) -> Tensor:
        """Return the item (1, t, z, h, w) of its cine."""
        frames = torch.from_numpy(cine.at(self.t, self.z)).float()
        if self.turn is None:
            return exact_crop(frames, self.corner, item)
        return self.turn.shaded(turned_crop(frames, self.corner, item, self.turn.angle, self.turn.zoom))


def exact_crop(frames: Tensor, corner: tuple[float, float], item: tuple[int, int]) -> Tensor:
    """Return (1, ..., h, w) pixels of frames (..., H, W) as they are, padded with -1 where they are too small."""
    return torch.from_numpy(crop(frames.numpy(), corner, item, -1.0))[None]


def turned_crop(
    frames: Tensor, corner: tuple[float, float], item: tuple[int, int], angle: float, zoom: float
) -> Tensor:
    """Return (1, ..., h, w) of frames (..., H, W), turned by `angle` and scaled by `zoom` about the crop's centre."""
    size = torch.tensor([frames.shape[-1], frames.shape[-2]]).float()
    y, x = (torch.arange(n) - (n - 1) / 2 for n in item)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    middle = [c + (n - 1) / 2 for c, n in zip(corner, item, strict=True)]
    points = torch.stack([cos * columns - sin * rows + middle[1], sin * columns + cos * rows + middle[0]], -1)
    # grid_sample with align_corners=False has -1 and 1 at the outer edges of the pixels: hence the half.
    grid = (points + 0.5) / size * 2 - 1
    planes = frames.reshape(1, -1, *frames.shape[-2:])
    # It pads with zeros, and air is -1: shifted by one, what lies outside is air.
    zero_is_air = F.grid_sample(planes + 1, grid[None], padding_mode="zeros", align_corners=False)
    return zero_is_air.view(1, *frames.shape[:-2], *item) - 1
