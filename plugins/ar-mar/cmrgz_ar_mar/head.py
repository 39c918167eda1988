"""The denoiser of the head: a small residual network for one vector."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.diffusion.head import VectorDenoiser
from cmrgz.diffusion.network import level_waves

FREQUENCIES = 64


class Block(nn.Module):
    """Two linear layers, modulated and gated; the gate starts at zero (Li et al. 2024, sec. 4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Return (..., width), given the modulation (..., 3 * width)."""
        shift, scale, gate = told.chunk(3, -1)
        return x + gate * self.layers(self.norm(x) * (1 + scale) + shift)


class MlpDenoiser(VectorDenoiser):
    """Residual blocks that noise level and features modulate.

    Their modulations are added, so that of the features is worked out once for all levels, and that of the level once
    for all positions: the head costs little more than its blocks.
    """

    def __init__(self, channels: int, features: int, width: int, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Linear(channels, width)
        self.level = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        size = 3 * width * blocks + 2 * width
        self.level_modulation, self.feature_modulation = nn.Linear(width, size), nn.Linear(features, size)
        self.features = nn.Linear(features, width)
        self.blocks = nn.ModuleList([Block(width) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.leave = nn.Linear(width, channels)
        # At first blocks are the identity and the prediction is 0, whatever level and features say.
        for layer in (self.level_modulation, self.feature_modulation, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def prepare(self, features: Tensor) -> Tensor:
        """Return the modulation of features and what is added to the state; see `VectorDenoiser`."""
        active = F.silu(features)
        return torch.cat([self.feature_modulation(active), self.features(active)], -1)

    def forward(self, state: Tensor, time: Tensor, told: Tensor) -> Tensor:
        """Return the prediction (..., c); see `VectorDenoiser`."""
        width = self.leave.in_features
        waves = level_waves(time, FREQUENCIES).to(self.enter.weight)
        modulation, added = told.split([told.shape[-1] - width, width], -1)
        modulation = modulation + self.level_modulation(self.level(waves))
        x = self.enter(state) + added
        *parts, last = modulation.split([3 * width] * len(self.blocks) + [2 * width], -1)
        for block, part in zip(self.blocks, parts, strict=True):
            x = block(x, part)
        shift, scale = last.chunk(2, -1)
        return self.leave(self.norm(x) * (1 + scale) + shift)
