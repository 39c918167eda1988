"""A small tokenizer and a small model with weights that all matter."""

from collections.abc import Callable

import pytest
from cmrgz_ar_vq.network import AnyOrderTransformer, build
from torch import Tensor

from cmrgz.testing.small import SmallTokenizer, fitted, small_items
from cmrgz.tokens.causal import TokenModel

GRID = (4, 5)


def make_model(seed: int = 0) -> TokenModel:
    """Return a fitted model whose weights are random also where training starts at zero."""

    def made() -> TokenModel:
        return build(SmallTokenizer(), GRID, width=32, heads=2, inner=48, content_layers=2, target_layers=2, free=4)

    return fitted(made, lambda model: model.network, make_items(64, seed=3), seed)


def make_items(count: int, seed: int = 0) -> Tensor:
    return small_items(count, GRID, seed)


@pytest.fixture(scope="session")
def model() -> TokenModel:
    """Return a model; not to be changed."""
    return make_model()


@pytest.fixture(scope="session")
def network(model: TokenModel) -> AnyOrderTransformer:
    """Return the network of `model`."""
    assert isinstance(model.network, AnyOrderTransformer)
    return model.network


@pytest.fixture
def fresh() -> TokenModel:
    """Return a model that a test may train."""
    return make_model()


@pytest.fixture
def fresh_model() -> Callable[[], TokenModel]:
    """Return what makes models, all alike."""
    return make_model


@pytest.fixture
def items() -> Tensor:
    """Return six items."""
    return make_items(6)
