"""The network of `ar-mar`: an hourglass, convolutions at the positions and a transformer over squares of four."""

from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.conditions import ConditionEmbedding
from cmrgz.diffusion.head import DiffusionHead
from cmrgz.diffusion.layers import Attention, FeedForward, grid_positions, to_maps, to_tokens
from cmrgz.diffusion.options import MinSnr, NoiseSchedule
from cmrgz.features import SHARES
from cmrgz.frames import FrameAttention, frame_rotation
from cmrgz.hints import places
from cmrgz.latents import framewise
from cmrgz.model import Condition, Tokenizer
from cmrgz.options import Axes, OfLoss, Range
from cmrgz.tokens.masked_vectors import MaskedVectorModel, VectorNetwork
from cmrgz_ar_mar import SPEC
from cmrgz_ar_mar.head import MlpDenoiser

HINT_SHARES = 4
"""Channels of the hints of a frame beside those of a vector."""
SQUARE = 2
"""Edge of a token of the transformer, in positions."""


class Size(NamedTuple):
    """Channels at the positions, depth, width and attention heads of the transformer, width and depth of the head."""

    channels: int
    depth: int
    width: int
    heads: int
    head_width: int
    head_blocks: int


# The head of B is that of the published B: 6 blocks of 1024.
SIZES = {
    "tiny": Size(16, 1, 32, 2, 32, 1),
    "reference": Size(96, 4, 192, 6, 192, 3),
    "S": Size(192, 10, 384, 6, 512, 3),
    "B": Size(384, 12, 768, 12, 1024, 6),
}


class ConvBlock(nn.Module):
    """Two convolutions around what is added (He et al. 2016, arXiv 1603.05027: normalise first)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Statistics over all positions leak nothing here, unlike in a tokenizer: what is hidden enters as 0.
        self.norms = nn.ModuleList([nn.GroupNorm(8, channels) for _ in range(2)])
        self.layers = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, channels, h, w)."""
        y = x
        for norm, layer in zip(self.norms, self.layers, strict=True):
            y = layer(F.silu(norm(y)))
        return x + y


class Block(nn.Module):
    """Attention and feed-forward, normalised first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])
        self.attention, self.feed = Attention(width, heads), FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (b, n, width)."""
        x = x + self.attention(self.norms[0](x))
        return x + self.feed(self.norms[1](x))


class Hourglass(VectorNetwork):
    """Convolutions see single positions and their neighbours, a transformer between them sees all, four at a time.

    Every position is a hole or known by itself, but attention over a quarter of as many tokens costs a quarter. The
    frames of a block go through it side by side; after each layer of the transformer, one along the frames.
    """

    multiple = SQUARE

    def __init__(self, channels: int, size: Size, axes: Axes = "yx") -> None:
        super().__init__()
        own, hints = size.channels, channels + HINT_SHARES if axes == "yx" else 2 * channels + SHARES
        self.enter = nn.Conv2d(channels + hints + 1, own, 3, padding=1)
        self.before, self.after = ConvBlock(own), ConvBlock(own)
        self.down, self.up = nn.Linear(SQUARE**2 * own, size.width), nn.Linear(size.width, SQUARE**2 * own)
        self.condition = ConditionEmbedding(SPEC.conditions, size.width)
        self.blocks = nn.ModuleList([Block(size.width, size.heads) for _ in range(size.depth)])
        along = 0 if axes == "yx" else size.depth
        self.head_width = size.width // size.heads
        self.along = nn.ModuleList([FrameAttention(size.width, size.heads) for _ in range(along)])
        self.norm = nn.LayerNorm(size.width)
        self.leave = nn.Sequential(nn.GroupNorm(8, own), nn.SiLU(), nn.Conv2d(own, size.width, 1))

    def forward(self, vectors: Tensor, shown: Tensor, condition: Condition | None, hints: Tensor) -> Tensor:
        """Return features (b, width, *grid); see `VectorNetwork`."""
        told = torch.cat([vectors, shown.to(vectors), hints], 1)
        if told.ndim == 4:
            return self._frames(told, self.condition(condition, len(told)), None)
        time, height = (place.flatten(1) for place in places(condition, told))
        own = self.condition(condition, len(told), (told.shape[2], told.shape[3])).flatten(0, 2)
        return framewise(lambda frames: self._frames(frames, own, (time, height)), told)

    def _frames(self, told: Tensor, condition: Tensor, along: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return features (n, width, h, w) of frames, `along` times and heights (b, f) if they are those of blocks."""
        rows, columns = told.shape[2] // SQUARE, told.shape[3] // SQUARE
        x = self.before(self.enter(told))
        tokens = self.down(to_tokens(x, SQUARE)) + condition[:, None]
        # Waves that are computed and not learned: any grid that the squares tile will do.
        tokens = tokens + grid_positions(rows, columns, tokens.shape[-1], tokens)
        turns = None if along is None else frame_rotation(*along, self.head_width)
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if along is not None:
                tokens = self.along[number](tokens.unflatten(0, along[0].shape), turns).flatten(0, 1)
        # What is single about a position goes past the transformer, which sees squares of four.
        x = x + to_maps(self.up(self.norm(tokens)), SQUARE, rows, columns)
        return self.leave(self.after(x))


def build(
    tokenizer: Tokenizer,
    size: Annotated[Literal["tiny", "reference", "S", "B"], "depth and width of network and head"] = "reference",
    objective: Annotated[Literal["v", "eps", "x0", "flow"], "what the head predicts"] = "flow",
    schedule: NoiseSchedule = "cosine",
    min_snr: MinSnr = 5.0,
    draws: Annotated[int, "noise levels at which the loss looks at each vector", Range(1, 64), OfLoss] = 4,
    asked: Annotated[
        float, "share of the positions the loss looks at, hidden ones first", Range(0.01, 1), OfLoss
    ] = 0.5,
    axes: Axes = "yx",
) -> MaskedVectorModel:
    """Build the model on a tokenizer with standardised vectors."""
    chosen = SIZES[size]
    denoiser = MlpDenoiser(tokenizer.channels, chosen.width, chosen.head_width, chosen.head_blocks)
    head = DiffusionHead(denoiser, objective, schedule, min_snr, draws)
    return MaskedVectorModel(Hourglass(tokenizer.channels, chosen, axes), head, tokenizer, asked, axes)
