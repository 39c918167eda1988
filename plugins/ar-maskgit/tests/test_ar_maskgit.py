"""ar-maskgit: what depends on what in its network, and the model in training, drawing and saving."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cmrgz_ar_maskgit import SPEC
from cmrgz_ar_maskgit.network import MaskedTransformer
from torch import Tensor

from cmrgz import checkpoint, registry
from cmrgz.errors import UsageError
from cmrgz.model import CodeTokenizer
from cmrgz.plugin import Extent
from cmrgz.rng import Streams
from cmrgz.tokens.masked_codes import MaskedTokenModel
from cmrgz.tokens.orders import halton_walk
from cmrgz.tokens.sampling import draw
from cmrgz.tokens.schedule import turns

B, N, C, HINT = 3, 24, 4, 8
CONDITION = {"phase": torch.tensor([0.1, torch.nan, 0.7]), "slice": torch.tensor([0.2, 0.5, torch.nan])}
WAYS: list[dict[str, Any]] = [
    {},
    {"order": "confidence"},
    {"order": "random", "remask": 1},
    {"entropy_bound": 8.0},
    {"output": "mean"},
    {"preset": "paper_like"},
]


def streams(count: int = 6, seed: int = 0) -> Streams:
    return Streams(seed, [(i,) for i in range(count)])


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Return vectors, what is shown of them, and hints."""
    generator = torch.Generator().manual_seed(0)
    shown = torch.rand(B, N, generator=generator) < torch.tensor([[0.0], [0.5], [0.9]])
    return torch.randn(B, N, C, generator=generator), shown, torch.randn(B, N, HINT, generator=generator)


