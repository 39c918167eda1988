"""A small tokenizer and a small model with weights that all matter."""

from collections.abc import Callable

import pytest
import torch
from cmrgz_ar_maskgit.network import MaskedTransformer, build
from torch import Tensor

from cmrgz.latents import patches, unpatch
from cmrgz.model import CodeTokenizer, Condition
from cmrgz.rng import Streams
from cmrgz.tokens.masked import MaskedTokenModel

GRID = (4, 6)


class SmallTokenizer(CodeTokenizer):
    """Residual codes of 2x2 patches with random codebooks; decodes to the patches themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.channels, self.vocab, self.levels = 2, 4, 12, 3
        books = torch.randn(3, 12, 4, generator=torch.Generator().manual_seed(0))
        self.books = torch.nn.Parameter(books * torch.tensor([0.6, 0.3, 0.15])[:, None, None])

    def encode(self, x: Tensor) -> Tensor:
        return patches(x, 2)

    def decode(self, vectors: Tensor) -> Tensor:
        return unpatch(vectors, 2)

    def quantise(self, vectors: Tensor) -> Tensor:
        rest, codes = vectors.movedim(1, -1), []
        for book in self.books:
            codes.append((rest[..., None, :] - book).square().sum(-1).argmin(-1))
            rest = rest - book[codes[-1]]
        return torch.stack(codes, -1)

    def embed(self, codes: Tensor, level: int) -> Tensor:
        return self.books[level][codes]

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        return x.new_zeros(())


def make_model(patch: int = 2) -> MaskedTokenModel:
    """Return a fitted model whose weights are random also where training starts at zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(SmallTokenizer(), GRID, width=32, heads=2, inner=48, layers=2, local=16, patch=patch, free=4)
        for parameter in model.network.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape)
    model.fit(make_items(64, seed=3), rng=Streams(0, [("fit",)]))
    return model.eval()


def make_items(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 2 * GRID[0], 2 * GRID[1], generator=generator) * 2 - 1


@pytest.fixture(scope="session", params=[1, 2], ids=["patch=1", "patch=2"])
def model(request: pytest.FixtureRequest) -> MaskedTokenModel:
    """Return a model; not to be changed."""
    return make_model(request.param)


@pytest.fixture(scope="session")
def network(model: MaskedTokenModel) -> MaskedTransformer:
    """Return the network of `model`."""
    assert isinstance(model.network, MaskedTransformer)
    return model.network


@pytest.fixture
def fresh_model() -> Callable[[], MaskedTokenModel]:
    """Return what makes models, all alike."""
    return make_model


@pytest.fixture
def items() -> Tensor:
    """Return six items."""
    return make_items(6)
