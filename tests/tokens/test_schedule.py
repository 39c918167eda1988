"""Masked decoding reveals what is hidden, all of it, along its schedule, at every ratio and for each item alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz.rng import Streams
from cmrgz.tokens.orders import WALKS, halton
from cmrgz.tokens.schedule import (
    SCHEDULES,
    Schedule,
    automatic_steps,
    best,
    counts_over_grid,
    reveal_counts,
    turns,
    within_entropy,
)

names = st.sampled_from(sorted(SCHEDULES))
hiddens = st.lists(st.integers(0, 400), min_size=1, max_size=6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_grows_from_nothing_to_everything(name: str) -> None:
    share = SCHEDULES[name](torch.linspace(0, 1, 101, dtype=torch.float64))
    torch.testing.assert_close(share[[0, -1]], torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert (share.diff() > 0).all()


@given(hiddens, names, st.integers(0, 80))
@settings(deadline=None, max_examples=300)
def test_every_step_reveals_and_all_is_revealed(hidden: list[int], name: Schedule, steps: int) -> None:
    counts = reveal_counts(torch.tensor(hidden), name, steps)
    assert counts[0].tolist() == [0] * len(hidden) and counts[-1].tolist() == hidden
    new = counts.diff(dim=0)
    assert (new >= 0).all()
    for item, n in enumerate(hidden):
        own = min(steps or int(automatic_steps(torch.tensor([n]))), n)
        assert (new[:own, item] >= 1).all() and (new[own:, item] == 0).all()


@given(hiddens, names, st.integers(0, 80))
@settings(deadline=None, max_examples=200)
def test_counts_follow_the_schedule_over_what_is_hidden(hidden: list[int], name: Schedule, steps: int) -> None:
    counts = reveal_counts(torch.tensor(hidden), name, steps)
    for item, n in enumerate(hidden):
        own = max(1, min(steps or int(automatic_steps(torch.tensor([n]))), n))
        for k in range(own + 1):
            wanted = n * float(SCHEDULES[name](torch.tensor(k / own, dtype=torch.float64)))
            least, most = min(k, n), max(n - (own - k), 0)  # one a step, before and after
            got = int(counts[k, item])
            assert least <= got <= max(most, least)
            assert abs(got - wanted) <= 1 or got in (least, most)


@given(hiddens, names, st.integers(0, 80))
@settings(deadline=None, max_examples=100)
def test_an_item_has_the_counts_it_has_alone(hidden: list[int], name: Schedule, steps: int) -> None:
    together = reveal_counts(torch.tensor(hidden), name, steps)
    for item, n in enumerate(hidden):
        alone = reveal_counts(torch.tensor([n]), name, steps)[:, 0]
        assert together[: len(alone), item].tolist() == alone.tolist()
        assert (together[len(alone) :, item] == n).all()


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        (64, [1, 2, 2, 4, 5, 5, 7, 6, 8, 8, 8, 8]),
        (192, [2, 5, 8, 11, 14, 17, 19, 20, 23, 24, 24, 25]),
        (256, [3, 6, 11, 15, 18, 22, 26, 27, 31, 31, 33, 33]),
    ],
)
def test_cosine_counts_are_those_of_maskgit_run_over_what_is_hidden(hidden: int, expected: list[int]) -> None:
    assert reveal_counts(torch.tensor([hidden]), "cosine", 12)[:, 0].diff().tolist() == expected


def test_the_steps_grow_with_the_root_of_what_is_hidden() -> None:
    assert automatic_steps(torch.tensor([0, 1, 16, 64, 180, 256, 1024])).tolist() == [0, 1, 4, 8, 14, 16, 32]


@pytest.mark.parametrize("name", WALKS)
@given(
    grid=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
    steps=st.integers(0, 20),
)
@settings(deadline=None, max_examples=40)
def test_each_hidden_position_is_revealed_once_and_no_known_one(
    name: str, grid: tuple[int, int], share: float, seed: int, steps: int
) -> None:
    n = grid[0] * grid[1]
    rng = Streams(seed, [(i,) for i in range(4)])
    known = rng.child("known").uniform(n) < share
    order = WALKS[name](known, grid, rng)
    assert torch.equal(order.sort(1).values, torch.arange(n).expand(4, -1))
    turn = turns(order, known)
    assert (turn[known] == n).all()
    counts = reveal_counts((~known).sum(1), "arccos", steps)
    total = torch.zeros_like(turn)
    for start, end in zip(counts, counts[1:], strict=False):
        now = (turn >= start[:, None]) & (turn < end[:, None])
        assert torch.equal(now.sum(1), end - start)
        total += now
    assert torch.equal(total, (~known).long())
    for row, own, hidden in zip(order.tolist(), turn.tolist(), (~known).tolist(), strict=True):
        walked = [p for p in row if hidden[p]]
        assert [own[p] for p in walked] == list(range(len(walked)))


@pytest.mark.parametrize("name", WALKS)
def test_an_item_walks_as_it_does_alone(name: str) -> None:
    known = torch.zeros(5, 48, dtype=torch.bool)
    together = WALKS[name](known, (6, 8), Streams(0, [(i,) for i in range(5)]))
    assert len(together.unique(dim=0)) > 1
    for i in range(5):
        assert torch.equal(WALKS[name](known[i : i + 1], (6, 8), Streams(0, [(i,)])), together[i : i + 1])


def test_the_halton_walk_starts_anywhere() -> None:
    base = halton((4, 4)).tolist()
    order = WALKS["halton"](torch.zeros(60, 16, dtype=torch.bool), (4, 4), Streams(0, [(i,) for i in range(60)]))
    starts = [base.index(row[0]) for row in order.tolist()]
    assert len(set(starts)) > 12
    assert all(row == base[s:] + base[:s] for row, s in zip(order.tolist(), starts, strict=True))


@given(st.integers(0, 1000), st.integers(0, 12))
@settings(deadline=None, max_examples=60)
def test_the_best_are_hidden_and_the_best(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    score = torch.randint(4, (3, 10), generator=generator).float()  # with ties
    hidden = torch.rand(3, 10, generator=generator) < 0.6
    chosen = best(score, hidden, torch.full((3,), count))
    assert not (chosen & ~hidden).any()
    assert torch.equal(chosen.sum(1), hidden.sum(1).clamp(max=count))
    for row, take_, of in zip(score, chosen, hidden, strict=True):
        if take_.any() and (of & ~take_).any():
            assert row[take_].min() >= row[of & ~take_].max()


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        (25, [1] * 11 + [14]),
        (64, [1] * 10 + [21, 33]),
        (128, [1] * 8 + [23, 31, 33, 33]),
        (192, [1] * 5 + [6, 26, 27, 31, 31, 33, 33]),
        (230, [1, 1, 1, 6, 18, 22, 26, 27, 31, 31, 33, 33]),
        (256, [3, 6, 11, 15, 18, 22, 26, 27, 31, 31, 33, 33]),
        (5, [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]),
        (0, [0] * 12),
    ],
)
def test_counts_over_the_grid_are_those_of_published_code(hidden: int, expected: list[int]) -> None:
    counts = counts_over_grid(torch.tensor([hidden, 256]), 256, "cosine", 12)
    assert counts[:, 0].diff().tolist() == expected and counts[0, 0] == 0 and counts[-1, 0] == hidden


@given(st.integers(0, 1000), st.floats(0, 12))
@settings(deadline=None, max_examples=80)
def test_as_many_are_drawn_as_the_bound_allows(seed: int, bound: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    key, entropy = torch.rand(2, 4, 9, generator=generator)
    entropy, hidden = entropy * 3, torch.rand(4, 9, generator=generator) < 0.7
    for row, own, of, count in zip(key, entropy, hidden, within_entropy(key, entropy, hidden, bound), strict=True):
        ranked = [i for i in row.argsort(descending=True).tolist() if of[i]]
        allowed = 1
        for m in range(1, len(ranked) + 1):
            first = own[ranked[:m]].double()
            allowed = m if float(first.sum() - first.max()) <= bound else allowed
        assert int(count) == allowed
