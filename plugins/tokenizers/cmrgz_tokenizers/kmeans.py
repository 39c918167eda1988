"""Residual k-means: codebooks in closed form."""

import torch
from torch import Tensor

CHUNK = 16384


def nearest(x: Tensor, codebook: Tensor) -> Tensor:
    """Return the index (n,) of the code (k, c) nearest to each vector (n, c) in Euclidean distance."""
    # Half the squared distance, less the squared length of the vector, which is the same for all codes.
    half_norm = codebook.square().sum(1) / 2
    return torch.cat([(half_norm - part @ codebook.T).argmin(1) for part in x.split(CHUNK)])


def _update(x: Tensor, index: Tensor, codebook: Tensor, generator: torch.Generator) -> Tensor:
    """Return the centroids of the assigned vectors; an empty code restarts at the vectors that are served worst."""
    count = torch.bincount(index, minlength=len(codebook))
    total = torch.zeros_like(codebook).index_add_(0, index, x)
    new = total / count.clamp(min=1)[:, None]
    empty = (count == 0).nonzero()[:, 0]
    if len(empty):
        error = (x - codebook[index]).square().sum(1)
        few = len(empty) > len(x)
        # Drawn by their error and not the worst ones alone, which may all be the same few outliers.
        worst = torch.multinomial(error + 1e-12, len(empty), replacement=few, generator=generator)
        new[empty] = x[worst]
    return new


def kmeans(x: Tensor, size: int, iterations: int, generator: torch.Generator) -> Tensor:
    """Return `size` centroids (size, c) of vectors (n, c) by Lloyd's algorithm, started at random vectors."""
    # Modulo: of fewer vectors than codes some start twice.
    start = torch.randperm(len(x), generator=generator)[torch.arange(size) % len(x)]
    codebook = x[start].clone()
    for _ in range(iterations):
        codebook = _update(x, nearest(x, codebook), codebook, generator)
    return codebook


def residual_kmeans(x: Tensor, size: int, levels: int, iterations: int, generator: torch.Generator) -> Tensor:
    """Return `levels` codebooks (levels, size, c): each is fitted to what the earlier ones leave of x (n, c)."""
    rest, books = x.clone(), []
    for _ in range(levels):
        book = kmeans(rest, size, iterations, generator)
        rest -= book[nearest(rest, book)]
        books.append(book)
    return torch.stack(books)
