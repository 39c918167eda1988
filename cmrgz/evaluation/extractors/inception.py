"""The Inception network that defines FID, up to its average pool: Heusel et al. 2017, arXiv:1706.08500.

Inception v3 (Szegedy et al. 2016, arXiv:1512.00567) with the names of torchvision, but with the pooling of the weights
of 2015 that FID is defined by: averages do not count the padding, and the last block takes a maximum.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 299
MEAN, SPREAD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
HEADS = ("fc.", "AuxLogits.")

Convolution = tuple[str, int, tuple[int, int], int]
"""Name, output channels, kernel, stride; padded to keep the size where the stride is 1 and the name says no other."""
Pair = tuple[int, int]


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int | Pair, stride: int = 1, padding: int | Pair = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (b, outputs, h, w)."""
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Branches of units side by side, their maps stacked.

    Args:
        branches: The names of the units in each branch, in order; a tuple at the end of a branch forks it.
        pool: `average`, `maximum` or `stride`, before the last branch, which may have no unit.
        units: By name.
    """

    def __init__(self, branches: list[list[str | tuple[str, str]]], pool: str, **units: Unit) -> None:
        super().__init__()
        self.branches, self.pool = branches, pool
        for name, unit in units.items():
            self.add_module(name, unit)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (b, sum of outputs, h, w)."""
        *parts, last = self.branches
        found = [self._branch(x, part) for part in parts]
        return torch.cat([*found, self._branch(_pooled(x, self.pool), last)], 1)

    def _branch(self, x: Tensor, names: list[str | tuple[str, str]]) -> Tensor:
        for name in names:
            if isinstance(name, tuple):
                return torch.cat([self.get_submodule(part)(x) for part in name], 1)
            x = self.get_submodule(name)(x)
        return x


class Inception(nn.Module):
    """From images (b, 3, 299, 299) in [-1, 1] to features (b, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        for name, module in _stem().items():
            self.add_module(name, module)
        blocks = [_fine(192, 32), _fine(256, 64), _fine(288, 64), _halving_fine(288)]
        blocks += [_middle(768, width) for width in (128, 160, 160, 192)]
        blocks += [_halving_middle(768), _coarse(1280, "average"), _coarse(2048, "maximum")]
        names = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
        for name, block in zip(names, blocks, strict=True):
            self.add_module(f"Mixed_{name}", block)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (b, 2048)."""
        for name, module in self.named_children():
            x = module(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = F.max_pool2d(x, 3, 2)
        return x.mean((2, 3))


def _stem() -> "OrderedDict[str, Unit]":
    return OrderedDict(
        Conv2d_1a_3x3=Unit(3, 32, 3, 2),
        Conv2d_2a_3x3=Unit(32, 32, 3),
        Conv2d_2b_3x3=Unit(32, 64, 3, 1, 1),
        Conv2d_3b_1x1=Unit(64, 80, 1),
        Conv2d_4a_3x3=Unit(80, 192, 3),
    )


def _pooled(x: Tensor, pool: str) -> Tensor:
    if pool == "average":
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    return F.max_pool2d(x, 3, 1, 1) if pool == "maximum" else F.max_pool2d(x, 3, 2)


def _row(inputs: int, outputs: int) -> Unit:
    return Unit(inputs, outputs, (1, 7), 1, (0, 3))


def _column(inputs: int, outputs: int) -> Unit:
    return Unit(inputs, outputs, (7, 1), 1, (3, 0))


def _fine(inputs: int, pooled: int) -> Block:
    return Block(
        [["branch1x1"], ["branch5x5_1", "branch5x5_2"], [f"branch3x3dbl_{i}" for i in (1, 2, 3)], ["branch_pool"]],
        "average",
        branch1x1=Unit(inputs, 64, 1),
        branch5x5_1=Unit(inputs, 48, 1),
        branch5x5_2=Unit(48, 64, 5, 1, 2),
        branch3x3dbl_1=Unit(inputs, 64, 1),
        branch3x3dbl_2=Unit(64, 96, 3, 1, 1),
        branch3x3dbl_3=Unit(96, 96, 3, 1, 1),
        branch_pool=Unit(inputs, pooled, 1),
    )


def _halving_fine(inputs: int) -> Block:
    return Block(
        [["branch3x3"], [f"branch3x3dbl_{i}" for i in (1, 2, 3)], []],
        "stride",
        branch3x3=Unit(inputs, 384, 3, 2),
        branch3x3dbl_1=Unit(inputs, 64, 1),
        branch3x3dbl_2=Unit(64, 96, 3, 1, 1),
        branch3x3dbl_3=Unit(96, 96, 3, 2),
    )


def _middle(inputs: int, width: int) -> Block:
    once, twice = [f"branch7x7_{i}" for i in (1, 2, 3)], [f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)]
    return Block(
        [["branch1x1"], [*once], [*twice], ["branch_pool"]],
        "average",
        branch1x1=Unit(inputs, 192, 1),
        branch7x7_1=Unit(inputs, width, 1),
        branch7x7_2=_row(width, width),
        branch7x7_3=_column(width, 192),
        branch7x7dbl_1=Unit(inputs, width, 1),
        branch7x7dbl_2=_column(width, width),
        branch7x7dbl_3=_row(width, width),
        branch7x7dbl_4=_column(width, width),
        branch7x7dbl_5=_row(width, 192),
        branch_pool=Unit(inputs, 192, 1),
    )


def _halving_middle(inputs: int) -> Block:
    return Block(
        [["branch3x3_1", "branch3x3_2"], [f"branch7x7x3_{i}" for i in (1, 2, 3, 4)], []],
        "stride",
        branch3x3_1=Unit(inputs, 192, 1),
        branch3x3_2=Unit(192, 320, 3, 2),
        branch7x7x3_1=Unit(inputs, 192, 1),
        branch7x7x3_2=_row(192, 192),
        branch7x7x3_3=_column(192, 192),
        branch7x7x3_4=Unit(192, 192, 3, 2),
    )


def _coarse(inputs: int, pool: str) -> Block:
    fork, deep = ("branch3x3_2a", "branch3x3_2b"), ("branch3x3dbl_3a", "branch3x3dbl_3b")
    return Block(
        [["branch1x1"], ["branch3x3_1", fork], ["branch3x3dbl_1", "branch3x3dbl_2", deep], ["branch_pool"]],
        pool,
        branch1x1=Unit(inputs, 320, 1),
        branch3x3_1=Unit(inputs, 384, 1),
        branch3x3_2a=Unit(384, 384, (1, 3), 1, (0, 1)),
        branch3x3_2b=Unit(384, 384, (3, 1), 1, (1, 0)),
        branch3x3dbl_1=Unit(inputs, 448, 1),
        branch3x3dbl_2=Unit(448, 384, 3, 1, 1),
        branch3x3dbl_3a=Unit(384, 384, (1, 3), 1, (0, 1)),
        branch3x3dbl_3b=Unit(384, 384, (3, 1), 1, (1, 0)),
        branch_pool=Unit(inputs, 192, 1),
    )
