"""A plain regression inpainter: a U-Net (Ronneberger et al. 2015, arXiv 1505.04597) trained by L1 on hidden pixels.

It is no model of p(x | known). It gives the median of every hidden pixel by itself, which is smooth where the posterior
is wide, and the same for every seed: good PSNR, no variety, and a blur where a draw would have a structure.
"""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.latents import position_pixels, smooth_fill, training_known
from cmrgz.model import Condition, Model, Progress
from cmrgz.options import Range
from cmrgz.rng import Streams

PATCH = 16


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, enter: int, leave: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(enter, leave, 3, padding=1), nn.Conv2d(leave, leave, 3, padding=1)
        self.norm, self.shortcut = nn.GroupNorm(4, leave), nn.Conv2d(enter, leave, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, leave, h, w) of (b, enter, h, w)."""
        return self.shortcut(x) + self.second(F.silu(self.norm(self.first(x))))


class UNet(nn.Module):
    """From channels (b, enter, h, w) to one, over `depth` halvings; rows and columns may be any number."""

    def __init__(self, enter: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.start = nn.Conv2d(enter, width, 3, padding=1)
        self.down = nn.ModuleList(Block(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.up = nn.ModuleList(Block(b + a, a) for a, b in zip(widths, widths[1:], strict=False))
        self.end = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, 1, h, w)."""
        x, skips = self.start(x), []
        for block in self.down:
            skips.append(x)
            x = block(F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False))
        for block, skip in zip(reversed(self.up), reversed(skips), strict=True):
            x = block(torch.cat([F.interpolate(x, size=skip.shape[2:]), skip], 1))
        return self.end(F.silu(x))


class Regression(Model):
    """The median of every hidden pixel given the known ones."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.network = UNet(2, width, depth)

    def predict(self, x: Tensor, known: Tensor) -> Tensor:
        """Return items (b, 1, h, w): a smooth continuation of the known pixels, corrected by the network."""
        filled = smooth_fill(x, known)
        return filled + self.network(torch.cat([filled, known.to(x.dtype)], 1)).float()

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Return the mean absolute error of hidden pixels, under masks as they are in use."""
        del condition
        positions = training_known((x.shape[2] // PATCH, x.shape[3] // PATCH), rng)
        known = position_pixels(positions, PATCH).to(x.device)
        return (self.predict(x, known) - x).abs()[~known].mean()

    @torch.no_grad()
    def sample(
        self,
        x: Tensor,
        known: Tensor,
        *,
        condition: Condition | None = None,
        rng: Streams,
        progress: Progress | None = None,
    ) -> Tensor:
        """Return the one answer; see `Model.sample`. The streams are not used."""
        del condition, rng
        answer = self.predict(x, known)
        if progress is not None:
            progress(1, 1)
        return answer


def build(
    width: Annotated[int, "channels of the finest level, a multiple of 4", Range(4, 1024)] = 32,
    depth: Annotated[int, "times that rows and columns are halved", Range(1, 6)] = 4,
) -> Regression:
    """Build the model."""
    return Regression(width, depth)
