"""Labelled frames to train the segmenter on, changed at random in place, shape and intensity.

A label map says of each pixel which classes it may have, as bits of one number (bit c for class c), since real
annotations are partial: where a class was drawn nowhere in a frame, its pixels may lie in what is labelled 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cmrgz.data.cines import Cine
from cmrgz.errors import DataError

SIDE = 128
HEART = (1, 2, 3)
"""Classes but the background: right ventricle, myocardium, left ventricle."""
BACKGROUND = 1
"""The bits of a pixel that is background for certain."""


@dataclass(frozen=True)
class Labelled:
    """A frame: image (H, W) float16 in [0, 1], bits (H, W) uint8, and the (row, column) of the heart."""

    image: NDArray[np.float16]
    bits: NDArray[np.uint8]
    centre: tuple[float, float]


def labelled(cine: Cine) -> list[Labelled]:
    """Return the labelled frames of a cine.

    In a frame in which all classes are drawn, a slice without any is background; in one with fewer it is unlabelled.

    Raises:
        DataError: `empty-dataset` where there is none; `mask-values` for a label beyond 3.
    """
    maps = np.zeros((0, *cine.frames.shape[1:]), np.uint8) if cine.labels is None else cine.labels
    if maps.max(initial=0) > max(HEART):
        raise DataError("mask-values", cine.subject, f"labels are 0 .. {max(HEART)}", f"highest {maps.max()}")
    found: list[Labelled] = []
    for frame, labels in zip(cine.whole, maps, strict=False):
        drawn = set(np.unique(labels).tolist()) & set(HEART)
        for image, label in zip(frame, labels, strict=True):
            if drawn == set(HEART) or (drawn and label.any()):
                found.append(Labelled((image + 1) / 2, possible(label, drawn), cine.centre))
    if not found:
        raise DataError("empty-dataset", cine.subject, "has no labelled frame", hint="labels: 1 RV, 2 myocardium, 3 LV")
    return found


def possible(label: NDArray[np.uint8], drawn: set[int]) -> NDArray[np.uint8]:
    """Return which classes each pixel of a label map may have, as bits; `drawn` are those that were looked for."""
    unsure = sum(1 << c for c in HEART if c not in drawn)
    return np.where(label == 0, BACKGROUND | unsure, 1 << label).astype(np.uint8)


def batch(
    sources: Sequence[Sequence[Labelled]], shares: Sequence[float], size: int, rng: Generator
) -> tuple[Tensor, Tensor]:
    """Return images (n, 1, h, w) in [0, 1] and bits (n, h, w) of frames drawn from `sources` by their shares."""
    pairs = []
    for source in rng.choice(len(sources), size, p=shares):
        frames = sources[int(source)]
        pairs.append(warped(frames[int(rng.integers(len(frames)))], rng))
    bits = torch.stack([b for _, b in pairs])
    return restyled(torch.stack([x for x, _ in pairs]), bits, rng), bits


# ---------------------------------------------------------------------- place and shape
def warped(frame: Labelled, rng: Generator) -> tuple[Tensor, Tensor]:
    """Return a crop (1, h, w) and its bits (h, w): shifted, turned, scaled, stretched and bent at random."""
    # Never mirrored: the right ventricle lies on one side, and its side is how it is told from the left one.
    angle = math.radians(15) * rng.normal()
    zoom, stretch = np.exp(rng.normal(0, (0.15, 0.07)))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = torch.from_numpy(turn @ np.diag([stretch, 1 / stretch]) / zoom).float()
    line = torch.arange(SIDE) - (SIDE - 1) / 2
    points = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)
    points = points @ matrix.T + smooth(2.0 * rng.normal(size=(1, 2, 5, 5)))[0].movedim(0, -1)
    points = points + torch.tensor(frame.centre) + torch.from_numpy(rng.normal(0, 10, 2)).float()
    grid = ((points + 0.5) / torch.tensor(frame.image.shape) * 2 - 1).flip(-1)[None]
    image = F.grid_sample(torch.from_numpy(frame.image)[None, None].float(), grid, align_corners=False)
    above = torch.from_numpy(frame.bits)[None, None].float() - BACKGROUND  # outside the plane is background
    bits = F.grid_sample(above, grid, mode="nearest", align_corners=False) + BACKGROUND
    return image[0], bits[0, 0].round().to(torch.uint8)


def smooth(values: NDArray[Any]) -> Tensor:
    """Return random values (n, c, rows, columns) of a coarse grid as a smooth field (n, c, h, w)."""
    coarse = torch.from_numpy(values).float()
    return F.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=True)


# ---------------------------------------------------------------------- intensity
def restyled(x: Tensor, bits: Tensor, rng: Generator) -> Tensor:
    """Return images (n, 1, h, w) of another scanner: tissues, shading, curve, sharpness, gain and noise."""
    n = len(x)

    def draw(spread: float, *shape: int) -> NDArray[Any]:
        """Return normal values of each image, none for half of them."""
        active = rng.random((n, *(1 for _ in shape))) < 0.5
        return np.where(active, rng.normal(0, spread, (n, *shape)), 0)

    def scalar(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).float().reshape(n, 1, 1, 1)

    # Tissues by their own contrast: the segmenter is to know hearts by their shape, and scanners differ in all else.
    for c in HEART:
        x = x + scalar(draw(0.05)) * (bits == 1 << c)[:, None]
    clutter = smooth(draw(0.15, 1, 9, 9)) * (bits == BACKGROUND)[:, None]
    x = (x + clutter).clamp(min=0) * torch.exp(smooth(draw(0.3, 1, 3, 3)))
    x = x.clamp(0, 1) ** torch.exp(scalar(draw(0.3)))
    blurred = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)
    x = x + scalar(draw(0.5)).clamp(-0.5, 1) * (blurred - x)
    x = x * torch.exp(scalar(draw(0.25)))
    grain = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
    return (x + scalar(np.abs(draw(0.05))) * grain).clamp(0, 1)