def known_of(x: Tensor) -> Tensor:
    """Return known pixels of items: whole patches, of every share from none to all."""
    generator = torch.Generator().manual_seed(0)
    share = torch.linspace(0, 1, len(x))[:, None, None, None]
    patch = torch.rand(len(x), 1, x.shape[2] // 2, x.shape[3] // 2, generator=generator) < share
    return patch.repeat_interleave(2, 2).repeat_interleave(2, 3)


@torch.no_grad()
def test_what_is_not_shown_is_not_read(network: MaskedTransformer) -> None:
    vectors, shown, hints = inputs()
    one = network(vectors, shown, CONDITION, hints)
    other = network(torch.where(shown[..., None], vectors, torch.nan), shown, CONDITION, hints)
    assert torch.equal(one, other)


@torch.no_grad()
def test_what_is_shown_reaches_every_position_of_its_item(network: MaskedTransformer) -> None:
    vectors, shown, hints = inputs()
    one = network(vectors, shown, CONDITION, hints)
    changed = vectors.clone()
    place = int(shown[2].float().argmax())
    changed[2, place] += 1
    same = (network(changed, shown, CONDITION, hints) == one).all(-1)
    assert same[:2].all() and not same[2].any()


@torch.no_grad()
def test_showing_hints_and_conditions_matter_everywhere(network: MaskedTransformer) -> None:
    vectors, shown, hints = inputs()
    one = network(vectors, shown, CONDITION, hints)
    others = [
        network(vectors, ~shown, CONDITION, hints),
        network(vectors, shown, CONDITION, hints + torch.tensor([0.0, 0.0, 1.0])[:, None, None]),
        network(vectors, shown, CONDITION, None),
        network(vectors, shown, {**CONDITION, "phase": torch.tensor([0.6, 0.6, 0.2])}, hints),
    ]
    assert all(not (other[2] == one[2]).all(-1).any() for other in others)


@torch.no_grad()
def test_positions_of_a_square_are_told_apart(network: MaskedTransformer) -> None:
    vectors, shown, hints = torch.zeros(1, N, C), torch.zeros(1, N, dtype=torch.bool), torch.zeros(1, N, HINT)
    features = network(vectors, shown, None, hints)[0]
    assert (torch.cdist(features, features) + torch.eye(N)).min() > 1e-3


@torch.no_grad()
def test_squares_are_undone(network: MaskedTransformer) -> None:
    x = torch.randn(2, N, 5)
    assert torch.equal(network._positions(network._squares(x)), x)


@torch.no_grad()
def test_a_draw_is_the_one_of_the_slow_definition(model: MaskedTokenModel, items: Tensor) -> None:
    """One position a step along the Halton sequence, each from a pass over all that is known or drawn."""
    known = known_of(items)
    condition = {"phase": torch.tensor([0.1, torch.nan, 0.3, 0.5, 0.7, 0.9])}
    network, tokenizer = model.network, model.tokenizer
    given, rng = known[:, 0, ::2, ::2].flatten(1), streams()
    u = rng.uniform(N, 3)
    turn = turns(halton_walk(given, (4, 6), rng.child("order")), given)
    vectors, shown, hints = model.encode(items * known)[0].clone(), given.clone(), model.hints(items, known)
    for k in range(N):
        states = network(vectors, shown, condition, hints)
        for item, place in (turn == k).nonzero().tolist():
            codes = torch.zeros(1, 0, dtype=torch.long)
            for level in range(3):
                logits = network.logits(states[item, place][None], codes, level)
                codes = torch.cat([codes, draw(logits, u[item, place, level][None])[:, None]], 1)
            vectors[item, place] = sum(tokenizer.embed(codes[0, level], level) for level in range(3))
            shown[item, place] = True
    slow = model.items(vectors, (4, 6))
    fast = model.sample(items * known, known, condition=condition, rng=streams(), steps=N)
    torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_hidden_values_do_not_matter_and_known_ones_stay(
    model: MaskedTokenModel, items: Tensor, way: dict[str, Any]
) -> None:
    known = known_of(items)
    y = model.sample(items * known, known, rng=streams(), **way)
    assert y.isfinite().all()
    assert torch.equal(model.sample(torch.where(known, items, 7.0), known, rng=streams(), **way), y)
    torch.testing.assert_close(y[known], items[known])


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_item_does_not_depend_on_what_is_known_of_others(
    model: MaskedTokenModel, items: Tensor, way: dict[str, Any]
) -> None:
    known = known_of(items)
    y = model.sample(items * known, known, rng=streams(), **way)
    for i in range(6):
        same = [part[i : i + 1].expand_as(part) for part in (items * known, known)]
        alone = model.sample(same[0], same[1], rng=Streams(0, [(i,)] * 6), **way)
        assert torch.equal(alone[0], y[i])


def test_gradients_reach_every_weight_but_those_of_the_tokenizer(
    fresh_model: Callable[[], MaskedTokenModel], items: Tensor
) -> None:
    model = fresh_model().train()
    condition = {name: torch.tensor([0.1, torch.nan] * 3) for name in SPEC.conditions}
    for seed in range(3):
        model.loss(items, condition=condition, rng=streams(seed=seed)).backward()
    for name, parameter in model.network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    assert all(p.grad is None for p in model.tokenizer.parameters())


def test_two_items_are_learnt_by_heart(fresh_model: Callable[[], MaskedTokenModel], items: Tensor) -> None:
    model, x = fresh_model(), items[:2]
    optimiser = torch.optim.AdamW(model.network.parameters(), lr=5e-3)
    first = torch.stack([model.loss(x, rng=streams(2, 99 + seed)).detach() for seed in range(8)]).mean()
    for step in range(120):
        optimiser.zero_grad()
        model.loss(x, rng=streams(2, seed=step)).backward()
        optimiser.step()
    last = torch.stack([model.loss(x, rng=streams(2, 99 + seed)).detach() for seed in range(8)]).mean()
    assert last < 0.25 * first


def test_a_checkpoint_draws_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("cmrgz_tokenizers")
    first = registry.tokenizers()["vq"].require()
    small = {"vocab": 16, "levels": 3, "width": 8, "fine_width": 8, "blocks": 1}
    tokenizer = registry.build_tokenizer(first, small)
    options = {"grid": (4, 4), "width": 32, "heads": 2, "inner": 32, "layers": 1, "local": 16}
    model = registry.build_model(SPEC, tokenizer, options)
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
    ("option", "value"), [("width", 100), ("heads", 5), ("layers", 0), ("patch", 3), ("grid", (5, 4)), ("local", 0)]
)
def test_what_cannot_be_built_is_refused(model: MaskedTokenModel, option: str, value: Any) -> None:
    tokenizer = model.tokenizer
    assert isinstance(tokenizer, CodeTokenizer)
    with pytest.raises(UsageError):
        registry.build_model(SPEC, tokenizer, {option: value})
