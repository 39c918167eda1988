"""A small tokenizer and a small model with weights that all matter."""

from collections.abc import Callable

import pytest
from cmrgz_ar_maskgit.network import MaskedTransformer, build
from torch import Tensor

from cmrgz.testing.small import SmallTokenizer, fitted, small_items
from cmrgz.tokens.masked_codes import MaskedTokenModel

GRID = (4, 6)


def make_model(patch: int = 2) -> MaskedTokenModel:
    """Return a fitted model whose weights are random also where training starts at zero."""

    def made() -> MaskedTokenModel:
        return build(SmallTokenizer(), GRID, width=32, heads=2, inner=48, layers=2, local=16, patch=patch, free=4)

    return fitted(made, lambda model: model.network, make_items(64, seed=3))


def make_items(count: int, seed: int = 0) -> Tensor:
    return small_items(count, GRID, seed)


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
