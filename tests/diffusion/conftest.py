"""A small denoiser whose weights all matter, on patches of 4 x 4 pixels."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.diffusion.network import DenoisingNetwork, LevelEmbedding, input_channels
from cmrgz.latents import patches, unpatch
from cmrgz.model import Condition, Tokenizer
from cmrgz.rng import Streams

Built = Callable[..., LatentDiffusion]


class PatchTokenizer(Tokenizer):
    """Patches as they are."""

    patch, channels = 4, 16

    def encode(self, x: Tensor) -> Tensor:
        return patches(x, 4)

    def decode(self, vectors: Tensor) -> Tensor:
        return unpatch(vectors, 4)

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        return x.new_zeros(())


class SmallNetwork(DenoisingNetwork):
    """Three convolutions, the level and the condition `phase` added between."""

    multiple = 2

    def __init__(self) -> None:
        super().__init__()
        self.embed = LevelEmbedding(("phase",), 24)
        self.enter = nn.Conv2d(input_channels(16), 24, 3, padding=1)
        self.middle, self.leave = nn.Conv2d(24, 24, 5, padding=2), nn.Conv2d(24, 16, 3, padding=1)

    def forward(self, inputs: Tensor, time: Tensor, condition: Condition | None) -> Tensor:
        h = self.enter(inputs) + self.embed(time, condition)[..., None, None]
        return self.leave(torch.tanh(self.middle(torch.tanh(h))))


@pytest.fixture(scope="session")
def built() -> Built:
    """Return `built(objective, **options)` -> a small model in eval mode."""

    def build(objective: Any = "v", **options: Any) -> LatentDiffusion:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return LatentDiffusion(SmallNetwork(), PatchTokenizer(), objective, **options).eval()

    return build


def streams(n: int, seed: int = 0) -> Streams:
    return Streams(seed, [("item", i) for i in range(n)])
