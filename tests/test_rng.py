import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cmrgz.rng import LAST, Key, Streams, derive

part = st.one_of(st.integers(-(10**6), 10**12), st.text(max_size=8))
PINNED_SEEDS = [3493790168860947455, 5152608794095521884, 986535351764181877]
PINNED_UNIFORM = [[0.0562407374, 0.4480997920], [0.1538569927, 0.8611322641]]
PINNED_NORMAL = [[1.1603679657, -1.8797740936], [-0.1470242739, -1.7266880274]]
PINNED_ORDER = [[2, 5, 1, 3, 0, 4], [5, 2, 0, 4, 1, 3]]

keys = st.lists(st.tuples(part, part), min_size=1, max_size=6)


def drawn(streams: Streams) -> list[Tensor]:
    return [streams.uniform(3), streams.normal(2, 2), streams.permutation(5), streams.uniform()]


@given(st.integers(0, 2**63 - 1), keys)
@settings(deadline=None, max_examples=50)
def test_seed_and_key_decide(seed: int, keys: list[Key]) -> None:
    for a, b in zip(drawn(Streams(seed, keys)), drawn(Streams(seed, keys)), strict=True):
        assert torch.equal(a, b)


@given(st.integers(0, 999), keys, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_the_batch_does_not_show(seed: int, keys: list[Key], random: object) -> None:
    whole = drawn(Streams(seed, keys))
    order = list(range(len(keys)))
    random.shuffle(order)  # type: ignore[attr-defined]
    for a, b in zip(whole, drawn(Streams(seed, [keys[i] for i in order])), strict=True):
        assert torch.equal(a[order], b)
    for i, key in enumerate(keys):
        for a, b in zip(whole, drawn(Streams(seed, [key])), strict=True):
            assert torch.equal(a[i : i + 1], b)


@given(st.integers(0, 99), st.lists(part, max_size=4), st.lists(part, max_size=4))
@settings(deadline=None)
def test_other_keys_have_other_seeds(seed: int, a: list[int | str], b: list[int | str]) -> None:
    assert (derive(seed, *a) == derive(seed, *b)) == (a == b)
    assert 0 <= derive(seed, *a) < 2**63


def test_near_misses_are_told_apart() -> None:
    seeds = [
        derive(0),
        derive(1),
        derive(0, 1),
        derive(0, "1"),
        derive(0, "a", "b"),
        derive(0, "ab"),
        derive(0, "b", "a"),
    ]
    seeds += [derive(0, "a"), derive(0, "a", 0), derive(0, 0, "a"), derive(0, "a', 'b")]
    assert len(set(seeds)) == len(seeds)


def test_every_item_has_its_own_numbers() -> None:
    u = Streams(0, [(i,) for i in range(50)]).uniform(4)
    assert len(u.flatten().unique()) == 200


def test_shapes_and_types() -> None:
    streams = Streams(0, [("a",), ("b",)])
    assert len(streams) == 2
    u, z, order = streams.uniform(3, 4), streams.normal(5), streams.permutation(6)
    assert u.shape == (2, 3, 4) and u.dtype == z.dtype == torch.float32 and u.device.type == "cpu"
    assert 0 <= u.min() and u.max() < 1
    assert z.shape == (2, 5)
    assert order.dtype == torch.int64 and order.sort(1).values.tolist() == [list(range(6))] * 2


def test_moments() -> None:
    streams = Streams(1, [(i,) for i in range(200)])
    u, z = streams.uniform(500), streams.normal(500)
    assert u.mean().item() == pytest.approx(0.5, abs=0.005) and u.var().item() == pytest.approx(1 / 12, abs=0.002)
    assert z.mean().item() == pytest.approx(0, abs=0.015) and z.var().item() == pytest.approx(1, abs=0.02)


def test_the_global_generator_is_not_touched() -> None:
    state = torch.get_rng_state()
    first = drawn(Streams(0, [(0,)]))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    assert all(torch.equal(a, b) for a, b in zip(first, drawn(Streams(0, [(0,)])), strict=True))


def test_seeds_are_pinned() -> None:
    """Stored results are repeated from their seed: what it stands for never changes."""
    assert [derive(0), derive(0, "fit"), derive(7, "loss", 3, 11)] == PINNED_SEEDS


def test_numbers_are_pinned() -> None:
    streams = Streams(42, [("sample", 0), ("sample", 1)])
    torch.testing.assert_close(streams.uniform(2), torch.tensor(PINNED_UNIFORM), rtol=0, atol=1e-7)
    torch.testing.assert_close(streams.normal(2), torch.tensor(PINNED_NORMAL), rtol=0, atol=1e-6)
    assert streams.permutation(6).tolist() == PINNED_ORDER


def test_child_streams_are_their_own_and_leave_the_parent_alone() -> None:
    parent, other = Streams(0, [("a",), ("b",)]), Streams(0, [("a",), ("b",)])
    child = parent.child("noise")
    first = child.normal(3)
    assert torch.equal(parent.normal(3), other.normal(3))
    assert torch.equal(first, other.child("noise").normal(3))
    assert not torch.equal(first, other.child("else").normal(3))


def pairs(seed: int, *path: int | str) -> Streams:
    return Streams(seed, [(k, *path) for k in range(2, 8)], antithetic=True)


@given(st.integers(0, 999), st.lists(part, max_size=2), st.sampled_from([(), (3,), (2, 20)]))
@settings(deadline=None, max_examples=30)
def test_antithetic_pairs_are_opposite(seed: int, path: list[int | str], shape: tuple[int, ...]) -> None:
    streams, plain = pairs(seed, *path), Streams(seed, [(k, *path) for k in range(2, 8)])
    for own, other in ((streams, plain), (streams.child("noise"), plain.child("noise"))):
        u, z, order, same = own.uniform(*shape), own.normal(*shape), own.permutation(5), own.uniform(2, alike=True)
        assert torch.equal(u[::2] + u[1::2], torch.full_like(u[::2], LAST)) and torch.equal(z[1::2], -z[::2])
        assert torch.equal(order[1::2], order[::2]) and torch.equal(same[1::2], same[::2])
        usual = other.uniform(*shape), other.normal(*shape), other.permutation(5)
        for mine, its in zip((u, z, order), usual, strict=True):
            assert torch.equal(mine[::2], its[::2])  # the first of a pair is the draw that it was


def test_antithetic_numbers_do_not_depend_on_the_batch() -> None:
    whole = drawn(pairs(4, "a"))
    for i, key in enumerate(pairs(4, "a").keys):
        for a, b in zip(whole, drawn(Streams(4, [key], antithetic=True)), strict=True):
            assert torch.equal(a[i : i + 1], b)


def test_mirrored_numbers_have_the_law_of_uniform_ones() -> None:
    """Each of the 2^24 numbers a uniform float32 takes is the mirror image of just one of them."""
    grid = torch.tensor([0, 1, 2, 12345, 2**23, 2**24 - 2, 2**24 - 1])
    mirrored = LAST - grid / 2**24
    assert torch.equal(mirrored * 2**24, (2**24 - 1 - grid).float())
    assert mirrored.dtype == torch.float32 and 0 <= mirrored.min() and mirrored.max() < 1
    u = Streams(0, [(2 * i + 1,) for i in range(200)], antithetic=True).uniform(500)
    assert torch.equal((u * 2**24).round() / 2**24, u) and 0 <= u.min() and u.max() < 1
    assert u.mean().item() == pytest.approx(0.5, abs=0.005) and u.var().item() == pytest.approx(1 / 12, abs=0.002)


def test_keys_without_a_number_are_opposed_to_nothing() -> None:
    for key in (("fit",), ("1",), (2, 1)):
        assert torch.equal(Streams(0, [key], antithetic=True).normal(4), Streams(0, [key]).normal(4))
