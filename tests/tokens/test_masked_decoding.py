"""Masked decoding against exact posteriors, and its bookkeeping."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cmrgz.calls import CallCounter
from cmrgz.model import Condition
from cmrgz.rng import Streams
from cmrgz.testing.oracles import (
    CodeField,
    OracleMaskedNetwork,
    SymbolTokenizer,
    draw_hidden,
    frequencies,
    masked_oracle_model,
    total_variation,
    variation_bound,
)
from cmrgz.tokens import masked_decoding
from cmrgz.tokens.drawer import Truncation
from cmrgz.tokens.masked_codes import MaskedTokenModel
from cmrgz.tokens.schedule import automatic_steps

COUNT = 5000
FIELDS = {
    "3x3": CodeField.random((3, 3), 3, 1, strength=0.7, seed=5),
    "2x3, two levels": CodeField.random((2, 3), 2, 2, strength=0.7, seed=4),
}
MODELS = {name: masked_oracle_model(field) for name, field in FIELDS.items()}
every_field = pytest.mark.parametrize("name", FIELDS)
ONE_A_STEP = {"steps": 99}
WAYS: list[dict[str, Any]] = [
    {},
    {"order": "random", "schedule": "linear"},
    {"order": "confidence"},
    {"entropy_bound": 1.5},
    {"order": "confidence", "entropy_bound": 1.5},
    {"remask": 2},
    {"preset": "paper_like"},
    {"output": "mean"},
]
every_way = pytest.mark.parametrize("way", WAYS, ids=str)


def truth(field: CodeField) -> np.ndarray:
    return field.sample(1, np.random.default_rng(0))[0]


def mask(field: CodeField, kind: str) -> np.ndarray:
    row, half = np.arange(field.n) // field.grid[1], field.grid[0] // 2
    known = {"bottom": row < field.grid[0] - half, "top": row >= field.grid[0] - half}
    return known.get(kind, np.arange(field.n) % 2 == 1)


def drawn(name: str, kind: str, **options: Any) -> np.ndarray:
    field = FIELDS[name]
    known, rng = mask(field, kind), Streams(0, [(i,) for i in range(COUNT)])
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
@pytest.mark.parametrize("way", [{}, {"order": "random"}, {"entropy_bound": 1e-9}], ids=str)
def test_one_position_a_step_draws_from_the_posterior(name: str, kind: str, way: dict[str, Any]) -> None:
    assert excess(name, kind, **ONE_A_STEP, **way) < 1


@every_field
def test_one_step_draws_the_product_of_the_marginals(name: str) -> None:
    field = FIELDS[name]
    posterior = field.posterior(truth(field), mask(field, "top"))
    axes = range(posterior.ndim)
    product = np.ones(())
    for axis in axes:
        product = product[..., None] * posterior.sum(tuple(a for a in axes if a != axis))
    assert excess(name, "top", product, steps=1) < 1 < 1.5 < excess(name, "top", steps=1)


@every_field
def test_sweeps_repair_what_was_drawn_apart(name: str) -> None:
    apart, once, often = (excess(name, "top", steps=1, remask=sweeps) for sweeps in (0, 2, 8))
    assert often < 1.2 < apart and often < once < apart


@every_field
def test_sweeps_leave_the_posterior_alone(name: str) -> None:
    assert excess(name, "top", **ONE_A_STEP, remask=2) < 1


@every_field
def test_a_wider_bound_draws_more_apart(name: str) -> None:
    tight, wide = (excess(name, "top", entropy_bound=bound) for bound in (1e-9, 50.0))
    assert tight < 1 < 1.5 < wide


@pytest.mark.parametrize("way", [{"temperature": 1.3}, {"top_k": 2}, {"top_p": 0.9}], ids=str)
def test_these_tests_would_notice(way: dict[str, Any]) -> None:
    assert excess("3x3", "scattered", **ONE_A_STEP, **way) > 1.1


def test_a_likely_code_comes_first_without_noise() -> None:
    """The first position revealed is the one whose draw was the most likely; the others are drawn given it."""
    field = FIELDS["3x3"]
    model, network = recording(field)
    x, known = items(model, field)
    model.sample(x * known, known, rng=streams(len(x)), order="confidence", gumbel=0.0, **ONE_A_STEP)
    first, second = network.shown[:2]
    new = second & ~first
    assert torch.equal(new.sum(1), (~first).any(1).long())
    draw, every = model.drawer(field.n, 0, Truncation(), streams(len(x))), torch.arange(field.n).expand_as(first)
    score = draw.propose(network.features[0], every).score.masked_fill(first, -torch.inf)
    assert torch.equal(new.float().argmax(1)[~first.all(1)], score.argmax(1)[~first.all(1)])


class Recorder(OracleMaskedNetwork):
    """Notes what it is shown."""

    def __init__(self, field: CodeField) -> None:
        super().__init__(field)
        self.shown: list[Tensor] = []
        self.vectors: list[Tensor] = []
        self.features: list[Tensor] = []

    def forward(self, vectors: Tensor, shown: Tensor, condition: Condition | None, hints: Tensor | None) -> Tensor:
        features = super().forward(vectors, shown, condition, hints)
        self.shown.append(shown)
        self.vectors.append(vectors)
        self.features.append(features)
        return features


def recording(field: CodeField) -> tuple[MaskedTokenModel, Recorder]:
    network = Recorder(field)
    return MaskedTokenModel(network, SymbolTokenizer(field.vocab, field.levels), 1.0).eval(), network


def streams(count: int, seed: int = 0) -> Streams:
    return Streams(seed, [(i,) for i in range(count)])


def items(model: MaskedTokenModel, field: CodeField, count: int = 7) -> tuple[Tensor, Tensor]:
    """Return items, and which pixels are known of each: every share, none and all included."""
    tokenizer = model.tokenizer
    assert isinstance(tokenizer, SymbolTokenizer)
    symbols = torch.from_numpy(field.sample(count, np.random.default_rng(2)))
    place = torch.stack([torch.randperm(field.n, generator=torch.Generator().manual_seed(i)) for i in range(count)])
    known = place < torch.linspace(0, field.n, count).round()[:, None]
    return (part.view(count, 1, *field.grid) for part in (tokenizer.pixels(symbols), known))  # type: ignore[return-value]


@every_field
@every_way
def test_an_item_is_drawn_as_it_is_among_others(name: str, way: dict[str, Any]) -> None:
    """Counts are per item: with neighbours of any share known the bits are those with neighbours like itself."""
    model = MODELS[name]
    x, known = items(model, FIELDS[name])
    together = model.sample(x * known, known, rng=streams(len(x)), **way)
    for i in range(len(x)):
        same = [part[i : i + 1].expand_as(part) for part in (x * known, known)]
        alone = model.sample(same[0], same[1], rng=Streams(0, [(i,)] * len(x)), **way)
        assert torch.equal(alone[0], together[i])


@every_field
@every_way
def test_hidden_values_are_not_used_and_known_ones_come_back(name: str, way: dict[str, Any]) -> None:
    model = MODELS[name]
    x, known = items(model, FIELDS[name])
    y = model.sample(torch.where(known, x, 0.0), known, rng=streams(len(x)), **way)
    assert torch.equal(model.sample(torch.where(known, x, -x.flip(0)), known, rng=streams(len(x)), **way), y)
    assert torch.equal(y[known], x[known])


@every_way
def test_what_is_shown_grows_and_was_drawn(way: dict[str, Any]) -> None:
    """No position is shown that is not known or drawn before, none but a sweep hides one again, no known one ever."""
    field = FIELDS["2x3, two levels"]
    model, network = recording(field)
    x, known = items(model, field)
    model.sample(x * known, known, rng=streams(len(x)), **way)
    given = known.flatten(1)
    assert torch.equal(network.shown[0], given)
    assert all((shown | ~given).all() for shown in network.shown)
    if "remask" not in way:
        for before, after in zip(network.shown, network.shown[1:], strict=False):
            assert (after | ~before).all()
            assert ((after & ~before).any(1) | before.all(1)).all()  # who has hidden ones draws some


def test_the_steps_are_those_of_the_item_with_most_hidden() -> None:
    model = MODELS["3x3"]
    x, known = items(model, FIELDS["3x3"])
    for way, expected in [({}, int(automatic_steps(torch.tensor([9])))), ({"steps": 2}, 2), (ONE_A_STEP, 9)]:
        with CallCounter(model) as calls:
            model.sample(x * known, known, rng=streams(len(x)), **way)
        assert calls.count == expected


def test_the_preset_overrides_what_it_stands_for() -> None:
    model = MODELS["3x3"]
    x, known = items(model, FIELDS["3x3"])
    other = {"order": "random", "remask": 2, "temperature": 0.0, "output": "mean", "entropy_bound": 3.0, "steps": 1}
    draws = [model.sample(x * known, known, rng=streams(len(x)), preset="paper_like", **way) for way in ({}, other)]
    assert torch.equal(*draws)


@pytest.mark.parametrize("way", [{}, {"remask": 3}, {"entropy_bound": 1.5}, {"output": "mean"}], ids=str)
def test_progress_grows_to_its_total(way: dict[str, Any]) -> None:
    told: list[tuple[int, int]] = []
    model = MODELS["3x3"]
    x, known = items(model, FIELDS["3x3"])
    model.sample(x, known, rng=streams(len(x)), progress=lambda *both: told.append(both), **way)
    done, totals = zip(*told, strict=True)
    assert len(set(totals)) == 1 and done[-1] == totals[0]
    assert all(a < b for a, b in zip((0, *done), done, strict=False))


def test_what_is_known_everywhere_needs_no_call() -> None:
    model = MODELS["3x3"]
    x, _ = items(model, FIELDS["3x3"])
    with CallCounter(model) as calls:
        assert torch.equal(model.sample(x, torch.ones_like(x, dtype=torch.bool), rng=streams(len(x))), x)
    assert calls.count == 0


def test_draws_have_one_shape_whatever_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked_decoding, "CHUNK", 2)
    model, network = recording(FIELDS["3x3"])
    shapes = set()
    frozen = network.logits
    network.logits = lambda f, c, level: shapes.add(f.shape) or frozen(f, c, level)  # type: ignore[assignment, method-assign]
    x, known = items(model, FIELDS["3x3"])
    chunked = model.sample(x * known, known, rng=streams(len(x)), steps=2)
    assert shapes == {(len(x), 2, 3)}
    monkeypatch.setattr(masked_decoding, "CHUNK", 32)
    assert torch.equal(model.sample(x * known, known, rng=streams(len(x)), steps=2), chunked)


def test_expected_vectors_are_those_of_the_marginals() -> None:
    field = FIELDS["2x3, two levels"]
    model, network = recording(field)
    x, known = items(model, field)
    draw = model.drawer(field.n, 0, Truncation(), streams(len(x)))
    positions = torch.arange(field.n).expand(len(x), -1)
    states = network(model.encode(x)[0], known.flatten(1), None, None)
    first = draw.mean(states, positions)
    share = states.exp().unflatten(-1, (2, 2)).sum(-1)
    torch.testing.assert_close(first[..., :2].double(), share, atol=1e-5, rtol=0)  # the first level has no noise
    many = model.drawer(field.n, 0, Truncation(), streams(400))
    one = many.mean(states[:1].expand(400, -1, -1), positions[:1].expand(400, -1)).mean(0)
    torch.testing.assert_close(one[:, 2:].double(), states[0].exp().unflatten(-1, (2, 2)).sum(-2), atol=0.02, rtol=0)
