"""The segmenter's network: a U-Net of half a million weights.

Ronneberger et al. 2015, arXiv:1505.04597, with group normalisation instead of batch normalisation: what a frame gives
does not depend on others.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (12, 24, 48, 64, 96)
"""Channels at 1, 1/2, 1/4, 1/8 and 1/16 of the resolution."""
CLASSES = 4
GROUPS = 4


class Block(nn.Sequential):
    """Two convolutions of 3 x 3; the first at full resolution alone."""

    def __init__(self, inputs: int, outputs: int, convolutions: int = 2) -> None:
        layers: list[nn.Module] = []
        for i in range(convolutions):
            layers += [
                nn.Conv2d(inputs if i == 0 else outputs, outputs, 3, padding=1, bias=False),
                nn.GroupNorm(GROUPS, outputs),
                nn.SiLU(),
            ]
        super().__init__(*layers)


class SegmentationUNet(nn.Module):
    """Frames -> logits of background, right ventricle, myocardium and left ventricle.

    Each frame is standardised first, so that gain and offset do not matter.
    """

    def __init__(self) -> None:
        super().__init__()
        inputs = (1, *WIDTHS[:-1])
        depths = [1, 2, 2, 2, 2]
        self.down = nn.ModuleList(Block(i, o, n) for i, o, n in zip(inputs, WIDTHS, depths, strict=True))
        ups = list(zip(WIDTHS[:-1], WIDTHS[1:], depths, strict=False))
        self.up = nn.ModuleList(Block(skip + below, skip, n) for skip, below, n in ups)
        self.head = nn.Conv2d(WIDTHS[0], CLASSES, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster by half on a CPU

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, 4, h, w) of frames (n, 1, h, w) of any scale; h and w are multiples of 16."""
        skips = self.encode(x)
        y = skips.pop()
        for block in reversed(self.up):
            skip = skips.pop()
            y = block(torch.cat([skip, F.interpolate(y, scale_factor=2.0)], 1))
        return cast(Tensor, self.head(y))

    def features(self, x: Tensor) -> Tensor:
        """Return (n, 96): the coarsest maps of frames (n, 1, h, w), averaged over the frame."""
        return self.encode(x)[-1].mean((2, 3))

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the maps of all resolutions, the finest first."""
        y = standardised(x)
        maps: list[Tensor] = []
        for block in self.down:
            y = block(F.avg_pool2d(maps[-1], 2) if maps else y)
            maps.append(y)
        return maps


def standardised(x: Tensor) -> Tensor:
    """Return frames (n, 1, h, w) with mean 0 and standard deviation 1; 0 where a frame is constant."""
    centred = x - x.mean((2, 3), keepdim=True)
    return centred / centred.square().mean((2, 3), keepdim=True).sqrt().clamp(min=1e-3)
