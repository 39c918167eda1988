"""ar-vq as a model: training, drawing, saving."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cmrgz_ar_vq import SPEC
from cmrgz_ar_vq.network import build
from torch import Tensor

from cmrgz import checkpoint, registry
from cmrgz.errors import UsageError
from cmrgz.latents import known_positions
from cmrgz.model import CodeTokenizer
from cmrgz.plugin import Extent
from cmrgz.rng import Streams
from cmrgz.tokens.causal import TokenModel, flat
from cmrgz.tokens.layers import feed_forward
from cmrgz.tokens.orders import any_order
from cmrgz.tokens.sampling import draw

CONDITION = {
    "phase": torch.tensor([0.1, torch.nan, 0.3, 0.5, 0.7, 0.9]),
    "slice": torch.tensor([0.1, 0.2, torch.nan, 0.5, 0.7, 0.9]),
    "row": torch.tensor([0.1, 0.2, 0.3, torch.nan, -0.7, 0.9]),
    "column": torch.tensor([0.1, 0.2, 0.3, 0.5, torch.nan, -0.9]),
}


def streams(count: int = 6, seed: int = 0) -> Streams:
    return Streams(seed, [(i,) for i in range(count)])


def known_of(x: Tensor, seed: int = 0) -> Tensor:
    """Return known pixels of items: whole patches, of every share from none to all."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.linspace(0, 1, len(x))[:, None, None, None]
    patch = torch.rand(len(x), 1, x.shape[2] // 2, x.shape[3] // 2, generator=generator) < share
    return patch.repeat_interleave(2, 2).repeat_interleave(2, 3)


def sample(model: TokenModel, x: Tensor, known: Tensor, rng: Streams | None = None, **options: Any) -> Tensor:
    condition = {name: value[: len(x)] for name, value in CONDITION.items()}
    return model.sample(x * known, known, condition=condition, rng=rng or streams(len(x)), **options)


def test_gradients_reach_every_weight_but_those_of_the_tokenizer(fresh: TokenModel, items: Tensor) -> None:
    fresh.train()
    for seed in range(3):
        loss = fresh.loss(items, condition=CONDITION, rng=streams(seed=seed))
        assert loss.isfinite() and loss.ndim == 0
        loss.backward()
    for name, parameter in fresh.network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    assert all(p.grad is None and not p.requires_grad for p in fresh.tokenizer.parameters())


@pytest.mark.parametrize("condition", [None, {}, {"phase": torch.full((6,), torch.nan)}], ids=str)
def test_the_loss_is_finite_without_conditions(model: TokenModel, items: Tensor, condition: Any) -> None:
    assert model.loss(items, condition=condition, rng=streams()).isfinite()


def test_two_items_are_learnt_by_heart(fresh: TokenModel, items: Tensor) -> None:
    x, rng = items[:2], streams(2, seed=99)
    optimiser = torch.optim.AdamW(fresh.network.parameters(), lr=5e-3)
    first = fresh.loss(x, rng=rng).detach()
    for step in range(120):
        optimiser.zero_grad()
        fresh.loss(x, rng=streams(2, seed=step)).backward()
        optimiser.step()
    assert fresh.loss(x, rng=streams(2, seed=99)).detach() < 0.25 * first


def test_training_starts_at_the_entropy_of_the_codes(fresh: TokenModel, items: Tensor) -> None:
    """Before the first step the logits are all but the frequencies that `fit` counted."""
    tokenizer = fresh.tokenizer
    assert isinstance(tokenizer, CodeTokenizer)
    model = build(tokenizer, (4, 5), width=32, heads=2, inner=48, content_layers=2, target_layers=2, free=4).eval()
    x = torch.cat([items + 0.1 * i for i in range(-3, 4)]).clamp(-1, 1)
    model.fit(x, rng=Streams(0, [("fit",)]))
    codes = tokenizer.quantise(tokenizer.encode(x)).flatten(0, 2)
    total, weight = 0.0, 0.0
    for level in range(3):
        count = torch.bincount(codes[:, level], minlength=12).double()
        share = count / count.sum()
        total += 0.75**level * float(-(share * share.clamp(min=1e-9).log()).sum())
        weight += 0.75**level
    with torch.no_grad():
        loss = torch.stack([model.loss(x, rng=streams(len(x), seed)) for seed in range(5)]).mean()
    assert float(loss) == pytest.approx(total / weight, abs=0.06)


def slowly(model: TokenModel, x: Tensor, known: Tensor, rng: Streams) -> Tensor:
    """Draw by definition: one position after another, each from an uncached pass over what came before it."""
    network, tokenizer = model.network, model.tokenizer
    grid = (x.shape[2] // tokenizer.patch, x.shape[3] // tokenizer.patch)
    given = known_positions(known, tokenizer.patch).flatten(1)
    order = any_order(given, grid, rng)
    u = rng.uniform(given.shape[1], tokenizer.levels)
    vectors = flat(tokenizer.encode(x)).clone()
    hints = model.hints(x, known)
    for item in range(len(x)):
        own = order[item : item + 1]
        for slot in range(int(given[item].sum()), own.shape[1]):
            place = own[0, slot]
            condition = {name: value[item : item + 1] for name, value in CONDITION.items()}
            states = network.train_states(vectors[item : item + 1, own[0]], own, condition, hints[item : item + 1])
            codes = torch.zeros(1, 0, dtype=torch.long)
            for level in range(tokenizer.levels):
                logits = network.logits(states[:, slot], codes, level)
                codes = torch.cat([codes, draw(logits, u[item, place, level][None])[:, None]], 1)
            vectors[item, place] = sum(tokenizer.embed(codes[0, level], level) for level in range(tokenizer.levels))
    return tokenizer.decode(vectors.transpose(1, 2).unflatten(2, grid))


@torch.no_grad()
def test_a_draw_is_the_one_of_the_slow_definition(model: TokenModel, items: Tensor) -> None:
    known = known_of(items)
    torch.testing.assert_close(sample(model, items, known), slowly(model, items * known, known, streams()))


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("order", ["any", "forced"])
def test_an_item_does_not_depend_on_its_neighbours(
    model: TokenModel, items: Tensor, order: str, parallel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a batch of the same size, to the bit, whatever the others are and however much of them is known."""
    monkeypatch.setattr("cmrgz.tokens.causal_decoding.SEEN_PER_DRAW", 4)
    monkeypatch.setattr("cmrgz.tokens.causal_decoding.PREFILL", 3)
    known = known_of(items)
    together = sample(model, items, known, order=order, parallel=parallel)
    for i in range(6):
        keys = [(i,)] * 6
        condition = {name: value[i].expand(6) for name, value in CONDITION.items()}
        x, own = (items * known)[i].expand_as(items), known[i].expand_as(known)
        alone = model.sample(x, own, condition=condition, rng=Streams(0, keys), order=order, parallel=parallel)
        assert torch.equal(alone[i], together[i])
        assert torch.equal(alone[0], together[i])  # nor on its place


def test_the_batch_size_changes_rounding_at_most(model: TokenModel, items: Tensor) -> None:
    known = known_of(items)
    torch.testing.assert_close(sample(model, items[:4], known[:4]), sample(model, items, known)[:4])


def test_hidden_values_are_not_used(model: TokenModel, items: Tensor) -> None:
    known = known_of(items)
    condition, rng = CONDITION, streams()
    y = model.sample(torch.where(known, items, 0.0), known, condition=condition, rng=rng)
    z = model.sample(torch.where(known, items, 0.9), known, condition=condition, rng=streams())
    assert torch.equal(y, z)
    assert torch.equal(y[known], items[known])  # this tokenizer is exact


def test_all_randomness_is_that_of_the_streams(model: TokenModel, items: Tensor) -> None:
    known = known_of(items)
    before = torch.get_rng_state()
    y, loss = sample(model, items, known), model.train().loss(items, rng=streams())
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(123)
        assert torch.equal(sample(model, items, known), y) and torch.equal(model.loss(items, rng=streams()), loss)
    model.eval()
    assert not torch.equal(sample(model, items, known, streams(seed=1)), y)


def test_temperature_and_levels(model: TokenModel, items: Tensor) -> None:
    known = torch.zeros_like(items, dtype=torch.bool)
    cold = [sample(model, items, known, streams(seed=s), order="forced", temperature=0.0) for s in range(2)]
    assert torch.equal(*cold)
    coarse = sample(model, items, known, levels=1)
    book = model.tokenizer.embed(torch.arange(12), 0)
    vectors = flat(model.tokenizer.encode(coarse)).flatten(0, 1)
    assert ((vectors[:, None] - book).abs().amax(-1).amin(1) < 1e-6).all()


def test_conditions_change_what_is_drawn(model: TokenModel, items: Tensor) -> None:
    known = torch.zeros_like(items, dtype=torch.bool)
    phases = [{"phase": torch.full((6,), phase)} for phase in (0.1, 0.6)]
    draws = [model.sample(items * 0, known, condition=condition, rng=streams()) for condition in phases]
    assert not torch.equal(*draws)


def test_two_models_of_one_state_draw_the_same(fresh_model: Callable[[], TokenModel], items: Tensor) -> None:
    model, other = fresh_model(), fresh_model()
    for parameter in other.network.parameters():
        parameter.data.zero_()
    other.load_state_dict(model.state_dict())
    known = known_of(items)
    assert torch.equal(sample(model, items, known), sample(other, items, known))


def test_a_checkpoint_draws_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("cmrgz_tokenizers")
    first = registry.tokenizers()["vq"].require()
    small = {"vocab": 16, "levels": 3, "width": 8, "fine_width": 8, "blocks": 1}
    tokenizer = registry.build_tokenizer(first, small)
    options = {"grid": (4, 4), "width": 32, "heads": 2, "inner": 32, "content_layers": 1, "target_layers": 1}
    model = registry.build_model(SPEC, tokenizer, options)
    assert isinstance(model, TokenModel)
    x = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for part in (tokenizer, model):
        part.fit(x, rng=Streams(0, [("fit",)]))
    meta = checkpoint.describe(SPEC, options, extent=Extent(item=(32, 32)))
    inner = checkpoint.describe(first, small, extent=Extent(item=(32, 32)))
    checkpoint.save(tmp_path / "c", model, meta, tokenizer=checkpoint.Opened(tokenizer, inner))
    again, _ = checkpoint.open_model(tmp_path / "c")
    known = torch.arange(32).expand(8, 1, 32, 32) < 12
    draws = [m.eval().sample(x * known, known, rng=streams(8)) for m in (model, again)]
    assert torch.equal(*draws) and draws[0].isfinite().all()


@pytest.mark.parametrize(
    ("option", "value"),
    [("width", 100), ("heads", 5), ("width", 0), ("content_layers", 0), ("raster_share", 1.5), ("free", -1)],
)
def test_what_cannot_be_built_is_refused(fresh: TokenModel, option: str, value: float) -> None:
    tokenizer = fresh.tokenizer
    assert isinstance(tokenizer, CodeTokenizer)
    with pytest.raises(UsageError):
        registry.build_model(SPEC, tokenizer, {option: value})


@pytest.mark.parametrize("inner", [61, 115, 64])
def test_a_feed_forward_network_is_as_wide_as_asked(inner: int) -> None:
    network = feed_forward(28, inner)  # 28 * (61 / 28) is a little below 61
    assert network(torch.zeros(1, 28)).shape == (1, 28)
    assert {inner} <= {size for p in network.parameters() for size in p.shape}
