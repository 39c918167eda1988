"""The decoding loop against exact posteriors, and its bookkeeping."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cmrgz.errors import PluginError
from cmrgz.rng import Streams
from cmrgz.testing.oracles import (
    CodeField,
    OracleCache,
    OracleNetwork,
    draw_hidden,
    frequencies,
    oracle_model,
    total_variation,
    variation_bound,
)
from cmrgz.tokens import causal_decoding
from cmrgz.tokens.causal_decoding import SEEN_PER_DRAW, Given, decode, reveal
from cmrgz.tokens.orders import known_first
from cmrgz.tokens.sampling import draw

COUNT = 6000

FIELDS = {
    "3x3": CodeField.random((3, 3), 3, 1, strength=0.7, seed=5),
    "2x3, two levels": CodeField.random((2, 3), 2, 2, strength=0.7, seed=4),
}
"""Chosen for bottom halves that say a lot about the top half: see the power of the tests below."""
MODELS = {name: oracle_model(field) for name, field in FIELDS.items()}
every_field = pytest.mark.parametrize("name", FIELDS)


def truth(field: CodeField) -> np.ndarray:
    return field.sample(1, np.random.default_rng(0))[0]


def mask(field: CodeField, kind: str) -> np.ndarray:
    """Return which positions (n,) are known; half of the rows, rounded down, are evidence above or below a hole."""
    row, half = np.arange(field.n) // field.grid[1], field.grid[0] // 2
    known = {"bottom": row < field.grid[0] - half, "top": row >= field.grid[0] - half}
    return known.get(kind, np.arange(field.n) % 2 == 1)


def drawn(name: str, kind: str, seed: int = 0, **options: Any) -> np.ndarray:
    """Return the frequencies of the hidden symbols over `COUNT` draws."""
    field = FIELDS[name]
    known, rng = mask(field, kind), Streams(seed, [(i,) for i in range(COUNT)])
    symbols = draw_hidden(MODELS[name], truth(field), known, field.grid, rng, **options)
    return frequencies(symbols, (field.symbols,) * int((~known).sum()))


def excess(name: str, kind: str, law: np.ndarray | None = None, **options: Any) -> float:
    """Return the total variation to a law, the posterior by default, over what exact draws stay below."""
    field = FIELDS[name]
    law = field.posterior(truth(field), mask(field, kind)) if law is None else law
    bound = variation_bound(law, COUNT, np.random.default_rng(1))
    return total_variation(drawn(name, kind, **options), law) / bound


@every_field
@pytest.mark.parametrize("kind", ["scattered", "top", "bottom"])
def test_any_order_draws_from_the_posterior(name: str, kind: str) -> None:
    assert excess(name, kind) < 1


@every_field
def test_raster_order_draws_from_the_posterior_of_what_lies_below(name: str) -> None:
    assert excess(name, "bottom", order="forced") < 1


@every_field
def test_raster_order_draws_a_hidden_top_as_if_nothing_were_known(name: str) -> None:
    field = FIELDS[name]
    known = mask(field, "top")
    posterior, prior = field.posterior(truth(field), known), field.joint.sum(tuple(np.flatnonzero(known)))
    assert total_variation(prior, posterior) > 0.3
    assert total_variation(drawn(name, "top", order="forced"), posterior) > 0.3
    assert excess(name, "top", prior, order="forced") < 1


def raster_law(field: CodeField, symbols: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return what forcing known codes row by row draws: the product of p(hidden | all before it), listed."""
    law = np.ones(())
    for place in np.flatnonzero(~known):
        upto = field.joint.sum(tuple(range(place + 1, field.n)))
        share = upto / upto.sum(-1, keepdims=True)
        own = share[tuple(int(symbols[i]) if known[i] else slice(None) for i in range(place + 1))]
        law = law[..., None] * own
    return law


@every_field
@pytest.mark.parametrize("kind", ["scattered", "top"])
def test_raster_order_forces_what_is_known_where_it_comes(name: str, kind: str) -> None:
    law = raster_law(FIELDS[name], truth(FIELDS[name]), mask(FIELDS[name], kind))
    assert law.sum() == pytest.approx(1)
    assert excess(name, kind, law, order="forced") < 1


@every_field
@pytest.mark.parametrize("options", [{"temperature": 1.3}, {"top_p": 0.9}, {"order": "forced"}], ids=str)
def test_these_tests_would_notice(name: str, options: dict[str, Any]) -> None:
    assert excess(name, "scattered", **options) > 1.1


