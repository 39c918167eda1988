"""The causal kit on blocks: against exact posteriors, what reaches what, and how many positions a step."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cmrgz.latents import training_known
from cmrgz.rng import Streams
from cmrgz.testing.binned import causal_model
from cmrgz.testing.exact_blocks import block_hole
from cmrgz.testing.mixtures import Mixture, score
from cmrgz.testing.oracles import (
    CodeField,
    OracleNetwork,
    SymbolTokenizer,
    draw_hidden,
    frequencies,
    oracle_model,
    total_variation,
    variation_bound,
)
from cmrgz.tokens import causal as kit
from cmrgz.tokens.causal import ASKED, TokenModel
from cmrgz.tokens.causal_decoding import prefill

COUNT = 4000
FIELDS = {
    "phases": CodeField.random((3, 1, 1, 3), 3, 1, strength=0.7, seed=5),
    "phases and slices, two levels": CodeField.random((3, 2, 1, 1), 2, 2, strength=0.7, seed=4),
}
MODELS = {name: oracle_model(field) for name, field in FIELDS.items()}
MIXTURE = Mixture.blocks(3, (3, 2))


def streams(count: int, seed: int = 0) -> Streams:
    return Streams(seed, [(i,) for i in range(count)])


def known_frames(name: str, kind: str) -> np.ndarray:
    """Return known positions (n,): all of the first or last phase, or every second position."""
    grid = FIELDS[name].grid
    n = int(np.prod(grid))
    place, frame = np.arange(n), n // grid[0]
    return {"first phase": place < frame, "last phase": place >= n - frame}.get(kind, place % 2 == 1)


def excess(name: str, kind: str, **options: Any) -> float:
    """Return the total variation of draws to the posterior over what exact draws stay below."""
    field, known = FIELDS[name], known_frames(name, kind)
    symbols = field.sample(1, np.random.default_rng(0))[0]
    law = field.posterior(symbols, known)
    drawn = draw_hidden(MODELS[name], symbols, known, field.grid, streams(COUNT), **options)
    found = frequencies(drawn, (field.symbols,) * int((~known).sum()))
    return total_variation(found, law) / variation_bound(law, COUNT, np.random.default_rng(1))


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("kind", ["first phase", "last phase", "scattered"])
def test_any_order_draws_from_the_posterior(name: str, kind: str) -> None:
    assert excess(name, kind, parallel=1) < 1


@pytest.mark.parametrize("name", FIELDS)
def test_raster_order_is_exact_where_the_first_phase_is_known_and_blind_to_the_last(name: str) -> None:
    assert excess(name, "first phase", order="forced", parallel=1) < 1
    assert excess(name, "last phase", order="forced", parallel=1) > 1.5


def test_particles_bring_the_last_phase_back() -> None:
    forced, smc = (excess("phases", "last phase", order=order) for order in ("forced", "smc"))
    assert smc < 0.7 * forced


@pytest.mark.parametrize("kind", ["phase", "held", "scattered"])
def test_a_perfect_network_draws_blocks_from_the_posterior(kind: str) -> None:
    found = score(causal_model(MIXTURE), MIXTURE, block_hole(kind, 0.6, MIXTURE), items=12, draws=8)
    assert found.energy < 1.12 and 0.75 < found.variance < 1.4 and abs(found.bias) < 0.15, found


class Noted(OracleNetwork):
    """Keeps how the network is asked."""

    def __init__(self, field: CodeField) -> None:
        super().__init__(field)
        self.widths: list[int] = []
        self.told: list[Any] = []
        self.hints: list[Tensor] = []
        self.slots: list[Tensor] = []
        self.lengths: list[int] = []

    def start(self, batch: int, n: int, condition: Any, hints: Tensor | None = None) -> Any:
        self.told.append(condition)
        assert hints is not None
        self.hints.append(hints)
        return super().start(batch, n, condition, hints)

    def forward(self, cache: Any, targets: Tensor, length: Tensor) -> Tensor:
        self.widths.append(targets.shape[1])
        return super().forward(cache, targets, length)

    def train_states(
        self, vectors: Tensor, order: Tensor, condition: Any, hints: Tensor | None = None, slots: Tensor | None = None
    ) -> Tensor:
        assert slots is not None and hints is not None
        self.told.append(condition)
        self.hints.append(hints)
        self.slots.append(slots)
        self.lengths.append(order.shape[1])
        return torch.zeros(*slots.shape, self.symbols)


def noted() -> tuple[TokenModel, Noted]:
    network = Noted(FIELDS["phases"])
    return TokenModel(network, SymbolTokenizer(3, 1), axes="tzyx").eval(), network


def pixels(shape: tuple[int, ...], count: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 3, (count, 1, *shape), generator=generator).float() - 1


def test_the_network_is_told_time_and_height_and_no_fill() -> None:
    model, network = noted()
    x = pixels((3, 1, 1, 3))
    known = torch.zeros_like(x, dtype=torch.bool)
    known[:, :, 0] = True
    for condition in (None, {"fill": x, "phase": torch.rand(2, 3, 1)}):
        model.sample(x * known, known, condition=condition, rng=streams(2), candidates=0)
        assert network.told[-1]["time"].shape == network.told[-1]["height"].shape == (2, 3, 1)
        assert "fill" not in network.told[-1]


@pytest.mark.parametrize("order", ["any", "forced", "orient", "smc"])
def test_what_lies_ahead_is_no_hint(order: str) -> None:
    """A fill that was made of the whole scan knows what lies ahead, too."""
    model, network = noted()
    x, other = pixels((3, 1, 1, 3)), pixels((3, 1, 1, 3), seed=1)
    known = torch.zeros_like(x, dtype=torch.bool)
    known[:, :, 2] = True
    for y, fill in ((x, x), (torch.where(known, -x, x), x), (x, other)):
        told = {"fill": torch.where(known, y, fill)}
        model.sample(y * known, known, condition=told, rng=streams(2), order=order, candidates=0)
    one, other_known, other_fill = network.hints
    assert torch.equal(one, other_known) == torch.equal(one, other_fill) == (order != "any")


@pytest.mark.parametrize("training", [False, True])
def test_hidden_voxels_are_not_used(training: bool) -> None:
    model, network = noted()
    x = pixels((5, 3, 4, 4), 12)
    known = training_known((5, 3, 4, 4), streams(12))
    seen = known[:, None]
    for y in (x, torch.where(seen, x, -x), torch.where(seen, -x, x)):
        if training:
            model.loss(y, rng=streams(12))
        else:
            network.hints.append(model.hints(y, seen))
    one, other_hidden, other_known = network.hints
    assert torch.equal(one, other_hidden) and not torch.equal(one, other_known)


def test_training_asks_for_some_hidden_slots_and_computes_no_more_than_them() -> None:
    model, network = noted()
    x = pixels((8, 2, 16, 16), 1)
    n, seen, cut = 8 * 2 * 16 * 16, [], 0
    for seed in range(30):
        model.loss(x, rng=streams(1, seed))
        known = int(training_known((8, 2, 16, 16), streams(1, seed)).sum())
        slots, length = network.slots[-1], network.lengths[-1]
        assert slots.shape == (1, ASKED) and len(slots.unique()) == ASKED and length == int(slots.max()) + 1 <= n
        assert int((slots >= known).sum()) == min(ASKED, n - known)
        seen.append((slots[0] - known)[slots[0] >= known] / (n - known))
        cut += length < 0.9 * n
    assert cut > 10
    share = torch.cat(seen)
    assert 0.25 < float(share.mean()) < 0.5 and float(share.max()) > 0.9 and float(share.min()) < 0.01


def test_a_block_of_which_all_is_known_teaches_nothing() -> None:
    model, _ = noted()
    kit_order = kit.training_order
    try:
        kit.training_order = lambda grid, share, rng: (torch.arange(9)[None], torch.tensor([9]))
        assert float(model.loss(pixels((3, 1, 1, 3), 1), rng=streams(1))) == 0
    finally:
        kit.training_order = kit_order


@pytest.mark.parametrize(("shape", "many"), [((3, 1, 1, 3), 8), ((5, 3, 16, 16), 96)])
def test_a_block_is_drawn_by_fortieths(shape: tuple[int, ...], many: int) -> None:
    field = CodeField.random((1, 2), 3, 1)
    network = Noted(field)
    network.n = int(np.prod(shape))
    network.extend = lambda *_: None  # type: ignore[method-assign]
    network.law = lambda digits, targets: torch.zeros(*targets.shape, 3)  # type: ignore[method-assign]
    network.start = lambda batch, n, *_: super(Noted, network).start(batch, n, None)  # type: ignore[method-assign]
    network.forward = lambda cache, targets, length: (  # type: ignore[method-assign]
        network.widths.append(targets.shape[1]),
        torch.zeros(*targets.shape, 3),
    )[1]
    model = TokenModel(network, SymbolTokenizer(3, 1), axes="tzyx").eval()
    x = pixels(shape, 1)
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    model.sample(x * known, known, rng=streams(1), candidates=2)
    assert set(network.widths) == {many}
    if many > 8:
        assert len(network.widths) <= 24  # half of 40, and a short ramp
    model.sample(x * known, known, rng=streams(1), candidates=2, parallel=5)
    assert network.widths[-1] == 5


def test_a_long_prefill_is_in_few_calls_of_one_shape() -> None:
    calls: list[int] = []

    class Counts:
        def extend(self, cache: None, vectors: Tensor, positions: Tensor, slots: Tensor) -> None:
            calls.append(slots.shape[1])

    order = torch.arange(3840)[None]
    prefill(Counts(), None, torch.zeros(1, 3840, 1), order, 1000)  # type: ignore[arg-type]
    assert calls == [256] * 4
    calls.clear()
    prefill(Counts(), None, torch.zeros(1, 256, 1), order[:, :256], 100)  # type: ignore[arg-type]
    assert calls == [32] * 4


@pytest.mark.parametrize(("axes", "shape"), [("tyx", (3,)), ("zyx", (3,)), ("tzyx", (3, 1))])
def test_items_of_any_axes_come_back_in_their_shape(axes: Any, shape: tuple[int, ...]) -> None:
    model = TokenModel(OracleNetwork(FIELDS["phases"]), SymbolTokenizer(3, 1), axes=axes).eval()
    assert model.prior is not None
    model.prior.log_factor.data.fill_(-torch.inf)
    x = pixels((*shape, 1, 3))
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    drawn = model.sample(x * known, known, rng=streams(2), candidates=0)
    assert drawn.shape == x.shape
    assert model.loss(x, rng=streams(2)).isfinite()
