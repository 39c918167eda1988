"""The masked token model in training: what it shows its network, and what it asks for."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cmrgz.latents import training_order
from cmrgz.model import Condition
from cmrgz.rng import Streams
from cmrgz.testing.oracles import CodeField, OracleMaskedNetwork, SymbolTokenizer, masked_oracle_model
from cmrgz.tokens.masked_codes import MaskedTokenModel

FIELD = CodeField.random((2, 3), 2, 2, strength=1.0, seed=1)


def streams(count: int, seed: int = 0) -> Streams:
    return Streams(seed, [(i,) for i in range(count)])


class Rounded(SymbolTokenizer):
    """Encodes to a vector a little off those of its codes, as a real tokenizer does."""

    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x) * 1.25


class Listener(OracleMaskedNetwork):
    """Keeps what the model tells its network, and how often codes are asked for."""

    def __init__(self, field: CodeField) -> None:
        super().__init__(field)
        self.told: list[tuple[Tensor, Tensor, Condition | None, Tensor]] = []
        self.asked: list[Tensor] = []

    def forward(self, vectors: Tensor, shown: Tensor, condition: Condition | None, hints: Tensor | None) -> Tensor:
        assert hints is not None
        self.told.append((vectors, shown, condition, hints))
        return super().forward((vectors > 0).float(), shown, condition, hints)

    def logits(self, features: Tensor, codes: Tensor, level: int) -> Tensor:
        self.asked.append(codes)
        return super().logits(features, codes, level)


def listening(law: Any = "arccos") -> tuple[MaskedTokenModel, Listener]:
    network = Listener(FIELD)
    return MaskedTokenModel(network, Rounded(2, 2), 1.0, law).eval(), network


def items(symbols: np.ndarray) -> Tensor:
    return SymbolTokenizer(2, 2).pixels(torch.from_numpy(symbols)).reshape(-1, 1, *FIELD.grid)


@pytest.fixture(scope="module")
def x() -> Tensor:
    return items(FIELD.sample(600, np.random.default_rng(0)))


def given_of(count: int, seed: int = 0) -> Tensor:
    """Return which positions (b, n) the loss takes as known."""
    order, known = training_order(FIELD.grid, 0.0, streams(count, seed))
    return torch.zeros_like(order, dtype=torch.bool).scatter(1, order, torch.arange(6) < known[:, None])


@pytest.mark.parametrize("law", ["arccos", "uniform"])
def test_known_ones_are_shown_as_they_are_drawn_ones_as_codes_and_hidden_ones_not_at_all(x: Tensor, law: str) -> None:
    model, network = listening(law)
    model.loss(x, rng=streams(600))
    vectors, shown, _, _ = network.told[0]
    given = given_of(600)
    assert (shown | ~given).all() and (shown & ~given).any()
    assert (vectors.amax(-1)[given] == 1.25).all() and (vectors.amax(-1)[shown & ~given] == 1.0).all()
    assert (vectors[~shown] == 0).all()


@pytest.mark.parametrize(("law", "mean"), [("arccos", 2 / np.pi), ("uniform", 0.5)])
def test_the_hidden_share_is_that_of_its_law(law: str, mean: float) -> None:
    model, _ = listening(law)
    share = model._hidden_share(streams(4000))
    assert (share > 0).all() and (share <= 1).all() and share.max() > 0.99 and share.min() < 0.02
    assert abs(float(share.mean()) - mean) < 0.02


def test_every_item_is_asked_for_some_of_what_is_hidden_and_half_at_most(x: Tensor) -> None:
    model, network = listening()
    for i in range(60):
        one = x[i : i + 1]
        model.loss(one, rng=Streams(0, [(i,)]))
        hidden = int((~network.told[-1][1]).sum())
        assert 1 <= len(network.asked[-1]) == min(hidden, 3)


def test_the_loss_is_the_mean_of_the_exact_conditionals(x: Tensor) -> None:
    """With the true network it is the entropy of the codes that are asked for, given what is shown: in closed form."""
    model = masked_oracle_model(FIELD)
    losses, exact = [], []
    for i in range(200):
        one, rng = x[i : i + 1], Streams(0, [(i,)])
        losses.append(float(model.loss(one, rng=rng)))
        network = Listener(FIELD)
        other = MaskedTokenModel(network, SymbolTokenizer(2, 2), 1.0).eval()
        other.loss(one, rng=Streams(0, [(i,)]))
        shown = network.told[0][1][0].numpy()
        symbols = (other.encode(one)[1][0] * torch.tensor([2, 1])).sum(-1).numpy()
        posterior = FIELD.posterior(symbols, shown)
        hidden = np.flatnonzero(~shown)
        own = [
            -np.log(posterior.sum(tuple(a for a in range(len(hidden)) if a != k))[symbols[p]]) / 2
            for k, p in enumerate(hidden)
        ]
        if len(hidden) <= 3:  # all are asked for
            exact.append((losses[-1], np.mean(own)))
    assert len(exact) > 50
    np.testing.assert_allclose(*zip(*exact, strict=True), rtol=1e-4)


def test_hints_of_training_are_made_of_known_pixels_alone(x: Tensor) -> None:
    model, network = listening()
    hidden = ~given_of(600).view_as(x)
    for y in (x, torch.where(hidden, -x, x), torch.where(hidden, x, -x)):
        model.loss(y, rng=streams(600))
    one, other_hidden, other_known = (told[3] for told in network.told)
    assert torch.equal(one, other_hidden) and not torch.equal(one, other_known)


@pytest.mark.parametrize("training", [False, True])
def test_the_loss_is_a_function_of_items_and_streams(x: Tensor, training: bool) -> None:
    model = masked_oracle_model(FIELD).train(training)
    before = torch.get_rng_state()
    first = model.loss(x, rng=streams(600))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(first, model.loss(x, rng=streams(600)))
    assert not torch.equal(first, model.loss(x, rng=streams(600, 1)))


def test_conditions_reach_the_network(x: Tensor) -> None:
    model, network = listening()
    condition = {"phase": torch.tensor([0.1, 0.2])}
    model.loss(x[:2], condition=condition, rng=streams(2))
    assert network.told[-1][2] is condition


def test_the_tokenizer_is_not_trained(x: Tensor) -> None:
    class Learnt(SymbolTokenizer):
        """A tokenizer with a weight."""

        def __init__(self) -> None:
            super().__init__(2, 2)
            self.weight = torch.nn.Parameter(torch.ones(()))

    model = MaskedTokenModel(OracleMaskedNetwork(FIELD), Learnt())
    assert not any(parameter.requires_grad for parameter in model.tokenizer.parameters())
