"""The network of LPIPS: distances of AlexNet's features, weighted by channel. Zhang et al. 2018, arXiv:1801.03924."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cmrgz import weights
from cmrgz.evaluation.metrics.base import Floats

LAYERS = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
"""Channels out and in and kernel of the convolutions, by their place among AlexNet's features."""
POOLED = (3, 6)  # convolutions that stand behind a pooling
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # mean and deviation of photographs in [-1, 1]
MOST = 64 << 20  # bytes of the largest file that is read
EPSILON = 1e-8  # as in the reference: a pixel without features has no length to divide by


def load(path: Path) -> partial[Floats]:
    """Return a function from samples (k, h, w) and their truth (h, w), both in [0, 1], to distances (k,).

    Raises:
        CheckpointError: The file is missing, damaged, not safetensors, or holds other weights.
    """
    data, layout = weights.read_foreign(path, MOST)
    weights.check_expected(layout, expected(), str(path))
    found = {name: value.float() for name, value in weights.tensors(data, layout, str(path)).items()}
    return partial(distances, found)


def expected() -> dict[str, Tensor]:
    """Return the tensors of the file, without values."""
    with torch.device("meta"):
        found = {f"features.{at}.weight": torch.empty(*shape[:2], *shape[2:] * 2) for at, shape in LAYERS.items()}
        found |= {f"features.{at}.bias": torch.empty(shape[0]) for at, shape in LAYERS.items()}
        found |= {f"lin{i}.model.1.weight": torch.empty(1, s[0], 1, 1) for i, s in enumerate(LAYERS.values())}
    return found


def distances(tensors: Mapping[str, Tensor], samples: NDArray[Any], truth: NDArray[Any]) -> Floats:
    """Return the distance of each sample (k, h, w) to the truth (h, w): (k,)."""
    with torch.inference_mode():
        target = list(features(tensors, truth))
        # one at a time: bits must not depend on how many samples there are
        return np.array([_distance(tensors, list(features(tensors, sample)), target) for sample in samples])


def features(tensors: Mapping[str, Tensor], image: NDArray[Any]) -> Iterator[Tensor]:
    """Yield the features (1, c, h, w) of an image (h, w) in [0, 1] after each convolution, of unit length a pixel."""
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (SHIFT, SCALE))
    x = (2 * torch.tensor(image, dtype=torch.float32) - 1 - shift) / scale
    for at, (_, _, kernel) in LAYERS.items():
        x = F.max_pool2d(x, 3, 2) if at in POOLED else x
        stride, padding = (1, kernel // 2) if at else (4, 2)
        x = F.relu(F.conv2d(x, tensors[f"features.{at}.weight"], tensors[f"features.{at}.bias"], stride, padding))
        yield x / (x.square().sum(1, keepdim=True) + EPSILON).sqrt()


def _distance(tensors: Mapping[str, Tensor], a: list[Tensor], b: list[Tensor]) -> float:
    apart = [
        F.conv2d((x - y) ** 2, tensors[f"lin{i}.model.1.weight"]) for i, (x, y) in enumerate(zip(a, b, strict=True))
    ]
    return float(sum(layer.mean() for layer in apart))