def test_with_nothing_known_the_joint_is_drawn() -> None:
    field = CodeField.random((2, 2), 3, 1, strength=1.0, seed=2)
    for order in ("any", "forced"):
        rng = Streams(0, [(i,) for i in range(COUNT)])
        got = draw_hidden(oracle_model(field), truth(field), np.zeros(4, bool), field.grid, rng, order=order)
        bound = variation_bound(field.joint, COUNT, np.random.default_rng(1))
        assert total_variation(frequencies(got, field.joint.shape), field.joint) < bound


def test_temperature_zero_takes_the_best_code_at_each_turn() -> None:
    field, model = FIELDS["3x3"], MODELS["3x3"]
    known = mask(field, "bottom")
    got = draw_hidden(model, truth(field), known, field.grid, Streams(0, [(0,)]), order="forced", temperature=0.0)
    symbols = truth(field)
    for place in np.flatnonzero(~known):
        seen = np.arange(field.n) < place
        later = tuple(range(1, field.n - int(place)))
        symbols[place] = field.posterior(symbols, seen).sum(later).argmax()
    assert got[0].tolist() == symbols[~known].tolist()


@pytest.mark.parametrize(("name", "kind"), [("3x3", "bottom"), ("2x3, two levels", "top")])
def test_positions_of_one_step_are_drawn_from_their_own_marginals(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causal_decoding, "SEEN_PER_DRAW", 1)  # three known, three hidden: all in one step
    field = FIELDS[name]
    posterior = field.posterior(truth(field), mask(field, kind))
    a, b, c = (posterior.sum(axes) for axes in ((1, 2), (0, 2), (0, 1)))
    product = np.einsum("i,j,k->ijk", a, b, c)
    assert total_variation(product, posterior) > 0.05
    assert excess(name, kind, product, parallel=9) < 1
    assert excess(name, kind, parallel=9) > 1.5


def test_the_error_grows_with_the_positions_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal_decoding, "SEEN_PER_DRAW", 1)
    one, two, all_ = (excess("3x3", "top", parallel=parallel) for parallel in (1, 2, 9))
    assert one < 1 < two < all_


def test_few_are_drawn_one_by_one_whatever_parallel_is() -> None:
    assert np.array_equal(drawn("3x3", "scattered", parallel=16), drawn("3x3", "scattered", parallel=1))


@given(st.lists(st.integers(0, 300), min_size=1, max_size=6), st.integers(0, 40), st.integers(1, 40))
@settings(deadline=None, max_examples=100)
def test_reveal_counts(prefix: list[int], more: int, parallel: int) -> None:
    n = max(prefix) + more
    cursors = reveal(torch.tensor(prefix), n, parallel)
    count = cursors.diff(dim=0)
    assert cursors[0].tolist() == prefix and (cursors[-1] == n).all()
    assert count.sum(0).tolist() == [n - p for p in prefix]
    assert (count <= (cursors[:-1] // SEEN_PER_DRAW).clamp(min=1)).all() and (count <= parallel).all()
    assert ((count > 0) | (cursors[:-1] == n)).all()  # nobody waits for a neighbour
    assert (count.sum(1) > 0).all()
    for item, start in enumerate(prefix):
        alone = reveal(torch.tensor([start]), n, parallel)[:, 0]
        assert cursors[: len(alone), item].tolist() == alone.tolist()


class Recorder(OracleNetwork):
    """Notes the calls, and spoils what it says of places that are not drawn."""

    def __init__(self, field: CodeField, parallel: int, spoil: bool = False) -> None:
        super().__init__(field)
        self.parallel, self.spoil = parallel, spoil
        self.lengths: list[list[int]] = []
        self.written: list[list[list[int]]] = []

    def extend(self, cache: OracleCache, vectors: Tensor, positions: Tensor, slots: Tensor) -> None:
        self.written.append(slots.tolist())
        super().extend(cache, vectors, positions, slots)

    def forward(self, cache: OracleCache, targets: Tensor, length: Tensor) -> Tensor:
        self.lengths.append(length.tolist())
        features = super().forward(cache, targets, length)
        end = (length + (length // causal_decoding.SEEN_PER_DRAW).clamp(1, self.parallel)).clamp(max=self.n)
        idle = length[:, None] + torch.arange(targets.shape[1]) >= end[:, None]
        return features.masked_fill(idle[..., None], torch.nan) if self.spoil else features


def run(
    known: Tensor, parallel: int, spoil: bool = False, hidden_value: float = 0.0, **options: Any
) -> tuple[Tensor, Tensor, Recorder]:
    """Decode grids of the 3x3 field from fixed numbers; returns the result, what was given and the network."""
    field = FIELDS["3x3"]
    network, b = Recorder(field, parallel, spoil), len(known)
    symbols = torch.from_numpy(field.sample(b, np.random.default_rng(4)))
    given = torch.nn.functional.one_hot(symbols, 3).float()
    vectors = torch.where(known[..., None], given, hidden_value)
    order = known_first(
        torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(i)) for i in range(b)]), known
    )
    u = torch.stack([torch.rand(9, generator=torch.Generator().manual_seed(100 + i)) for i in range(b)])

    def draw_vectors(features: Tensor, positions: Tensor) -> Tensor:
        hot = torch.nn.functional.one_hot(draw(features, u.gather(1, positions)), 3).float()
        return torch.where(features.isnan().any(-1, keepdim=True), torch.nan, hot)

    return decode(network, Given(vectors, known, order), draw_vectors, parallel, **options), given, network


def mixed(count: int = 6) -> Tensor:
    """Return (count, 9) known of every share, none and all included."""
    place = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(i)) for i in range(count)])
    return place < torch.linspace(0, 9, count).round()[:, None]


