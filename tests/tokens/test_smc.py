"""Particles against exact posteriors, the best orientation, and what both depend on."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cmrgz.errors import UsageError
from cmrgz.rng import Streams
from cmrgz.testing.oracles import (
    CodeField,
    OracleCache,
    OracleNetwork,
    SymbolTokenizer,
    draw_hidden,
    frequencies,
    oracle_model,
    total_variation,
    variation_bound,
)
from cmrgz.tokens.causal import TokenModel
from cmrgz.tokens.orders import best_orientation, orientations

COUNT = 3000
FIELDS = {
    "3x3": CodeField.random((3, 3), 3, 1, strength=0.7, seed=5),
    "2x3, two levels": CodeField.random((2, 3), 2, 2, strength=0.7, seed=4),
}
every_field = pytest.mark.parametrize("name", FIELDS)


def truth(field: CodeField) -> np.ndarray:
    return field.sample(1, np.random.default_rng(0))[0]


def mask(field: CodeField, kind: str) -> np.ndarray:
    row, half = np.arange(field.n) // field.grid[1], field.grid[0] // 2
    known = {"bottom": row < field.grid[0] - half, "top": row >= field.grid[0] - half}
    return known.get(kind, np.arange(field.n) % 2 == 1)


def excess(name: str, kind: str, **options: Any) -> float:
    """Return the total variation to the posterior over what exact draws stay below."""
    field = FIELDS[name]
    known, rng = mask(field, kind), Streams(0, [(i,) for i in range(COUNT)])
    symbols = draw_hidden(oracle_model(field), truth(field), known, field.grid, rng, **options)
    law = field.posterior(truth(field), known)
    bound = variation_bound(law, COUNT, np.random.default_rng(1))
    return total_variation(frequencies(symbols, law.shape), law) / bound


@every_field
@pytest.mark.parametrize("kind", ["scattered", "top"])
def test_particles_lie_between_forcing_and_the_posterior(name: str, kind: str) -> None:
    forced, few, many = (
        excess(name, kind, **way)
        for way in ({"order": "forced"}, {"order": "smc", "particles": 4}, {"order": "smc", "particles": 48})
    )
    assert many < 1.2 < 1.4 < forced and few < forced


@every_field
def test_particles_are_exact_where_raster_order_is(name: str) -> None:
    assert excess(name, "bottom", order="smc", particles=2) < 1


@every_field
@pytest.mark.parametrize("kind", ["top", "bottom"])
def test_the_best_orientation_makes_a_prefix_of_half_that_is_known(name: str, kind: str) -> None:
    assert excess(name, kind, order="orient") < 1


def test_the_weights_are_those_of_the_model_whatever_the_temperature() -> None:
    """Drawn cold, all particles are one: weighing changes nothing, and the result is that of forcing."""
    field = FIELDS["3x3"]
    known, rng = mask(field, "scattered"), [(i,) for i in range(4)]
    cold = [
        draw_hidden(oracle_model(field), truth(field), known, field.grid, Streams(0, rng), order=order, temperature=0.0)
        for order in ("smc", "forced")
    ]
    assert np.array_equal(*cold)


def items(field: CodeField, count: int = 6) -> tuple[Tensor, Tensor]:
    symbols = torch.from_numpy(field.sample(count, np.random.default_rng(2)))
    place = torch.stack([torch.randperm(field.n, generator=torch.Generator().manual_seed(i)) for i in range(count)])
    known = place < torch.linspace(0, field.n, count).round()[:, None]
    pixels = SymbolTokenizer(field.vocab, field.levels).pixels(symbols)
    return pixels.view(count, 1, *field.grid), known.view(count, 1, *field.grid)


@every_field
@pytest.mark.parametrize("way", [{"order": "smc", "particles": 3}, {"order": "orient"}, {"output": "mean"}], ids=str)
def test_an_item_is_drawn_as_it_is_among_others(name: str, way: dict[str, Any]) -> None:
    model = oracle_model(FIELDS[name])
    x, known = items(FIELDS[name])
    together = model.sample(x * known, known, rng=Streams(0, [(i,) for i in range(6)]), **way)
    assert torch.equal(together[known], x[known])
    other = model.sample(torch.where(known, x, -x), known, rng=Streams(0, [(i,) for i in range(6)]), **way)
    assert torch.equal(other, together)
    for i in range(6):
        given = [part[i : i + 1].expand_as(part) for part in (x * known, known)]
        alone = model.sample(given[0], given[1], rng=Streams(0, [(i,)] * 6), **way)
        assert torch.equal(alone[0], together[i])


def test_a_particle_takes_its_past_with_it() -> None:
    """After resampling, what the network has cached of a particle is what was drawn for it."""

    class Checked(OracleNetwork):
        """Keeps the last cache."""

        def start(self, *given: Any) -> OracleCache:
            self.cache = super().start(*given)
            return self.cache

    field = FIELDS["3x3"]
    network = Checked(field)
    model = TokenModel(network, SymbolTokenizer(3, 1)).eval()
    x, known = items(field)
    y = model.sample(x * known, known, rng=Streams(0, [(i,) for i in range(6)]), order="smc", particles=5)
    tokenizer = model.tokenizer
    assert isinstance(tokenizer, SymbolTokenizer)
    drawn = tokenizer.symbols(y).flatten(1)
    for item in range(6):
        rows = network.cache.symbols[item * 5 : item * 5 + 5, :9]
        assert known[item].all() or (rows == drawn[item]).all(1).any()


def test_progress_grows_to_its_total() -> None:
    told: list[tuple[int, int]] = []
    x, known = items(FIELDS["3x3"])
    rng = Streams(0, [(i,) for i in range(6)])
    oracle_model(FIELDS["3x3"]).sample(x, known, rng=rng, order="smc", progress=lambda *both: told.append(both))
    assert [done for done, _ in told] == list(range(1, 10)) and {total for _, total in told} == {9}


def test_expected_vectors_have_no_order() -> None:
    TokenModel.check_options({}, {"output": "mean"})
    with pytest.raises(UsageError, match="forced"):
        TokenModel.check_options({}, {"output": "mean", "order": "forced"})


def test_the_preset_overrides_what_it_stands_for() -> None:
    field = FIELDS["3x3"]
    given = (oracle_model(field), truth(field), mask(field, "scattered"), field.grid)
    rng = [(i,) for i in range(50)]
    preset = draw_hidden(*given, Streams(0, rng), preset="paper_like", output="mean", order="any", temperature=0.0)
    same = draw_hidden(*given, Streams(0, rng), order="forced", top_k=50, parallel=1)
    assert np.array_equal(preset, same)


def test_there_are_eight_orientations() -> None:
    ways = orientations((3, 3))
    assert len(ways.unique(dim=0)) == 8
    assert all(row.sort().values.tolist() == list(range(9)) for row in ways)
    assert {row[0] for row in ways.tolist()} == {0, 2, 6, 8}


@pytest.mark.parametrize(
    ("known", "first"),
    [("top", [0, 1, 2, 3]), ("bottom", [12, 13, 14, 15]), ("left", [0, 4, 8, 12]), ("right", [3, 7, 11, 15])],
)
def test_an_orientation_starts_where_most_is_known(known: str, first: list[int]) -> None:
    field = torch.zeros(4, 4, dtype=torch.bool)
    field[{"top": 0, "bottom": 3}.get(known, slice(None)), {"left": 0, "right": 3}.get(known, slice(None))] = True
    order = best_orientation(field.view(1, 16), (4, 4), Streams(0, [(0,)]))
    assert sorted(order[0, :4].tolist()) == first
