"""What is set in closed form before the first step: sampled patches, principal axes, a linear least-squares decoder."""

import torch
from torch import Tensor

from cmrgz.latents import patches

# Residual k-means of six levels of 1024 codes takes half a minute of one core with so many.
FIT_PATCHES = 60_000


def sample_patches(x: Tensor, patch: int, generator: torch.Generator) -> Tensor:
    """Return up to 60,000 patches (n, patch**2) of items (b, 1, H, W), in random order, on the CPU."""
    vectors = patches(x, patch).movedim(1, -1).reshape(-1, patch**2).float()
    pick = torch.randperm(len(vectors), generator=generator)[:FIT_PATCHES]
    return vectors[pick].cpu()


def principal_axes(x: Tensor, k: int) -> Tensor:
    """Return the first k principal axes (k, c) of vectors (n, c), of unit length, largest variance first.

    An axis points where its largest entry is positive, so that its sign does not depend on the linear algebra library.
    """
    # In double precision: the smallest axes are what is left of large numbers that nearly cancel.
    centred = x.double() - x.double().mean(0)
    axes = torch.linalg.eigh(centred.T @ centred)[1].flip(1).T[:k]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    return (axes * largest.sign()).float()


def least_squares(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight (d, c) and bias (d,) of the best linear map of vectors x (n, c) to y (n, d).

    An input that never varies gets weight 0.
    """
    x, y = x.double(), y.double()
    centred = x - x.mean(0)
    weight = (torch.linalg.pinv(centred.T @ centred, hermitian=True) @ centred.T @ (y - y.mean(0))).T
    return weight.float(), (y.mean(0) - weight @ x.mean(0)).float()
