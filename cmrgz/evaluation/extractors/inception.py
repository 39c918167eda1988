"""The Inception network that defines FID, up to its average pool: Heusel et al. 2017, arXiv:1706.08500.

Inception v3 (Szegedy et al. 2016, arXiv:1512.00567) with the names of torchvision, but with the pooling of the weights
of 2015 that FID is defined by: averages do not count the padding, and the last block takes a maximum.
"""

# Ours, and not that of torch-fidelity, pytorch-fid or timm: each imports torchvision as it is loaded, which is built
# against one release of CUDA torch and fails beside a CPU build (`operator torchvision::nms does not exist`).

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 299
MEAN, SPREAD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
HEADS = ("fc.", "AuxLogits.")

Kernel = int | tuple[int, int]
ROW, COLUMN = (1, 7), (7, 1)
Part = tuple[str, int, Kernel]
"""Name, output channels and kernel of a unit in a block."""
Pool = Literal["average", "maximum", "stride"]


class Unit(nn.Module):
    """Convolution, batch norm, ReLU; of the same size where it is `padded` and has no stride."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, "same" if padded and stride == 1 else 0, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (b, outputs, h, w)."""
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Branches of units side by side, their maps stacked; the last branch is of the pooled maps.

    Args:
        inputs: Channels.
        pool: `stride` halves the resolution, in the pool and in the last unit of the other branches.
        branches: The units of each, in order. Branches that fork late name the same units before.
    """

    def __init__(self, inputs: int, pool: Pool, *branches: Sequence[Part]) -> None:
        super().__init__()
        self.pool, self.branches = pool, [[name for name, _, _ in branch] for branch in branches]
        for branch in branches:
            width = inputs
            for name, outputs, kernel in branch:
                stride = 2 if pool == "stride" and name == branch[-1][0] else 1
                self.add_module(name, Unit(width, outputs, kernel, stride))
                width = outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (b, sum of outputs, h, w)."""
        # what comes before a fork is done twice, 6 % of the operations, so that a branch is a plain chain
        sources = [x] * (len(self.branches) - 1) + [self._pooled(x)]
        for i, names in enumerate(self.branches):
            for name in names:
                sources[i] = self.get_submodule(name)(sources[i])
        return torch.cat(sources, 1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pool == "average":
            return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)  # torchvision counts the padding
        return F.max_pool2d(x, 3, 1, 1) if self.pool == "maximum" else F.max_pool2d(x, 3, 2)


class Inception(nn.Module):
    """From images (b, 3, 299, 299) in [-1, 1] to features (b, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3)
        self.Conv2d_3b_1x1 = Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3, padded=False)
        blocks = [_fine(192, 32), _fine(256, 64), _fine(288, 64), _halving_fine()]
        blocks += [_middle(width) for width in (128, 160, 160, 192)]
        blocks += [_halving_middle(), _coarse(1280, "average"), _coarse(2048, "maximum")]
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


def _fine(inputs: int, pooled: int) -> Block:
    return Block(
        inputs,
        "average",
        [("branch1x1", 64, 1)],
        [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
        [("branch_pool", pooled, 1)],
    )


def _halving_fine() -> Block:
    deep: list[Part] = [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)]
    return Block(288, "stride", [("branch3x3", 384, 3)], deep, [])


def _middle(width: int) -> Block:
    kernels: tuple[Kernel, ...] = (1, COLUMN, ROW, COLUMN, ROW)
    deep = zip(kernels, (width, width, width, width, 192), strict=True)
    return Block(
        768,
        "average",
        [("branch1x1", 192, 1)],
        [("branch7x7_1", width, 1), ("branch7x7_2", width, ROW), ("branch7x7_3", 192, COLUMN)],
        [(f"branch7x7dbl_{i}", outputs, kernel) for i, (kernel, outputs) in enumerate(deep, 1)],
        [("branch_pool", 192, 1)],
    )


def _halving_middle() -> Block:
    kernels: tuple[Kernel, ...] = (1, ROW, COLUMN, 3)
    deep = [(f"branch7x7x3_{i}", 192, kernel) for i, kernel in enumerate(kernels, 1)]
    return Block(768, "stride", [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)], deep, [])


def _coarse(inputs: int, pool: Pool) -> Block:
    deep: list[Part] = [("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3)]
    return Block(
        inputs,
        pool,
        [("branch1x1", 320, 1)],
        [("branch3x3_1", 384, 1), ("branch3x3_2a", 384, (1, 3))],
        [("branch3x3_1", 384, 1), ("branch3x3_2b", 384, (3, 1))],
        [*deep, ("branch3x3dbl_3a", 384, (1, 3))],
        [*deep, ("branch3x3dbl_3b", 384, (3, 1))],
        [("branch_pool", 192, 1)],
    )
