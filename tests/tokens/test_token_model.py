"""The token model on an oracle: losses in closed form, and what sampling depends on."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor

from cmrgz.latents import training_order
from cmrgz.model import Condition
from cmrgz.rng import Streams
from cmrgz.testing.oracles import CodeField, OracleCache, OracleNetwork, SymbolTokenizer, oracle_model
from cmrgz.tokens.causal import TokenModel

ONE = CodeField.random((2, 3), 3, 1, strength=1.0, seed=1)
TWO = CodeField.random((2, 2), 2, 2, strength=1.0, seed=2)
THREE = CodeField.random((1, 3), 2, 3, strength=1.0, seed=3)


def streams(count: int, seed: int = 0) -> Streams:
    return Streams(seed, [(i,) for i in range(count)])


def items(model: TokenModel, symbols: np.ndarray, grid: tuple[int, int]) -> Tensor:
    tokenizer = model.tokenizer
    assert isinstance(tokenizer, SymbolTokenizer)
    return tokenizer.pixels(torch.from_numpy(symbols)).reshape(-1, 1, *grid)


@contextmanager
def global_state_untouched() -> Iterator[None]:
    before = torch.get_rng_state(), str(np.random.get_state())
    yield
    assert torch.equal(torch.get_rng_state(), before[0]) and str(np.random.get_state()) == before[1]


class Listener(OracleNetwork):
    """Keeps what the model tells its network."""

    def __init__(self, field: CodeField) -> None:
        super().__init__(field)
        self.conditions: list[Condition | None] = []
        self.fitted: tuple[Tensor, Tensor, Tensor] | None = None
        self.levels_asked: list[int] = []
        self.contents: list[Tensor] = []
        self.slots: list[Tensor] = []
        self.hints: list[Tensor | None] = []

    def start(self, batch: int, n: int, condition: Condition | None, hints: Tensor | None = None) -> OracleCache:
        self.conditions.append(condition)
        self.hints.append(hints)
        return super().start(batch, n, condition, hints)

    def train_states(
        self,
        vectors: Tensor,
        order: Tensor,
        condition: Condition | None,
        hints: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        assert slots is not None
        self.contents.append(vectors)
        self.slots.append(slots)
        return super().train_states(vectors, order, condition, hints, slots)

    def logits(self, features: Tensor, codes: Tensor, level: int) -> Tensor:
        self.levels_asked.append(level)
        return super().logits(features, codes, level)

    def fit(self, vectors: Tensor, codes: Tensor, features: Tensor) -> None:
        self.fitted = vectors, codes, features


def listening(field: CodeField, raster_share: float = 0.1, decay: float = 1.0) -> tuple[TokenModel, Listener]:
    network = Listener(field)
    return TokenModel(network, SymbolTokenizer(field.vocab, field.levels), raster_share, decay).eval(), network


def test_the_loss_is_the_negative_log_likelihood_per_code() -> None:
    """The chain rule: with nothing known, half of the positions at twice the weight estimate -log p(x)."""
    for field in (ONE, TWO, THREE):
        symbols = field.sample(20, np.random.default_rng(0))
        model = oracle_model(field, raster_share=1.0)
        losses = [float(model.loss(items(model, symbols, field.grid), rng=streams(20, seed))) for seed in range(80)]
        expected = -np.log(field.joint[tuple(symbols.T)]).mean() / (field.n * field.levels)
        assert abs(np.mean(losses) - expected) < 4 * np.std(losses, ddof=1) / 80**0.5
        assert np.std(losses) < 0.2 * expected


@pytest.mark.parametrize("raster_share", [0.0, 0.5])
@pytest.mark.parametrize("decay", [1.0, 0.6])
def test_the_loss_by_hand(raster_share: float, decay: float) -> None:
    """Code by code, for the orders, the known shares and the places that the loss draws."""
    symbols = TWO.sample(8, np.random.default_rng(0))
    model, network = listening(TWO, raster_share, decay)
    loss = model.loss(items(model, symbols, TWO.grid), rng=streams(8))
    orders, shares = training_order(TWO.grid, raster_share, streams(8))
    level, count = np.zeros(2), 0
    for row, order, share, slots in zip(symbols, orders.numpy(), shares, network.slots[0], strict=True):
        hidden_slots = [int(i) for i in slots if i >= share]
        assert len(hidden_slots) == min(2, 4 - int(share))  # half of the positions, or all that are hidden
        for i in hidden_slots:
            known = np.isin(np.arange(4), order[:i])
            others = tuple(a for a, p in enumerate(np.flatnonzero(~known)) if p != order[i])
            p = TWO.posterior(row, known).sum(others).reshape(2, 2)
            first, second = divmod(int(row[order[i]]), 2)
            level -= np.log([p[first].sum(), p[first, second] / p[first].sum()])
            count += 1
    assert float(loss) == pytest.approx((level[0] + decay * level[1]) / (1 + decay) / count, rel=1e-5)


def test_the_halved_levels_of_training_estimate_the_loss() -> None:
    symbols = THREE.sample(12, np.random.default_rng(0))
    model = oracle_model(THREE)
    x = items(model, symbols, THREE.grid)
    exact = [float(model.eval().loss(x, rng=streams(12, seed))) for seed in range(60)]
    halved = [float(model.train().loss(x, rng=streams(12, seed))) for seed in range(60)]
    apart = np.array(halved) - np.array(exact)
    assert apart.std() > 0
    assert abs(apart.mean()) < 4 * apart.std(ddof=1) / 60**0.5


def test_the_loss_of_one_item_of_which_little_is_hidden_is_finite() -> None:
    model = oracle_model(THREE, raster_share=0.0).train()
    x = items(model, THREE.sample(1, np.random.default_rng(0)), THREE.grid)
    assert all(model.loss(x, rng=streams(1, seed)).isfinite() for seed in range(50))


@pytest.mark.parametrize("training", [False, True])
def test_the_loss_is_a_function_of_items_and_streams(training: bool) -> None:
    model = oracle_model(THREE).train(training)
    x = items(model, THREE.sample(6, np.random.default_rng(0)), THREE.grid)
    with global_state_untouched():
        first = model.loss(x, rng=streams(6))
    torch.manual_seed(1)
    assert torch.equal(first, model.loss(x, rng=streams(6)))


@pytest.mark.parametrize("order", ["any", "forced"])
def test_a_draw_is_a_function_of_its_stream_alone(order: str) -> None:
    model = oracle_model(ONE)
    x = items(model, ONE.sample(7, np.random.default_rng(0)), ONE.grid)
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    with global_state_untouched():
        y = model.sample(x * known, known, rng=streams(7), order=order)
    torch.manual_seed(5)
    assert torch.equal(model.sample(x * known, known, rng=streams(7), order=order), y)
    assert not torch.equal(model.sample(x * known, known, rng=streams(7, 1), order=order), y)
    for i in (0, 3, 6):
        one = slice(i, i + 1)
        alone = model.sample((x * known)[one], known[one], rng=Streams(0, [(i,)]), order=order)
        assert torch.equal(alone, y[one])


@pytest.mark.parametrize("order", ["any", "forced"])
def test_hidden_values_are_not_used_and_known_ones_come_back(order: str) -> None:
    model = oracle_model(ONE)
    x = items(model, ONE.sample(5, np.random.default_rng(0)), ONE.grid)
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    y = model.sample(torch.where(known, x, 0.0), known, rng=streams(5), order=order)
    assert torch.equal(model.sample(torch.where(known, x, -x.flip(0)), known, rng=streams(5), order=order), y)
    assert torch.equal(y[known], x[known])


def test_everything_known_is_returned_and_nothing_known_is_drawn() -> None:
    model = oracle_model(ONE)
    x = items(model, ONE.sample(5, np.random.default_rng(0)), ONE.grid)
    assert torch.equal(model.sample(x, torch.ones_like(x, dtype=torch.bool), rng=streams(5)), x)
    drawn = model.sample(torch.zeros_like(x), torch.zeros_like(x, dtype=torch.bool), rng=streams(5))
    assert drawn.isfinite().all() and len(drawn.unique(dim=0)) > 1


def test_the_best_code_alone_is_temperature_zero() -> None:
    model = oracle_model(TWO)
    x = torch.zeros(6, 1, *TWO.grid)
    known = torch.zeros_like(x, dtype=torch.bool)
    best = [
        model.sample(x, known, rng=streams(6, seed), order="forced", **options)
        for seed, options in enumerate([{"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-6}])
    ]
    assert torch.equal(best[0], best[1]) and torch.equal(best[0], best[2])
    assert len(best[0].unique(dim=0)) == 1


def test_conditions_reach_the_network() -> None:
    model, network = listening(TWO)
    x = items(model, TWO.sample(2, np.random.default_rng(0)), TWO.grid)
    condition = {"phase": torch.tensor([0.1, 0.2])}
    model.loss(x, condition=condition, rng=streams(2))
    model.sample(x, torch.zeros_like(x, dtype=torch.bool), condition=condition, rng=streams(2))
    model.sample(x, torch.zeros_like(x, dtype=torch.bool), rng=streams(2))
    assert network.conditions == [condition, condition, None]


@pytest.mark.parametrize("levels", [0, 3, 9])
def test_all_levels_are_drawn_by_default(levels: int) -> None:
    model, network = listening(THREE)
    x = torch.zeros(2, 1, *THREE.grid)
    model.sample(x, torch.zeros_like(x, dtype=torch.bool), rng=streams(2), levels=levels)
    assert network.levels_asked == [0, 1, 2] * 3


def test_fewer_levels_are_drawn_as_the_first_of_all() -> None:
    class FirstLevel(SymbolTokenizer):
        """Gives the deeper codes as 0, so that the oracle can go on."""

        def embed(self, codes: Tensor, level: int) -> Tensor:
            part = super().embed(codes, level)
            return part + super().embed(torch.zeros_like(codes), 1) if level == 0 else part

    field = CodeField.random((1, 1), 3, 2, strength=1.0, seed=0)
    x = torch.zeros(3000, 1, 1, 1)
    known = torch.zeros_like(x, dtype=torch.bool)
    full = oracle_model(field)
    short = TokenModel(OracleNetwork(field), FirstLevel(3, 2)).eval()
    codes = [
        model.tokenizer.quantise(model.tokenizer.encode(model.sample(x, known, rng=streams(3000), levels=levels)))
        for model, levels in ((full, 0), (short, 1))
    ]
    share = torch.bincount(codes[1][..., 0].flatten()) / 3000
    expected = torch.from_numpy(field.joint.reshape(3, 3).sum(1))
    assert (share - expected).abs().max() < 4 * 0.5 / 3000**0.5
    assert codes[1][..., 1].eq(0).all() and not codes[0][..., 1].eq(0).all()


def test_fit_gives_the_network_vectors_codes_and_what_codes_add() -> None:
    model, network = listening(TWO)
    symbols = TWO.sample(5, np.random.default_rng(0))
    model.fit(items(model, symbols, TWO.grid), rng=streams(1))
    assert network.fitted is not None
    vectors, codes, features = network.fitted
    assert vectors.shape == (20, 4) and codes.shape == (20, 2) and features.shape == (2, 2, 4)
    assert torch.equal(codes[:, 0] * 2 + codes[:, 1], torch.from_numpy(symbols.ravel()))
    assert torch.equal(features[0, codes[:, 0]] + features[1, codes[:, 1]], vectors)


class Rounded(SymbolTokenizer):
    """Encodes to a vector a little off those of its codes, as a real tokenizer does."""

    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x) * 1.25


def test_training_sees_the_known_positions_unquantised() -> None:
    network = Listener(ONE)
    model = TokenModel(network, Rounded(3, 1)).eval()
    network.extend = lambda *_: None  # type: ignore[method-assign]
    network.forward = lambda cache, targets, length: torch.zeros(*targets.shape, 3)  # type: ignore[method-assign]
    x = torch.zeros(200, 1, *ONE.grid)
    model.loss(x, rng=streams(200))
    _, known = training_order(ONE.grid, 0.1, streams(200))
    assert torch.equal(network.contents[0].amax(-1) == 1.25, torch.arange(6) < known[:, None])
    assert torch.equal(network.contents[0].amax(-1) == 1.0, torch.arange(6) >= known[:, None])


@pytest.mark.parametrize("order", ["any", "forced"])
def test_hints_are_made_of_known_pixels_alone(order: str) -> None:
    model, network = listening(ONE)
    x = items(model, ONE.sample(5, np.random.default_rng(0)), ONE.grid)
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    for y in (x, torch.where(known, x, -x.flip(0)), torch.where(known, -x, x)):
        model.sample(y, known, rng=streams(5), order=order)
    one, other_hidden, other_known = network.hints
    assert one is not None and other_hidden is not None and other_known is not None
    assert torch.equal(one, other_hidden)
    assert torch.equal(one, other_known) == (order == "forced")  # which looks at nothing ahead of it


def test_hints_of_training_are_made_of_known_pixels_alone() -> None:
    model, network = listening(ONE, raster_share=0.3)
    symbols = ONE.sample(40, np.random.default_rng(0))
    order, known = training_order(ONE.grid, 0.3, streams(40))
    place = order.argsort(1).numpy()
    hidden = place >= known[:, None].numpy()
    for row in (symbols, np.where(hidden, 2 - symbols, symbols), np.where(hidden, symbols, 2 - symbols)):
        model.loss(items(model, row, ONE.grid), rng=streams(40))
    one, other_hidden, other_known = network.hints
    assert one is not None and other_hidden is not None and other_known is not None
    assert torch.equal(one, other_hidden)
    assert not torch.equal(one, other_known)


class Learnt(SymbolTokenizer):
    """A tokenizer with a weight."""

    def __init__(self) -> None:
        super().__init__(2, 1)
        self.weight = torch.nn.Parameter(torch.ones(()))

    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x) * self.weight

    def embed(self, codes: Tensor, level: int) -> Tensor:
        return super().embed(codes, level) * self.weight


def test_the_tokenizer_is_not_trained() -> None:
    tokenizer = Learnt()
    model = TokenModel(OracleNetwork(CodeField.random((1, 2), 2)), tokenizer)
    assert not tokenizer.weight.requires_grad
    assert not model.loss(torch.ones(2, 1, 1, 2), rng=streams(2)).requires_grad
