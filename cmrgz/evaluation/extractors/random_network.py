"""The extractor `random`: a convolutional network whose weights are drawn, always the same, and never trained.

It knows nothing of hearts or of any model's training, so it favours none. What another extractor finds and this one
does not needed learning to see.
"""

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.evaluation.extractors.batched import in_batches
from cmrgz.sending import device_of

SEED = 20_240_501  # part of what the extractor is: another one is another ruler
WIDTHS = (24, 32, 40, 48)  # channels of each level, of half the resolution of the one before
PARTS = 2  # rows and columns in which the coarsest level is averaged: where things are counts a little
BIAS = 0.1
SLOPE = 0.2  # of the rectifier below 0: with none, a seventh of the channels would never fire


class RandomNetwork(nn.Module):
    """Four levels of 3 x 3 convolution, leaky rectifier and halving, with fixed weights.

    Every other filter sums to 0 and sees contrast alone: without these, noise and blur hide behind brightness.
    Features are the mean and the standard deviation of each channel of each level, and the means of the coarsest level
    in four parts of the image.
    """

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(SEED)
        pairs = zip((1, *WIDTHS[:-1]), WIDTHS, strict=True)
        self.levels = nn.ModuleList([_level(inputs, outputs, rng) for inputs, outputs in pairs])
        self.requires_grad_(False).eval()

    @property
    def sha256(self) -> str:
        """The hash of the weights."""
        return hashlib.sha256(b"".join(p.cpu().numpy().tobytes() for p in self.parameters())).hexdigest()

    def forward(self, x: Tensor) -> Tensor:
        """Return features (n, 480) of images (n, 1, h, w) in [-1, 1]."""
        found = []
        for level in self.levels:
            maps = F.leaky_relu(level(x), SLOPE)
            flat = maps.flatten(2)
            found += [flat.mean(2), flat.std(2, unbiased=False)]
            x = F.avg_pool2d(maps, 2)
        found.append(F.adaptive_avg_pool2d(maps, PARTS).flatten(1))
        return torch.cat(found, 1)

    def features(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return features of images (n, h, w) in [0, 1]; bits do not depend on the others."""
        return in_batches(lambda x: self(x * 2 - 1), images, device_of(self))


def _level(inputs: int, outputs: int, rng: np.random.Generator) -> nn.Conv2d:
    with torch.random.fork_rng(devices=[]):  # the layer draws weights that are thrown away
        level = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")
    spread = np.sqrt(2 / (9 * inputs))  # keeps the size of activations from level to level (He et al. 2015)
    weight = rng.normal(0, spread, level.weight.shape)
    weight[::2] -= weight[::2].mean((2, 3), keepdims=True)
    level.weight.data = _rounded(weight)
    level.bias = nn.Parameter(_rounded(rng.normal(0, BIAS, outputs)))
    return level


def _rounded(values: NDArray[Any]) -> Tensor:
    """Return float32 of half precision, so that processors that differ in the last bit agree on the weights."""
    return torch.from_numpy(values.astype(np.float16).astype(np.float32))
