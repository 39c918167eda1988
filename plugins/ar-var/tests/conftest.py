"""A small exact tokenizer of scales and a small model with weights that all matter."""

from collections.abc import Callable

import pytest
import torch
from cmrgz_ar_var.model import ScaleModel, build
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.latents import patches, unpatch
from cmrgz.model import Condition
from cmrgz.rng import Streams
from cmrgz.testing.small import fitted, small_items
from cmrgz.tokens.scales import ScaleTokenizer

GRID = (8, 4)


class SmallPyramid(ScaleTokenizer):
    """Residual codes of 2x2 patches of a pyramid with given codebooks (levels, vocab, 4); decodes to the patches."""

    def __init__(self, strides: tuple[int, ...], books: list[Tensor], smooth: bool = True) -> None:
        super().__init__()
        self.patch, self.channels, self.strides, self.smooth = 2, 4, strides, smooth
        self.books = nn.ParameterList([nn.Parameter(book) for book in books])
        self.levels, self.vocab = tuple(len(b) for b in books), tuple(b.shape[1] for b in books)

    def encode(self, x: Tensor) -> Tensor:
        return patches(x, 2)

    def decode(self, vectors: Tensor) -> Tensor:
        return unpatch(vectors, 2)

    def pool(self, vectors: Tensor, scale: int) -> Tensor:
        return patches(F.avg_pool2d(unpatch(vectors, 2), self.strides[scale]), 2)

    def spread(self, cells: Tensor, scale: int) -> Tensor:
        mode = "bilinear" if self.smooth else "nearest"
        return patches(F.interpolate(unpatch(cells, 2), scale_factor=self.strides[scale], mode=mode), 2)

    def quantise(self, cells: Tensor, scale: int) -> Tensor:
        rest, codes = cells.movedim(1, -1), []
        for book in self.books[scale]:
            codes.append((rest[..., None, :] - book).square().sum(-1).argmin(-1))
            rest = rest - book[codes[-1]]
        return torch.stack(codes, -1)

    def embed(self, codes: Tensor, scale: int, level: int) -> Tensor:
        return self.books[scale][level][codes]

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        return x.new_zeros(())


def random_pyramid() -> SmallPyramid:
    """Return a tokenizer of three scales, cells of 4, 2 and 1 positions with 1, 2 and 3 codes each."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((1, 6, 0.6), (2, 8, 0.4), (3, 12, 0.2))
    books = [a * torch.randn(levels, vocab, 4, generator=generator) for levels, vocab, a in sizes]
    return SmallPyramid((4, 2, 1), books)


def make_model(seed: int = 0) -> ScaleModel:
    """Return a fitted model whose weights are random also where training starts at zero."""

    def made() -> ScaleModel:
        return build(random_pyramid(), GRID, width=32, heads=2, inner=48, local=16, head_inner=32, layers=2, free=4)

    return fitted(made, lambda model: model.network, make_items(64, seed=3), seed)


def make_items(count: int, seed: int = 0) -> Tensor:
    return small_items(count, GRID, seed)


@pytest.fixture(scope="session")
def model() -> ScaleModel:
    """Return a model; not to be changed."""
    return make_model()


@pytest.fixture
def fresh() -> ScaleModel:
    """Return a model that a test may train."""
    return make_model()


@pytest.fixture
def fresh_model() -> Callable[[], ScaleModel]:
    """Return what makes models, all alike."""
    return make_model


@pytest.fixture
def items() -> Tensor:
    """Return six items."""
    return make_items(6)


@pytest.fixture
def known(items: Tensor) -> Tensor:
    """Return known pixels of the items: areas of 4 x 4 positions, of 2 x 2, and single ones, from none to all."""
    generator = torch.Generator().manual_seed(0)
    share = torch.linspace(0, 1, len(items))[:, None, None, None]
    seen = torch.zeros_like(items, dtype=torch.bool)
    for size in (8, 4, 2):
        area = torch.rand(len(items), 1, 16 // size, 8 // size, generator=generator) < share * 0.6
        seen |= area.repeat_interleave(size, 2).repeat_interleave(size, 3)
    seen[0], seen[-1] = False, True
    seen[3, :, 0, 0] = False  # a cut patch
    return seen
