"""The network of `ldm-uvit`: a plain transformer with long skips, told the noise level by a token of its own."""

from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn

from cmrgz.diffusion.layers import Attention, FeedForward, Lines, grid_positions, to_maps, to_tokens
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.diffusion.network import DenoisingNetwork, LevelEmbedding, input_channels
from cmrgz.diffusion.options import Axes, DiffusionObjective, KnownShare, MinSnr, NoiseSchedule
from cmrgz.frames import FrameAttention
from cmrgz.latents import framewise
from cmrgz.model import Condition, Tokenizer
from cmrgz_ldm_uvit import SPEC


class Size(NamedTuple):
    """Blocks on each side of the middle one, width and attention heads."""

    side: int
    width: int
    heads: int


# S as published: twelve blocks of 512 features and the middle one.
SIZES = {"tiny": Size(1, 32, 2), "reference": Size(3, 192, 6), "S": Size(6, 512, 8), "B": Size(6, 768, 12)}


class Block(nn.Module):
    """A pre-norm transformer block; on the way up it first joins the output of its counterpart on the way down."""

    def __init__(self, size: Size, joins: bool) -> None:
        super().__init__()
        self.join = nn.Linear(2 * size.width, size.width) if joins else None
        self.norms = nn.ModuleList([nn.LayerNorm(size.width) for _ in range(2)])
        self.attention, self.feed = Attention(size.width, size.heads), FeedForward(size.width)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Return tokens (b, n, d)."""
        if self.join is not None and skip is not None:
            x = self.join(torch.cat([x, skip], -1))
        x = x + self.attention(self.norms[0](x))
        return x + self.feed(self.norms[1](x))


class UViT(DenoisingNetwork):
    """Patches of the latent grid and one token for level and conditions; a convolution smooths what leaves.

    In blocks every frame has a token of its own for level and conditions, and every second layer in the plane is
    followed by one along the frames.
    """

    def __init__(self, channels: int, size: Size, patch: int, axes: str = "yx") -> None:
        super().__init__()
        self.multiple = self.patch = patch
        self.width = size.width
        self.enter = nn.Linear(input_channels(channels, axes != "yx") * patch**2, size.width)
        self.embed = LevelEmbedding(SPEC.conditions, size.width)
        self.down = nn.ModuleList([Block(size, joins=False) for _ in range(size.side)])
        self.middle = Block(size, joins=False)
        self.up = nn.ModuleList([Block(size, joins=True) for _ in range(size.side)])
        # Of the 2 side + 1 blocks so many have an odd number.
        along = size.side if axes != "yx" else 0
        self.along = nn.ModuleList([FrameAttention(size.width, size.heads) for _ in range(along)])
        self.norm, self.leave = nn.LayerNorm(size.width), nn.Linear(size.width, channels * patch**2)
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)
        if axes != "yx":  # what is left over is nothing at first
            for parameter in self.smooth.parameters():
                nn.init.zeros_(parameter)

    def forward(self, inputs: Tensor, time: Tensor, condition: Condition | None) -> Tensor:
        """Return the prediction; see `DenoisingNetwork`."""
        lines = Lines.of(inputs, condition)
        level = self.embed(time, condition, lines.shape).flatten(0, -2)
        return framewise(lambda frames: self._predict(frames, level, lines), inputs)

    def _predict(self, inputs: Tensor, level: Tensor, lines: Lines) -> Tensor:
        """Return the prediction (n, c, h, w) for frames, given their levels and conditions (n, d)."""
        rows, columns = inputs.shape[2] // self.patch, inputs.shape[3] // self.patch
        x = self.enter(to_tokens(inputs, self.patch))
        x = x + grid_positions(rows, columns, self.width, x)
        # All inputs are tokens (Bao et al. 2023), so that blocks need no modulation.
        x = torch.cat([level[:, None], x], 1)
        skips: list[Tensor] = []
        for i, block in enumerate([*self.down, self.middle, *self.up]):
            x = block(x, skips.pop() if i > len(self.down) else None)
            if i % 2 and self.along:
                x = lines.attend(self.along[i // 2], x)
            if i < len(self.down):
                skips.append(x)
        return self.smooth(to_maps(self.leave(self.norm(x[:, 1:])), self.patch, rows, columns))


def build(
    tokenizer: Tokenizer,
    size: Annotated[Literal["tiny", "reference", "S", "B"], "depth and width of the network"] = "reference",
    patch: Annotated[Literal[1, 2, 4], "edge of a token in positions of the latent grid"] = 2,
    objective: DiffusionObjective = "v",
    schedule: NoiseSchedule = "cosine",
    min_snr: MinSnr = 5.0,
    known_share: KnownShare = 0.5,
    axes: Axes = "yx",
) -> LatentDiffusion:
    """Build the model on a tokenizer with standardised vectors."""
    network = UViT(tokenizer.channels, SIZES[size], patch, axes)
    return LatentDiffusion(network, tokenizer, objective, schedule, 1.0, min_snr, known_share, axes)
