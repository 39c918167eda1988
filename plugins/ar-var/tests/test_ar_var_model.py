"""ar-var as a model: what is forced, what leaks, training, drawing, saving."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cmrgz_ar_var import SPEC
from cmrgz_ar_var.cells import draw_hidden
from cmrgz_ar_var.model import ScaleModel
from torch import Tensor

from cmrgz import checkpoint, registry
from cmrgz.errors import UsageError
from cmrgz.latents import known_positions
from cmrgz.plugin import Extent
from cmrgz.rng import Streams
from cmrgz.tokens.drawer import Truncation
from cmrgz.tokens.sampling import draw
from cmrgz.tokens.scales import Coded, known_cells

CONDITION = {
    "phase": torch.tensor([0.1, torch.nan, 0.3, 0.5, 0.7, 0.9]),
    "slice": torch.tensor([0.1, 0.2, torch.nan, 0.5, 0.7, 0.9]),
    "row": torch.tensor([0.1, 0.2, 0.3, torch.nan, -0.7, 0.9]),
    "column": torch.tensor([0.1, 0.2, 0.3, 0.5, torch.nan, -0.9]),
}


def streams(count: int = 6, seed: int = 0) -> Streams:
    return Streams(seed, [(i,) for i in range(count)])


def sample(model: ScaleModel, x: Tensor, known: Tensor, rng: Streams | None = None, **options: Any) -> Tensor:
    condition = {name: value[: len(x)] for name, value in CONDITION.items()}
    return model.sample(torch.where(known, x, 0.0), known, condition=condition, rng=rng or streams(len(x)), **options)


def codes_of(model: ScaleModel, x: Tensor, known: Tensor, seed: int = 0) -> Coded:
    return model.draw_codes(x, known, CONDITION, streams(len(x), seed))


# ---------------------------------------------------------------------- what is known
def test_hidden_pixels_reach_no_code_of_any_scale(model: ScaleModel, items: Tensor, known: Tensor) -> None:
    """To the bit, whatever stands in them."""
    want = codes_of(model, items, known)
    for hidden in (-items, torch.full_like(items, 1e4), torch.full_like(items, torch.nan)):
        got = codes_of(model, torch.where(known, items, hidden), known)
        assert all(torch.equal(a, b) for a, b in zip(want.codes, got.codes, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(want.sums, got.sums, strict=True))


def test_the_codes_of_the_whole_item_would_leak(model: ScaleModel, items: Tensor, known: Tensor) -> None:
    """The positive control: at known positions, what `code` gives depends on hidden pixels."""
    given = known_positions(known, 2)
    a, b = (model.tokenizer.code(model.tokenizer.encode(torch.where(known, items, fill * items))) for fill in (1, -1))
    assert (a.codes[-1][given] != b.codes[-1][given]).any()


@torch.no_grad()
def test_known_cells_are_requantised_against_what_is_drawn(model: ScaleModel, items: Tensor, known: Tensor) -> None:
    tokenizer, given = model.tokenizer, known_positions(known, 2)
    exact, coded = tokenizer.encode(items), codes_of(model, items, known)
    before = torch.zeros_like(exact)
    for scale, stride in enumerate(tokenizer.strides):
        cells = known_cells(given, stride)
        want = tokenizer.quantise(tokenizer.pool(exact - before, scale), scale)
        assert torch.equal(coded.codes[scale][cells], want[cells])
        before = coded.sums[scale]
    assert cells.any() and not cells.all()
    plain = tokenizer.code(exact).codes[-1]
    partly = given & ~given.flatten(1).all(1)[:, None, None]
    assert (coded.codes[-1][partly] != plain[partly]).any(), "plain forcing would be the same thing here"


@torch.no_grad()
def test_codes_add_up_to_what_is_known(model: ScaleModel, items: Tensor, known: Tensor) -> None:
    """However far the drawn coarse codes are off: what is known comes nearer with every code of a known cell."""
    exact, coded = model.tokenizer.encode(items), codes_of(model, items, known)
    given = known_positions(known, 2)
    rest = [(exact - part).square().sum(1)[given] for part in coded.sums]
    before = rest[-2].mean()
    assert rest[-1].mean() < 0.8 * before
    codes = coded.codes[-1]
    total = coded.sums[-2] + model.tokenizer.cells(codes, 2)
    assert torch.equal(total, coded.sums[-1])


@torch.no_grad()
def test_everything_known_is_the_round_trip(model: ScaleModel, items: Tensor) -> None:
    tokenizer, every = model.tokenizer, torch.ones_like(items, dtype=torch.bool)
    coded, want = codes_of(model, items, every), tokenizer.code(tokenizer.encode(items))
    assert all(torch.equal(a, b) for a, b in zip(coded.codes, want.codes, strict=True))
    assert torch.equal(tokenizer.decode(coded.sums[-1]), tokenizer.reconstruct(items))
    assert torch.equal(sample(model, items, every), items), "and the draw has the known positions unquantised"


def test_nothing_known_is_generation(model: ScaleModel, items: Tensor) -> None:
    nothing = torch.zeros_like(items, dtype=torch.bool)
    assert torch.equal(sample(model, items, nothing), sample(model, -items, nothing))
    cut = nothing.clone()
    cut[:, :, 0, 0] = True  # of no position all pixels: only the hint changes
    given = codes_of(model, items, cut)
    assert not any(known_cells(known_positions(cut, 2), s).any() for s in (4, 2, 1))
    assert all(torch.equal(a, b) for a, b in zip(given.codes, codes_of(model, items, cut).codes, strict=True))


def test_known_pixels_come_back(model: ScaleModel, items: Tensor, known: Tensor) -> None:
    drawn = sample(model, items, known)
    at = known_positions(known, 2).repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None]
    assert torch.equal(drawn[at], items[at])  # this tokenizer is exact


# ---------------------------------------------------------------------- drawing
def slowly(model: ScaleModel, x: Tensor, known: Tensor, rng: Streams) -> Tensor:
    """Draw by definition: scale after scale, cell by cell, from uncached passes over all scales."""
    tokenizer, network = model.tokenizer, model.network
    evidence = model.evidence(x, known)
    fill, given = evidence.fill, evidence.given
    exact, total = tokenizer.encode(x), torch.zeros_like(fill)
    before = [torch.zeros_like(fill)] * len(tokenizer.strides)
    for scale, stride in enumerate(tokenizer.strides):
        before[scale] = total
        sights = [model.sight(part, evidence, i) for i, part in enumerate(before)]
        states = network.train_states(model.sight(fill, evidence, -1), sights, CONDITION)[scale]
        cells = known_cells(given, stride)
        codes = tokenizer.quantise(tokenizer.pool(exact - total, scale), scale)
        u = rng.uniform(cells[0].numel(), tokenizer.levels[scale])
        for item, row, column in (~cells).nonzero().tolist():
            place = row * cells.shape[2] + column
            for level in range(tokenizer.levels[scale]):
                logits = network.head(scale)(states[item, place], codes[item, row, column, :level], level)
                codes[item, row, column, level] = draw(logits, u[item, place, level])
        total = total + tokenizer.spread(tokenizer.cells(codes, scale), scale)
    return tokenizer.decode(torch.where(given[:, None], exact, total))


@torch.no_grad()
def test_a_draw_is_the_one_of_the_slow_definition(model: ScaleModel, items: Tensor, known: Tensor) -> None:
    torch.testing.assert_close(sample(model, items, known), slowly(model, items, known, streams()))


@pytest.mark.parametrize("chunk", [3, 32])
def test_an_item_does_not_depend_on_its_neighbours(
    model: ScaleModel, items: Tensor, known: Tensor, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a batch of the same size, to the bit, whatever the others are and however much of them is known."""
    monkeypatch.setattr("cmrgz_ar_var.cells.ON_CPU", chunk)
    together = sample(model, items, known)
    for i in range(6):
        condition = {name: value[i].expand(6) for name, value in CONDITION.items()}
        x, own = items[i].expand_as(items), known[i].expand_as(known)
        alone = model.sample(x, own, condition=condition, rng=Streams(0, [(i,)] * 6))
        assert torch.equal(alone[i], together[i])
        assert torch.equal(alone[0], together[i])  # nor on its place


