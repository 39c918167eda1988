"""Truncation and inversion against closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cmrgz.tokens.sampling import along, draw, truncate

LAST = float(torch.tensor(1.0).nextafter(torch.tensor(0.0)))
"""The largest float32 below 1."""

numbers = st.floats(-30, 30, width=32)
rows = st.integers(1, 40).flatmap(lambda n: arrays(np.float32, (n,), elements=numbers))


def softmax(logits: np.ndarray) -> np.ndarray:
    share = np.exp(logits.astype(np.float64) - logits.max())
    return share / share.sum()


def kept(logits: torch.Tensor) -> list[int]:
    return logits.isfinite().nonzero()[:, 0].tolist()


def spaced(logits: torch.Tensor, count: int = 100_000, **options: float) -> torch.Tensor:
    """Return the frequencies of the codes over evenly spaced u."""
    u = (torch.arange(count) + 0.5) / count
    codes = draw(logits.expand(count, -1), u, **options)
    return torch.bincount(codes, minlength=len(logits)) / count


def test_top_k_keeps_the_k_best_as_they_are() -> None:
    logits = torch.tensor([0.1, 3.0, -2.0, 2.0, 1.0])
    for k, best in {
        1: [1],
        2: [1, 3],
        3: [1, 3, 4],
        5: [0, 1, 2, 3, 4],
        9: [0, 1, 2, 3, 4],
        0: [0, 1, 2, 3, 4],
    }.items():
        out = truncate(logits, k, 1.0)
        assert kept(out) == best
        assert torch.equal(out[best], logits[best])


@pytest.mark.parametrize(
    ("top_p", "best"), [(0.4, [2]), (0.5, [2]), (0.51, [0, 2]), (0.79, [0, 2]), (0.81, [0, 1, 2]), (1e-6, [2])]
)
def test_top_p_keeps_the_smallest_set_that_has_the_share(top_p: float, best: list[int]) -> None:
    logits = torch.tensor([0.3, 0.15, 0.5, 0.05], dtype=torch.float64).log()
    assert kept(truncate(logits, 0, top_p)) == best


def test_top_k_comes_before_top_p() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert kept(truncate(logits, 2, 0.6)) == [0, 1]  # of the two best, 0.4 / 0.7 = 0.57 is less than 0.6
    assert kept(truncate(logits, 2, 0.5)) == [0]


@given(rows, st.integers(0, 45), st.floats(1e-6, 1))
@settings(deadline=None, max_examples=80)
def test_truncation_keeps_the_best_and_enough(values: np.ndarray, top_k: int, top_p: float) -> None:
    logits = torch.from_numpy(values)
    left = truncate(logits, top_k, top_p)
    stay = left.isfinite()
    assert stay[logits == logits.max()].any()
    assert torch.equal(left[stay], logits[stay])
    if (~stay).any():
        assert logits[stay].min() >= logits[~stay].max()
    if top_k == 0:
        assert softmax(values)[stay.numpy()].sum() >= top_p - 1e-5
    if top_p == 1 and top_k:
        assert int((logits > logits[stay].min()).sum()) < top_k


def test_frequencies_are_those_of_the_distribution() -> None:
    logits = torch.tensor([0.2, -1.0, 1.3, 0.0, -4.0])
    for temperature in (0.25, 1.0, 3.0):
        expected = torch.from_numpy(softmax(logits.numpy() / temperature))
        assert (spaced(logits, temperature=temperature) - expected).abs().max() < 2e-5
    share = softmax(logits.numpy())
    best = np.where(share >= np.sort(share)[-2], share, 0)
    assert (spaced(logits, top_k=2) - torch.from_numpy(best / best.sum())).abs().max() < 2e-5
    assert (spaced(logits, top_p=float(best.sum()) - 1e-3) - torch.from_numpy(best / best.sum())).abs().max() < 2e-5


@given(rows, st.sampled_from([0.0, 0.5, LAST]), st.integers(0, 5), st.sampled_from([1.0, 0.9, 0.1]))
@settings(deadline=None, max_examples=150)
def test_what_is_drawn_has_a_share(values: np.ndarray, u: float, top_k: int, top_p: float) -> None:
    logits = torch.from_numpy(values)
    code = int(draw(logits, torch.tensor(u), 1.0, top_k, top_p))
    assert 0 <= code < len(values)
    assert truncate(logits, top_k, top_p).softmax(-1)[code] > 0


@pytest.mark.parametrize("u", [0.0, LAST])
def test_the_ends_of_u_skip_codes_without_a_share(u: float) -> None:
    logits = torch.tensor([-torch.inf, 1.0, -torch.inf, 1.0, -torch.inf])
    assert int(draw(logits, torch.tensor(u))) == (1 if u == 0 else 3)


def test_the_largest_u_stays_inside_for_every_rounding_of_the_sum() -> None:
    logits = torch.randn(2000, 1024, generator=torch.Generator().manual_seed(0)) * 3
    logits[:, 700:] = -torch.inf
    assert int(draw(logits, torch.full((2000,), LAST)).max()) < 700


def test_temperature_zero_takes_the_best_whatever_u() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [5.0, 2.0, 1.0]])
    for u in (0.0, 0.3, LAST):
        assert draw(logits, torch.full((2,), u), temperature=0).tolist() == [1, 0]


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-44])
def test_small_temperatures_tend_to_the_best(temperature: float) -> None:
    logits = torch.tensor([[-3.0, 20.0, 19.0], [30.0, -80.0, 12.0]])
    for u in (0.0, 0.3, LAST):
        assert draw(logits, torch.full((2,), u), temperature=temperature).tolist() == [1, 0]


def test_half_precision_is_drawn_from_in_float32() -> None:
    logits = torch.zeros(1024, dtype=torch.bfloat16)
    u = (torch.arange(1024) + 0.5) / 1024
    assert torch.equal(draw(logits.expand(1024, -1), u), torch.arange(1024))


def test_a_batch_is_drawn_as_its_rows_are() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, u = torch.randn(4, 3, 50, generator=generator), torch.rand(4, 3, generator=generator)
    codes = draw(logits, u, 0.8, 20, 0.9)
    single = [[int(draw(logits[i, j], u[i, j], 0.8, 20, 0.9)) for j in range(3)] for i in range(4)]
    assert codes.tolist() == single


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5}, {"top_k": 7}, {"top_p": 0.6}, {"temperature": 0}])
def test_an_order_of_the_codes_does_not_change_how_often_they_come(options: dict[str, float]) -> None:
    logits = torch.randn(20, generator=torch.Generator().manual_seed(2))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    plain, turned = spaced(logits, 10_000, **options), spaced(logits, 10_000, **options, order=order)
    assert torch.allclose(plain, turned, atol=3e-4)
    codes = draw(logits.expand(500, -1), torch.arange(500) / 500, **options, order=order)
    places = order.argsort()[codes]
    assert (places.diff() >= 0).all()
    assert torch.equal(draw(logits, torch.tensor(0.3), order=torch.arange(20)), draw(logits, torch.tensor(0.3)))


def test_opposite_numbers_give_opposite_vectors_along_the_first_axis() -> None:
    books = torch.randn(2, 64, 5, generator=torch.Generator().manual_seed(4))
    orders = along(books)
    assert orders.shape == (2, 64) and (books[0, orders[0], 0].diff() >= 0).all()
    u = (torch.arange(1000) + 0.5) / 1000
    near = [books[1, draw(torch.zeros(1000, 64), number, order=orders[1])] for number in (u, 1 - u)]
    correlation = [np.corrcoef(near[0][:, axis], near[1][:, axis])[0, 1] for axis in range(5)]
    assert correlation[0] < -0.9 < min(correlation[1:])
