"""The cached network against the one that is trained, and what depends on what."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from cmrgz_ar_vq.network import AnyOrderTransformer, StaticCache
from torch import Tensor

from cmrgz.model import Condition
from cmrgz.rng import Streams
from cmrgz.tokens.orders import halton, known_first

B, N, C, HINT = 3, 20, 4, 8
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


class Inputs(NamedTuple):
    """What `train_states` takes."""

    vectors: Tensor
    order: Tensor
    condition: Condition
    hints: Tensor


def inputs(order: str = "random") -> Inputs:
    generator = torch.Generator().manual_seed(0)
    vectors, hints = torch.randn(B, N, C, generator=generator), torch.randn(B, N, HINT, generator=generator)
    known = torch.rand(B, N, generator=generator) < torch.tensor([[0.2], [0.5], [0.9]])
    orders = {
        "raster": torch.arange(N).expand(B, -1),
        "random": Streams(0, [(i,) for i in range(B)]).permutation(N),
        "known first": known_first(halton((4, 5)).expand(B, -1), known),
    }
    condition = {"phase": torch.tensor([0.1, torch.nan, 0.7]), "slice": torch.tensor([0.2, 0.5, torch.nan])}
    return Inputs(vectors, orders[order], condition, hints)


def cached(network: AnyOrderTransformer, given: Inputs, chunk: int, length: int = N) -> StaticCache:
    """Return a cache with the first `length` vectors, written `chunk` a call."""
    cache = network.start(B, N, given.condition, given.hints)
    slots = torch.arange(N).expand(B, -1)
    for start in range(0, length, chunk):
        part = slice(start, min(start + chunk, length))
        network.extend(cache, given.vectors[:, part], given.order[:, part], slots[:, part])
    return cache


def at(network: AnyOrderTransformer, cache: StaticCache, order: Tensor, slot: int, many: int = 1) -> Tensor:
    """Return the features of `many` positions from a slot on, all seeing the slots before it."""
    return network(cache, order[:, slot : slot + many], torch.full((B,), slot))


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    torch.set_grad_enabled(False)
    yield
    torch.set_grad_enabled(True)


@pytest.mark.parametrize("order", ["raster", "random", "known first"])
@pytest.mark.parametrize("chunk", [1, 3, N])
def test_cached_equals_uncached(network: AnyOrderTransformer, order: str, chunk: int) -> None:
    given = inputs(order)
    expected = network.train_states(*given)
    cache = cached(network, given, chunk)
    for slot in range(N):
        torch.testing.assert_close(at(network, cache, given.order, slot)[:, 0], expected[:, slot], **CLOSE)


def test_the_cache_may_be_asked_while_it_grows(network: AnyOrderTransformer) -> None:
    given = inputs()
    expected = network.train_states(*given)
    cache = network.start(B, N, given.condition, given.hints)
    for slot in range(N):
        torch.testing.assert_close(at(network, cache, given.order, slot)[:, 0], expected[:, slot], **CLOSE)
        own = slice(slot, slot + 1)
        network.extend(cache, given.vectors[:, own], given.order[:, own], torch.full((B, 1), slot))


def test_some_slots_of_training_are_those_of_all(network: AnyOrderTransformer) -> None:
    given = inputs()
    slots = Streams(1, [(i,) for i in range(B)]).permutation(N)[:, :7]
    some, every = network.train_states(*given, slots=slots), network.train_states(*given)
    torch.testing.assert_close(some, every.gather(1, slots[..., None].expand_as(some)), **CLOSE)


@pytest.mark.parametrize("slot", [0, 7, N - 1])
def test_content_changes_what_comes_after_it_alone(network: AnyOrderTransformer, slot: int) -> None:
    given = inputs()
    changed = given.vectors.clone()
    changed[:, slot] += 1
    one, other = network.train_states(*given), network.train_states(changed, *given[1:])
    same = (one == other).all(-1)
    assert same[:, : slot + 1].all() and not same[:, slot + 1 :].any()
    codes = torch.zeros(B, slot + 1, 3, dtype=torch.long)
    for level in range(3):
        logits = [network.logits(states[:, : slot + 1], codes, level) for states in (one, other)]
        assert torch.equal(*logits)


@pytest.mark.parametrize("slot", [1, 10])
def test_the_order_of_what_comes_later_changes_nothing(network: AnyOrderTransformer, slot: int) -> None:
    given = inputs()
    flipped = torch.cat([given.order[:, :slot], given.order[:, slot:].flip(1)], 1)
    one = network.train_states(*given)
    other = network.train_states(given.vectors, flipped, given.condition, given.hints)
    same = (one == other).all(-1)
    assert same[:, :slot].all() and not same[:, slot + 1 :].all()


def test_the_cache_shows_what_is_asked_for_alone(network: AnyOrderTransformer) -> None:
    given, length = inputs(), 6
    cache = cached(network, given, N)
    before = at(network, cache, given.order, length, 4)
    slots = torch.arange(length, N).expand(B, -1)
    network.extend(cache, given.vectors[:, length:] * -3 + 1, given.order[:, length:].flip(1), slots)
    assert torch.equal(at(network, cache, given.order, length, 4), before)
    assert not torch.equal(at(network, cache, given.order, length + 1, 4), before)


def test_what_is_dropped_is_never_seen(network: AnyOrderTransformer) -> None:
    given = inputs()
    cache, clean = cached(network, given, N), cached(network, given, N)
    for scale in (1.0, 1e6):
        network.extend(cache, scale * given.vectors[:, :5], given.order[:, :5], torch.full((B, 5), N))
        for slot in (0, 5, N - 1):
            assert torch.equal(at(network, cache, given.order, slot), at(network, clean, given.order, slot))


def test_a_slot_can_be_written_again(network: AnyOrderTransformer) -> None:
    given = inputs()
    cache = cached(network, given._replace(vectors=given.vectors.flip(0)), N)
    network.extend(cache, given.vectors, given.order, torch.arange(N).expand(B, -1))
    once = cached(network, given, N)
    torch.testing.assert_close(at(network, cache, given.order, N - 1), at(network, once, given.order, N - 1))


def test_targets_do_not_see_each_other(network: AnyOrderTransformer) -> None:
    given = inputs()
    cache = cached(network, given, N, 8)
    length = torch.full((B,), 8)
    together = network(cache, given.order[:, 8:12], length)
    others = torch.cat([given.order[:, 8:9], given.order[:, 15:18]], 1)
    assert torch.equal(network(cache, others, length)[:, 0], together[:, 0])
    for i in range(4):
        alone = network(cache, given.order[:, 8 + i : 9 + i], length)
        torch.testing.assert_close(alone[:, 0], together[:, i], **CLOSE)


def test_each_item_sees_its_own_length(network: AnyOrderTransformer) -> None:
    given = inputs()
    cache = cached(network, given, N)
    targets = torch.stack([row[slot : slot + 2] for row, slot in zip(given.order, (2, 9, 17), strict=True)])
    mixed = network(cache, targets, torch.tensor([2, 9, 17]))
    for item, slot in enumerate((2, 9, 17)):
        assert torch.equal(at(network, cache, given.order, slot, 2)[item], mixed[item])


def test_items_do_not_see_each_other(network: AnyOrderTransformer) -> None:
    given = inputs()
    changed = given._replace(vectors=given.vectors.clone(), hints=given.hints.clone())
    changed.vectors[1:] += 1
    changed.hints[1:] += 1
    one, other = network.train_states(*given), network.train_states(*changed)
    assert torch.equal(one[0], other[0]) and not torch.equal(one[1], other[1])
    states = [at(network, cached(network, part, N), given.order, 9) for part in (given, changed)]
    assert torch.equal(states[0][0], states[1][0]) and not torch.equal(states[0][1], states[1][1])


def test_a_hint_speaks_to_its_own_position(network: AnyOrderTransformer) -> None:
    given, position = inputs(), 7
    changed = given.hints.clone()
    changed[:, position] += 1
    same = (network.train_states(*given) == network.train_states(*given[:3], changed)).all(-1)
    assert torch.equal(same, given.order != position)


def test_a_condition_speaks_to_every_position(network: AnyOrderTransformer) -> None:
    given = inputs()
    other = {**given.condition, "phase": torch.tensor([0.6, 0.6, 0.7])}
    same = (network.train_states(*given) == network.train_states(*given[:2], other, given.hints)).all(-1)
    assert not same[:2].any() and same[2].all()


def test_position_and_order_matter(network: AnyOrderTransformer) -> None:
    """The same vectors at other places are other evidence."""
    given = inputs()
    cache = cached(network, given, N, 5)
    moved = given._replace(order=torch.cat([given.order[:, :5].roll(1, 1), given.order[:, 5:]], 1))
    other = cached(network, moved, N, 5)
    assert not torch.allclose(at(network, cache, given.order, 5), at(network, other, given.order, 5), atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_cpu_and_cuda_agree(network: AnyOrderTransformer, dtype: torch.dtype, tolerance: float) -> None:
    given = inputs()
    states = network.train_states(*given)
    codes = torch.zeros(B, N, 3, dtype=torch.long)
    expected = [network.logits(states, codes, level) for level in range(3)]
    there = Inputs(
        given.vectors.cuda(),
        given.order.cuda(),
        {name: value.cuda() for name, value in given.condition.items()},
        given.hints.cuda(),
    )
    try:
        network.cuda()
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            own = network.train_states(*there)
            logits = [network.logits(own, codes.cuda(), level).float().cpu() for level in range(3)]
    finally:
        network.cpu()
    for one, other in zip(logits, expected, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


def test_bfloat16_stays_near(network: AnyOrderTransformer) -> None:
    given = inputs()
    expected = network.train_states(*given)
    with torch.autocast("cpu", torch.bfloat16):
        states = network.train_states(*given)
        cache = cached(network, given, 7)
        own = torch.cat([at(network, cache, given.order, slot) for slot in range(N)], 1)
    for half in (states, own):
        assert ((half - expected).pow(2).mean() / expected.pow(2).mean()).sqrt() < 0.03