@pytest.mark.parametrize("parallel", [1, 2, 5])
def test_an_item_is_drawn_as_it_is_alone(parallel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal_decoding, "SEEN_PER_DRAW", 2)
    known = mixed()
    together, _, network = run(known, parallel)
    steps = torch.tensor(network.lengths)
    for i in range(len(known)):
        alone, _, single = run(known[i].expand_as(known), parallel)
        assert torch.equal(alone[i], together[i])
        own = torch.tensor(single.lengths).reshape(-1, len(known))[:, i]
        assert torch.equal(steps[: len(own), i], own) and (steps[len(own) :, i] == 9).all()


@pytest.mark.parametrize("parallel", [2, 5])
def test_places_that_are_not_drawn_change_nothing(parallel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal_decoding, "SEEN_PER_DRAW", 2)
    clean, _, _ = run(mixed(), parallel)
    spoilt, _, network = run(mixed(), parallel, spoil=True)
    assert torch.equal(clean, spoilt)
    assert any(slot == 9 for call in network.written for row in call for slot in row)  # there were such places


@pytest.mark.parametrize("parallel", [1, 4])
def test_what_is_known_comes_back_and_what_is_hidden_is_not_read(parallel: int) -> None:
    known = mixed()
    result, given_, _ = run(known, parallel)
    assert torch.equal(result[known], given_[known])
    assert torch.equal(run(known, parallel, hidden_value=torch.nan)[0], result)
    assert (result.sum(-1) == 1).all()


def test_a_slot_is_written_before_it_is_seen_and_once() -> None:
    known = mixed()
    _, _, network = run(known, 3)
    prefix = known.sum(1).tolist()
    for i, start in enumerate(prefix):
        later = [slot for call in network.written[1:] for slot in call[i] if slot < 9]
        assert later == sorted(set(later)) and set(later) >= set(range(start, 8))


def test_what_is_known_everywhere_needs_no_call() -> None:
    result, given_, network = run(torch.ones(3, 9, dtype=torch.bool), 4)
    assert torch.equal(result, given_) and network.lengths == []


@pytest.mark.parametrize("parallel", [1, 4])
def test_progress_grows_to_the_number_of_hidden_positions(parallel: int) -> None:
    told: list[tuple[int, int]] = []
    known = mixed()
    run(known, parallel, progress=lambda done, total: told.append((done, total)))
    done, totals = zip(*told, strict=True)
    assert set(totals) == {int((~known).sum())} == {done[-1]}
    assert all(a < b for a, b in zip((0, *done), done, strict=False))


def test_an_exception_of_progress_cancels() -> None:
    calls: list[int] = []

    def stop(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(mixed(), 1, progress=stop)
    assert len(calls) == 2


def test_the_prefill_stops_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal_decoding, "PREFILL", 2)
    known = torch.arange(9) < torch.tensor([[0], [3], [1]])
    _, _, network = run(known, 1)
    assert [len(call[0]) for call in network.written[:2]] == [2, 2]
    assert all(len(call[0]) == 1 for call in network.written[2:])


def test_the_oracle_refuses_to_see_what_was_not_written() -> None:
    network = OracleNetwork(FIELDS["3x3"])
    cache = network.start(1, 9, None)
    network.extend(cache, torch.zeros(1, 1, 3), torch.tensor([[4]]), torch.tensor([[0]]))
    network(cache, torch.tensor([[0]]), torch.tensor([0]))
    with pytest.raises(PluginError, match="no content"):
        network(cache, torch.tensor([[0]]), torch.tensor([1]))
