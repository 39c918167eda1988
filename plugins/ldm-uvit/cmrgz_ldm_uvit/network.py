"""The network of `ldm-uvit`: a plain transformer with long skips, told the noise level by a token of its own."""

from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn

from cmrgz.diffusion.layers import Attention, FeedForward, grid_positions, to_maps, to_tokens
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.diffusion.network import DenoisingNetwork, LevelEmbedding, input_channels
from cmrgz.diffusion.options import DiffusionObjective, KnownShare, MinSnr, NoiseSchedule
from cmrgz.model import Condition, Tokenizer
from cmrgz_ldm_uvit import SPEC


class Size(NamedTuple):
    """Blocks on each side of the middle one, width and attention heads."""

    side: int
    width: int
    heads: int


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
    """Patches of the latent grid and one token for level and conditions; a convolution smooths what leaves."""

    def __init__(self, channels: int, size: Size, patch: int) -> None:
        super().__init__()
        self.multiple = self.patch = patch
        self.width = size.width
        self.enter = nn.Linear(input_channels(channels) * patch**2, size.width)
        self.embed = LevelEmbedding(SPEC.conditions, size.width)
        self.down = nn.ModuleList([Block(size, joins=False) for _ in range(size.side)])
        self.middle = Block(size, joins=False)
        self.up = nn.ModuleList([Block(size, joins=True) for _ in range(size.side)])
        self.norm, self.leave = nn.LayerNorm(size.width), nn.Linear(size.width, channels * patch**2)
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, inputs: Tensor, time: Tensor, condition: Condition | None) -> Tensor:
        """Return the prediction; see `DenoisingNetwork`."""
        rows, columns = inputs.shape[2] // self.patch, inputs.shape[3] // self.patch
        x = self.enter(to_tokens(inputs, self.patch))
        x = x + grid_positions(rows, columns, self.width, x)
        x = torch.cat([self.embed(time, condition)[:, None], x], 1)
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = self.middle(x)
        for block in self.up:
            x = block(x, skips.pop())
        return self.smooth(to_maps(self.leave(self.norm(x[:, 1:])), self.patch, rows, columns))


def build(
    tokenizer: Tokenizer,
    size: Annotated[Literal["tiny", "reference", "S", "B"], "depth and width of the network"] = "reference",
    patch: Annotated[Literal[1, 2, 4], "edge of a token in positions of the latent grid"] = 2,
    objective: DiffusionObjective = "v",
    schedule: NoiseSchedule = "cosine",
    min_snr: MinSnr = 5.0,
    known_share: KnownShare = 0.5,
) -> LatentDiffusion:
    """Build the model on a tokenizer with standardised vectors."""
    network = UViT(tokenizer.channels, SIZES[size], patch)
    return LatentDiffusion(network, tokenizer, objective, schedule, min_snr=min_snr, known_share=known_share)
