"""Codes on several grids, coarse to fine: what models that predict the next scale are built on."""

from abc import abstractmethod
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.errors import UsageError
from cmrgz.model import Tokenizer


class Coded(NamedTuple):
    """What the codes of an item stand for, scale by scale.

    Attributes:
        codes: (b, h', w', levels) int64 of each scale.
        sums: The vectors (b, channels, h, w) that the codes up to each scale stand for.
    """

    codes: list[Tensor]
    sums: list[Tensor]


class ScaleTokenizer(Tokenizer):
    """A tokenizer whose code is spread over scales: each codes what the coarser ones leave of the vectors.

    A cell of a scale covers `stride` x `stride` positions, so no cell straddles two of the next scale, and all that a
    coarse cell holds is known as soon as all its positions are. Encoding stays patch-local; the codes do not: those of
    a fine cell depend on the coarse ones, which depend on all that a coarse cell covers. What is known must therefore
    be quantised against what was drawn, `quantise(pool(exact - drawn))`, never taken from the codes of the whole item.
    """

    strides: tuple[int, ...]
    """Edge of a cell in positions, one a scale, coarse to fine; each divides the one before, the last is 1."""
    levels: tuple[int, ...]
    """Residual codes of a cell, one number a scale."""
    vocab: tuple[int, ...]
    """Values of a code, one number a scale."""

    @abstractmethod
    def pool(self, vectors: Tensor, scale: int) -> Tensor:
        """Return what a scale sees of vectors (b, channels, h, w): (b, channels, h / stride, w / stride); linear."""

    @abstractmethod
    def spread(self, cells: Tensor, scale: int) -> Tensor:
        """Return what cells (b, channels, h / stride, w / stride) add to the vectors (b, channels, h, w); linear."""

    @abstractmethod
    def quantise(self, cells: Tensor, scale: int) -> Tensor:
        """Return the codes (b, h', w', levels[scale]) int64 of cells (b, channels, h', w'), each by itself."""

    @abstractmethod
    def embed(self, codes: Tensor, scale: int, level: int) -> Tensor:
        """Return what the codes (...) of one level add to a cell: (..., channels)."""

    def cells(self, codes: Tensor, scale: int) -> Tensor:
        """Return the cells (b, channels, h', w') that the first codes (b, h', w', <= levels) of a scale stand for."""
        parts = [self.embed(codes[..., level], scale, level) for level in range(codes.shape[-1])]
        return torch.stack(parts).sum(0).movedim(-1, 1)

    @torch.no_grad()
    def features(self, scale: int, device: torch.device) -> Tensor:
        """Return what each code of a scale adds to a cell: (levels, vocab, channels)."""
        every = torch.arange(self.vocab[scale], device=device)
        return torch.stack([self.embed(every, scale, level) for level in range(self.levels[scale])])

    def code(self, vectors: Tensor) -> Coded:
        """Return the codes of whole items, given as vectors (b, channels, h, w).

        Raises:
            UsageError: `range`: a grid that the coarsest cells do not tile.
        """
        check_grid((vectors.shape[2], vectors.shape[3]), self.strides)
        total, coded = torch.zeros_like(vectors), Coded([], [])
        for scale in range(len(self.strides)):
            # What the coarser scales have not said yet, after their quantisation: errors of a scale are left to the
            # next.
            coded.codes.append(self.quantise(self.pool(vectors - total, scale), scale))
            total = total + self.spread(self.cells(coded.codes[-1], scale), scale)
            coded.sums.append(total)
        return coded

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return items (b, 1, *item) there and back, by way of the codes."""
        return self.decode(self.code(self.encode(x)).sums[-1])


def check_grid(grid: tuple[int, int], strides: tuple[int, ...]) -> None:
    """Refuse a grid that the cells do not tile.

    Raises:
        UsageError: `range`.
    """
    if any(side % strides[0] for side in grid):
        facts = f"{grid[0]} x {grid[1]} positions, cells of {strides[0]}"
        raise UsageError("range", "strides", "the largest must divide rows and columns of positions", facts)


def check_strides(strides: tuple[int, ...]) -> None:
    """Refuse strides that do not go from coarse to fine, each dividing the one before, down to 1.

    Raises:
        UsageError: `range`.
    """
    nested = min(strides, default=0) > 0 and all(coarse % fine == 0 for coarse, fine in pairwise(strides))
    if not nested or strides[-1] != 1:
        must = "must fall to 1, each a divisor of the one before"
        raise UsageError("range", "strides", must, f"got {','.join(map(str, strides))}")


def known_cells(known: Tensor, stride: int) -> Tensor:
    """Return which cells (b, h', w') are known: those of which every position of `known` (b, h, w) is."""
    # The largest of what is hidden: a single hidden position hides the cell.
    return ~(F.max_pool2d((~known)[:, None].float(), stride)[:, 0] > 0)
