"""What a diffusion plugin supplies: a network that predicts from a noisy state, and how it is told the noise level."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.conditions import ConditionEmbedding
from cmrgz.features import SHARES
from cmrgz.model import Condition


def input_channels(channels: int, blocks: bool = False) -> int:
    """Return the channels of a network's input: state, context and which positions are known.

    The context of a frame is a vector; that of a block is a vector, the logarithm of its scale, and how much is known.
    """
    return 3 * channels + SHARES + 1 if blocks else 2 * channels + 1


class DenoisingNetwork(nn.Module, ABC):
    """Predicts what its objective asks for.

    Attributes:
        multiple: Rows and columns of the latents must be multiples of it.
    """

    multiple: int = 1

    @abstractmethod
    def forward(self, inputs: Tensor, time: Tensor, condition: Condition | None) -> Tensor:
        """Return the prediction, (b, c, h, w) of frames or (b, c, t, z, h, w) of blocks.

        Args:
            inputs: Of frames (b, 2 c + 1, h, w): the noisy state, what is known with its smooth continuation, and
                which positions are known; the last two are 0 where the network is used without a known part. Of
                blocks (b, 3 c + SHARES + 1, t, z, h, w): the noisy state, the vector that it is measured from, the
                logarithm of its scale over that of the data, how much is known near a position, and whether it is
                known; see `cmrgz.hints`. Phases and slices may be any number.
            time: (b,) noise level from 0 (data) to 1000 (noise).
            condition: What is known beside the pixels; of blocks also `time` and `height`, see `cmrgz.model`.
        """


def level_waves(time: Tensor, frequencies: int = 64) -> Tensor:
    """Return sines and cosines (..., 2 * frequencies) of noise levels (...), as of positions in Vaswani et al. 2017."""
    rates = torch.exp(torch.arange(frequencies, device=time.device) * (-math.log(10000) / frequencies))
    # In float32 also under bf16, whose eight bits cannot tell level 900 from 901.
    angle = time[..., None].float() * rates
    return torch.cat([angle.cos(), angle.sin()], -1)


class LevelEmbedding(nn.Module):
    """The embedding of a noise level, sinusoidal as in Vaswani et al. 2017 (arXiv 1706.03762), plus the conditions."""

    def __init__(self, names: tuple[str, ...], width: int, frequencies: int = 64) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.enter, self.leave = nn.Linear(2 * frequencies, width), nn.Linear(width, width)
        self.condition = ConditionEmbedding(names, width)

    def forward(self, time: Tensor, condition: Condition | None, frames: tuple[int, ...] = ()) -> Tensor:
        """Return (b, width) of levels (b,), or (b, t, z, width) with the conditions of the frames (t, z) of blocks."""
        waves = level_waves(time, self.frequencies)
        # The level and the conditions are added, not joined: a condition that is dropped leaves the level as it is.
        level = self.leave(F.silu(self.enter(waves.to(self.enter.weight))))
        return level.view(-1, *[1] * len(frames), level.shape[-1]) + self.condition(condition, len(time), frames)