def test_the_batch_size_changes_rounding_at_most(model: ScaleModel, items: Tensor, known: Tensor) -> None:
    torch.testing.assert_close(sample(model, items[:4], known[:4]), sample(model, items, known)[:4])


def test_only_hidden_cells_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """In calls of one shape, as many as the item with most hidden cells needs."""
    monkeypatch.setattr("cmrgz_ar_var.cells.ON_CPU", 4)
    known = torch.rand(3, 20, generator=torch.Generator().manual_seed(0)) < torch.tensor([[0.9], [0.7], [1.0]])
    shapes: list[tuple[int, ...]] = []

    def logits(states: Tensor, codes: Tensor, level: int) -> Tensor:
        shapes.append((*states.shape, level))
        return states.expand(*states.shape[:2], 20).clone()  # features are one-hot of the cell: draws its number

    states = torch.eye(20).mul(1e3).expand(3, -1, -1)
    codes = draw_hidden(logits, states, known, torch.rand(3, 20, 2), Truncation())
    most = int((~known).sum(1).max())
    assert shapes == [(3, 4, 20, level) for _ in range(-(-most // 4)) for level in range(2)]
    assert torch.equal(codes[~known], torch.arange(20).expand(3, -1)[~known][:, None].expand(-1, 2))


def test_all_randomness_is_that_of_the_streams(model: ScaleModel, items: Tensor, known: Tensor) -> None:
    before = torch.get_rng_state()
    y, loss = sample(model, items, known), model.train().loss(items, rng=streams())
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(123)
        assert torch.equal(sample(model, items, known), y) and torch.equal(model.loss(items, rng=streams()), loss)
    model.eval()
    assert not torch.equal(sample(model, items, known, streams(seed=1)), y)


def test_temperature_truncation_and_levels(model: ScaleModel, items: Tensor) -> None:
    nothing = torch.zeros_like(items, dtype=torch.bool)
    cold = sample(model, items, nothing, temperature=0.0)
    assert torch.equal(cold, sample(model, items, nothing, streams(seed=1), temperature=0.0))
    assert torch.equal(cold, sample(model, items, nothing, top_k=1))
    named = sample(model, items, nothing, preset="paper_like", temperature=0.0)  # the preset wins
    assert torch.equal(named, sample(model, items, nothing, top_k=900, top_p=0.96))
    assert torch.equal(cold, sample(model, items, nothing, top_p=1e-6))
    shallow = model.draw_codes(items, nothing, None, streams(), levels=1)
    assert [codes.shape[-1] for codes in shallow.codes] == [1, 2, 1]


def test_conditions_change_what_is_drawn(model: ScaleModel, items: Tensor) -> None:
    nothing = torch.zeros_like(items, dtype=torch.bool)
    phases = [{"phase": torch.full((6,), phase)} for phase in (0.1, 0.6)]
    draws = [model.sample(items * 0, nothing, condition=condition, rng=streams()) for condition in phases]
    assert not torch.equal(*draws)


def test_progress_counts_scales(model: ScaleModel, items: Tensor, known: Tensor) -> None:
    told: list[tuple[int, int]] = []
    sample(model, items, known, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


# ---------------------------------------------------------------------- training
def test_gradients_reach_every_weight_but_those_of_the_tokenizer(fresh: ScaleModel, items: Tensor) -> None:
    fresh.train()
    for seed in range(3):
        loss = fresh.loss(items, condition=CONDITION, rng=streams(seed=seed))
        assert loss.isfinite() and loss.ndim == 0
        loss.backward()
    for name, parameter in fresh.network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    assert all(p.grad is None and not p.requires_grad for p in fresh.tokenizer.parameters())


def test_two_items_are_learnt_by_heart(fresh: ScaleModel, items: Tensor) -> None:
    x = items[:2]
    optimiser = torch.optim.AdamW(fresh.network.parameters(), lr=5e-3)
    first = fresh.loss(x, rng=streams(2, seed=99)).detach()
    for step in range(120):
        optimiser.zero_grad()
        fresh.loss(x, rng=streams(2, seed=step)).backward()
        optimiser.step()
    assert fresh.loss(x, rng=streams(2, seed=99)).detach() < 0.25 * first


def test_known_cells_are_not_trained_on(model: ScaleModel, items: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss hangs on the codes of hidden cells alone."""
    seen: list[int] = []
    monkeypatch.setattr(
        "cmrgz_ar_var.model.level_loss",
        lambda head, states, codes, *more: seen.append(len(codes)) or states.sum() * 0,
    )
    given = torch.zeros(6, 8, 4, dtype=torch.bool)
    given[:, :4] = True  # the upper of two coarse cells
    monkeypatch.setattr("cmrgz_ar_var.model.training_known", lambda grid, rng: given)
    model.loss(items, rng=streams())
    assert seen == [6, 6 * 4, 6 * 16], "one coarse cell, its four, and its sixteen: half of all"


# ---------------------------------------------------------------------- keeping
def test_two_models_of_one_state_draw_the_same(
    fresh_model: Callable[[], ScaleModel], items: Tensor, known: Tensor
) -> None:
    model, other = fresh_model(), fresh_model()
    for parameter in other.network.parameters():
        parameter.data.zero_()
    other.load_state_dict(model.state_dict())
    assert torch.equal(sample(model, items, known), sample(other, items, known))


def test_a_checkpoint_draws_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("cmrgz_tokenizers")
    first = registry.tokenizers()["vq-ms"].require()
    small = dict(first.tiny)
    tokenizer = registry.build_tokenizer(first, small)
    model = registry.build_model(SPEC, tokenizer, SPEC.tiny)
    x = torch.rand(8, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for part in (tokenizer, model):
        part.fit(x, rng=Streams(0, [("fit",)]))
    meta = checkpoint.describe(SPEC, SPEC.tiny, extent=Extent(item=(64, 64)))
    inner = checkpoint.describe(first, small, extent=Extent(item=(64, 64)))
    checkpoint.save(tmp_path / "c", model, meta, tokenizer=checkpoint.Opened(tokenizer, inner))
    again, _ = checkpoint.open_model(tmp_path / "c")
    known = torch.arange(64).expand(8, 1, 64, 64) < 24
    draws = [m.eval().sample(x * known, known, rng=streams(8)) for m in (model, again)]
    assert torch.equal(*draws) and draws[0].isfinite().all()


@pytest.mark.parametrize(
    ("option", "value"),
    [("width", 100), ("heads", 5), ("layers", 0), ("grid", (6, 4)), ("patch", 3), ("free", -1)],
)
def test_what_cannot_be_built_is_refused(fresh: ScaleModel, option: str, value: Any) -> None:
    with pytest.raises(UsageError):
        registry.build_model(SPEC, fresh.tokenizer, {"grid": (8, 4), option: value})


def test_a_grid_that_cells_do_not_tile_is_refused(model: ScaleModel) -> None:
    x = torch.zeros(1, 1, 12, 8)
    with pytest.raises(UsageError, match="strides"):
        model.sample(x, x > 0, rng=streams(1))
