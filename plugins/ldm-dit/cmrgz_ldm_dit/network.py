"""The network of `ldm-dit` and `flow-dit`: a diffusion transformer for latents of any shape."""

from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.diffusion.layers import Attention, FeedForward, Lines, grid_positions, to_maps, to_tokens
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.diffusion.network import DenoisingNetwork, LevelEmbedding, input_channels
from cmrgz.diffusion.options import Axes, DiffusionObjective, KnownShare, MinSnr, NoiseSchedule, Shift
from cmrgz.frames import FrameAttention
from cmrgz.latents import framewise
from cmrgz.model import Condition, Tokenizer
from cmrgz_ldm_dit import CONDITIONS


class Size(NamedTuple):
    """Depth, width and attention heads."""

    depth: int
    width: int
    heads: int


# S and B as published.
SIZES = {"tiny": Size(2, 32, 2), "reference": Size(7, 192, 6), "S": Size(12, 384, 6), "B": Size(12, 768, 12)}
PATCH = Annotated[Literal[1, 2, 4], "edge of a token in positions of the latent grid"]
SIZE = Annotated[Literal["tiny", "reference", "S", "B"], "depth and width of the network"]


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return x (b, n, d) scaled and shifted by (b, d)."""
    return x * (1 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    """Attention and feed-forward, each modulated and gated by the noise level; the gates start at zero.

    adaLN-Zero (Peebles and Xie 2023) with one modulation for all blocks and a learned offset for each (adaLN-single,
    Chen et al. 2024), which saves a third of the parameters.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(6, size.width))
        self.norms = nn.ModuleList([nn.LayerNorm(size.width, elementwise_affine=False) for _ in range(2)])
        self.attention, self.feed = Attention(size.width, size.heads), FeedForward(size.width)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Return tokens (b, n, d), given the shared modulation `told` (b, 6, d)."""
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (told + self.offset).unbind(1)
        x = x + gate_a[:, None] * self.attention(modulate(self.norms[0](x), shift_a, scale_a))
        return x + gate_f[:, None] * self.feed(modulate(self.norms[1](x), shift_f, scale_f))


class DiT(DenoisingNetwork):
    """A transformer over patches of the latent grid; positions are fixed waves, so any grid fits that patches tile.

    In blocks every second layer in the plane is followed by one along the frames, and each frame is modulated by its
    own conditions.
    """

    def __init__(self, channels: int, size: Size, patch: int, axes: str = "yx") -> None:
        super().__init__()
        self.multiple = self.patch = patch
        self.width = size.width
        self.enter = nn.Linear(input_channels(channels, axes != "yx") * patch**2, size.width)
        self.embed = LevelEmbedding(CONDITIONS, size.width)
        self.modulation = nn.Linear(size.width, 6 * size.width)
        self.blocks = nn.ModuleList([Block(size) for _ in range(size.depth)])
        along = size.depth // 2 if axes != "yx" else 0
        self.along = nn.ModuleList([FrameAttention(size.width, size.heads) for _ in range(along)])
        self.norm = nn.LayerNorm(size.width, elementwise_affine=False)
        self.last_modulation = nn.Linear(size.width, 2 * size.width)
        self.leave = nn.Linear(size.width, channels * patch**2)
        # At first blocks are the identity and the prediction is 0 (adaLN-Zero).
        for layer in (self.modulation, self.last_modulation, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, inputs: Tensor, time: Tensor, condition: Condition | None) -> Tensor:
        """Return the prediction; see `DenoisingNetwork`."""
        lines = Lines.of(inputs, condition)
        # Of each frame, since conditions differ from frame to frame.
        level = F.silu(self.embed(time, condition, lines.shape)).flatten(0, -2)
        return framewise(lambda frames: self._predict(frames, level, lines), inputs)

    def _predict(self, inputs: Tensor, level: Tensor, lines: Lines) -> Tensor:
        """Return the prediction (n, c, h, w) for frames, given their levels and conditions (n, d)."""
        rows, columns = inputs.shape[2] // self.patch, inputs.shape[3] // self.patch
        x = self.enter(to_tokens(inputs, self.patch))
        x = x + grid_positions(rows, columns, self.width, x)
        told = self.modulation(level).unflatten(-1, (6, -1))
        for i, block in enumerate(self.blocks):
            x = block(x, told)
            if i % 2 and self.along:
                x = lines.attend(self.along[i // 2], x)
        shift, scale = self.last_modulation(level).chunk(2, -1)
        return to_maps(self.leave(modulate(self.norm(x), shift, scale)), self.patch, rows, columns)


def build_diffusion(
    tokenizer: Tokenizer,
    size: SIZE = "reference",
    patch: PATCH = 2,
    objective: DiffusionObjective = "v",
    schedule: NoiseSchedule = "cosine",
    min_snr: MinSnr = 5.0,
    known_share: KnownShare = 0.5,
    axes: Axes = "yx",
) -> LatentDiffusion:
    """Build `ldm-dit` on a tokenizer with standardised vectors."""
    network = DiT(tokenizer.channels, SIZES[size], patch, axes)
    return LatentDiffusion(network, tokenizer, objective, schedule, 1.0, min_snr, known_share, axes)


def build_flow(
    tokenizer: Tokenizer,
    size: SIZE = "reference",
    patch: PATCH = 2,
    shift: Shift = 1.0,
    known_share: KnownShare = 0.5,
    axes: Axes = "yx",
) -> LatentDiffusion:
    """Build `flow-dit` on a tokenizer with standardised vectors."""
    network = DiT(tokenizer.channels, SIZES[size], patch, axes)
    return LatentDiffusion(network, tokenizer, "flow", shift=shift, known_share=known_share, axes=axes)
