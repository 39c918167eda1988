"""ar-vq on blocks: the cached network against the trained one, what depends on what, and the model as a whole."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from cmrgz_ar_vq.attention import PART, reach
from cmrgz_ar_vq.network import AnyOrderTransformer, StaticCache, build
from torch import Tensor

from cmrgz.features import SHARES
from cmrgz.hints import places
from cmrgz.latents import position_pixels
from cmrgz.model import Condition
from cmrgz.rng import Streams
from cmrgz.testing.small import SmallTokenizer, fitted, small_items
from cmrgz.tokens.causal import TokenModel

GRID, C = (4, 5), 4
HINT = 2 * C + SHARES
SHAPES = [(1, 1), (5, 3), (12, 1), (1, 5)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
CLOSE = {"atol": 2e-5, "rtol": 2e-5}


def streams(count: int, seed: int = 0) -> Streams:
    return Streams(seed, [(i,) for i in range(count)])


def items(count: int, shape: tuple[int, int] = (5, 3), seed: int = 0) -> Tensor:
    return small_items(count, (*shape, *GRID), seed)


def make_model() -> TokenModel:
    def made() -> TokenModel:
        sizes: dict[str, Any] = {"width": 32, "heads": 2, "inner": 48, "content_layers": 2, "target_layers": 2}
        return build(SmallTokenizer(), GRID, free=4, axes="tzyx", **sizes)

    return fitted(made, lambda model: model.network, items(12, seed=3))


@pytest.fixture(scope="module")
def model() -> TokenModel:
    return make_model()


@pytest.fixture(scope="module")
def network(model: TokenModel) -> AnyOrderTransformer:
    assert isinstance(model.network, AnyOrderTransformer)
    return model.network


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    yield
    torch.set_grad_enabled(before)


def told(count: int, shape: tuple[int, int]) -> Condition:
    time, height = places(None, torch.zeros(count, 1, *shape, 1, 1))
    phase = torch.rand(count, *shape, generator=torch.Generator().manual_seed(5))
    phase[0, 0, 0] = torch.nan
    return {"time": time, "height": height, "phase": phase, "row": torch.linspace(-1, 1, count)}


def given(shape: tuple[int, int], count: int = 2) -> tuple[Tensor, Tensor, Condition, Tensor]:
    """Return vectors, an order, a condition and hints."""
    generator, n = torch.Generator().manual_seed(0), shape[0] * shape[1] * GRID[0] * GRID[1]
    vectors, hints = torch.randn(count, n, C, generator=generator), torch.randn(count, n, HINT, generator=generator)
    return vectors, streams(count).permutation(n), told(count, shape), hints


def cached(network: AnyOrderTransformer, inputs: Any, chunk: int) -> StaticCache:
    vectors, order, condition, hints = inputs
    b, n = order.shape
    cache = network.start(b, n, condition, hints)
    for start in range(0, n, chunk):
        part = slice(start, start + chunk)
        network.extend(cache, vectors[:, part], order[:, part], torch.arange(n)[part].expand(b, -1))
    return cache


@every_shape
@pytest.mark.parametrize("chunk", [7, 100])
def test_cached_equals_uncached(network: AnyOrderTransformer, shape: tuple[int, int], chunk: int) -> None:
    inputs = given(shape)
    expected, cache = network.train_states(*inputs), cached(network, inputs, chunk)
    b, n = inputs[1].shape
    for slot in range(0, n, max(1, n // 15)):
        own = network(cache, inputs[1][:, slot : slot + 1], torch.full((b,), slot))
        torch.testing.assert_close(own[:, 0], expected[:, slot], **CLOSE)


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_cut_order_is_the_start_of_the_whole(network: AnyOrderTransformer, cut: int) -> None:
    vectors, order, condition, hints = given((5, 3))
    whole = network.train_states(vectors, order, condition, hints)
    slots = torch.arange(0, cut, max(1, cut // 9)).expand(2, -1)
    part = network.train_states(vectors[:, :cut], order[:, :cut], condition, hints, slots)
    torch.testing.assert_close(part, whole[:, slots[0]], **CLOSE)


def test_time_is_a_circle_and_height_is_not(network: AnyOrderTransformer) -> None:
    vectors, order, condition, hints = given((5, 3))
    states = network.train_states(vectors, order, condition, hints)

    def moved(name: str, by: Tensor | float) -> Tensor:
        return network.train_states(vectors, order, {**condition, name: condition[name] + by}, hints)

    first = torch.arange(3) == 0
    wrapped = torch.zeros(1, 5, 3)
    wrapped[:, 1:3] = 1.0
    torch.testing.assert_close(moved("time", wrapped), states, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(moved("time", wrapped / 2), states, atol=1e-3)
    assert not torch.allclose(moved("height", 20.0 * first), states, atol=1e-3)


def test_a_frame_has_its_own_condition(network: AnyOrderTransformer) -> None:
    """Of targets that see nothing but the start, those of the frame that is told otherwise change most."""
    vectors, order, condition, hints = given((5, 3))
    phase = condition["phase"].clone()
    phase[:, 2, 1] += 0.4
    cache = [network.start(2, 300, told_, hints) for told_ in (condition, {**condition, "phase": phase})]
    every, none = torch.arange(300).expand(2, -1), torch.zeros(2, dtype=torch.long)
    change = (network(cache[0], every, none) - network(cache[1], every, none)).square().mean(-1)
    frame = torch.arange(300) // 20 == 2 * 3 + 1
    assert change[:, frame].min() > 10 * change[:, ~frame].mean()


def test_the_same_place_of_two_frames_is_not_the_same(network: AnyOrderTransformer) -> None:
    vectors, order, condition, hints = given((5, 3))
    same = {**condition, "phase": torch.full((2, 5, 3), 0.2)}
    hints = torch.zeros_like(hints)
    cache = cached(network, (vectors, order, same, hints), 100)
    targets = torch.tensor([[7, 27, 67]]).expand(2, -1)
    states = network(cache, targets, torch.full((2,), 150))
    assert (states[:, 0] - states[:, 1]).abs().max() > 1e-3 and (states[:, 0] - states[:, 2]).abs().max() > 1e-3


def known_of(x: Tensor, seed: int = 0) -> Tensor:
    """Return known pixels: whole patches of every share, from none to all."""
    share = torch.linspace(0, 1, len(x)).view(-1, 1, 1, 1, 1)
    shape = (*x.shape[2:4], *GRID)
    return position_pixels(torch.rand(len(x), *shape, generator=torch.Generator().manual_seed(seed)) < share, 2)


def condition_of(x: Tensor) -> Condition:
    return told(len(x), (x.shape[2], x.shape[3]))


@every_shape
@pytest.mark.parametrize("options", [{}, {"output": "mean"}, {"order": "forced"}, {"order": "orient"}], ids=str)
def test_blocks_of_any_shape_are_drawn(model: TokenModel, shape: tuple[int, int], options: dict[str, Any]) -> None:
    x = items(4, shape)
    known = known_of(x)
    drawn = model.sample(x * known, known, condition=condition_of(x), rng=streams(4), **options)
    assert drawn.shape == x.shape and drawn.isfinite().all()
    torch.testing.assert_close(drawn[known], x[known], atol=1e-5, rtol=0)
    assert model.loss(x, condition=condition_of(x), rng=streams(4)).isfinite()


def test_particles_draw_blocks(model: TokenModel) -> None:
    x = items(3, (3, 1))
    known = known_of(x)
    drawn = model.sample(x * known, known, condition=condition_of(x), rng=streams(3), order="smc", particles=2)
    torch.testing.assert_close(drawn[known], x[known], atol=1e-5, rtol=0)


@pytest.mark.parametrize("order", ["any", "forced"])
def test_hidden_voxels_of_no_frame_are_used(model: TokenModel, order: Any) -> None:
    x, condition = items(4), condition_of(items(4))
    known = known_of(x)
    one = model.sample(torch.where(known, x, 0.0), known, condition=condition, rng=streams(4), order=order)
    for other in (torch.where(known, x, -x), torch.where(known, x, torch.nan)):
        assert torch.equal(model.sample(other, known, condition=condition, rng=streams(4), order=order), one)


def test_what_is_known_of_a_frame_reaches_the_others(model: TokenModel) -> None:
    x = items(1)
    known = torch.zeros_like(x, dtype=torch.bool)
    known[:, :, 0] = True
    one, other = (model.sample(y * known, known, rng=streams(1)) for y in (x, -x))
    assert all(not torch.equal(one[:, :, t, z], other[:, :, t, z]) for t in range(1, 5) for z in range(3))


def test_a_block_is_drawn_alike_in_any_batch(model: TokenModel) -> None:
    x = items(8)
    known, condition = known_of(x), condition_of(x)
    together = model.sample(x * known, known, condition=condition, rng=streams(8))
    for count in (1, 3):
        for start in (0, 3, 5):
            part = slice(start, start + count)
            own = {name: value[part] for name, value in condition.items()}
            rng = Streams(0, [(i,) for i in range(start, start + count)])
            alone = model.sample((x * known)[part], known[part], condition=own, rng=rng)
            torch.testing.assert_close(alone, together[part], atol=1e-6, rtol=0)


def test_gradients_reach_every_weight() -> None:
    model = make_model().train()
    with torch.enable_grad():
        for seed in range(4):
            x = items(3, seed=seed)
            condition: dict[str, Tensor] = {"slice": torch.rand(3, 5, 3), "column": torch.rand(3), **condition_of(x)}
            model.loss(x, condition=condition, rng=streams(3, seed)).backward()
    assert model.prior is not None
    for name, parameter in [*model.network.named_parameters(), ("log_factor", model.prior.log_factor)]:
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_a_block_is_learnt_by_heart() -> None:
    model, x = make_model(), items(1, (3, 1))
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    first = torch.stack([model.loss(x, rng=streams(1, 900 + seed)) for seed in range(4)]).mean()
    with torch.enable_grad():
        for step in range(150):
            optimiser.zero_grad()
            model.loss(x, rng=streams(1, step)).backward()
            optimiser.step()
    last = torch.stack([model.loss(x, rng=streams(1, 900 + seed)) for seed in range(4)]).mean()
    assert last < 0.5 * first


def test_frames_have_the_tensors_that_they_had() -> None:
    """Names and shapes of a frame model, as in checkpoints of the first version."""
    sizes: dict[str, Any] = {"width": 32, "heads": 2, "inner": 48, "content_layers": 2, "target_layers": 2}
    frames, blocks = (build(SmallTokenizer(), GRID, free=4, axes=axes, **sizes) for axes in ("yx", "tzyx"))
    own = frames.state_dict()
    assert own["network.hint.weight"].shape == (32, C + 4) and not any(name.startswith("prior") for name in own)
    assert set(blocks.state_dict()) - set(own) == {name for name in blocks.state_dict() if name.startswith("prior")}
    assert {name for name, value in blocks.state_dict().items() if name in own and value.shape != own[name].shape} == {
        "network.hint.weight"
    }


def test_whole_parts_of_a_cache_that_nothing_sees_are_left_out() -> None:
    assert reach(torch.tensor([3, 511]), 3842) == PART
    assert reach(torch.tensor([3, 512]), 3842) == 2 * PART
    assert reach(torch.tensor([3841]), 3842) == 3842
    assert reach(torch.tensor([7]), 258) == 258
