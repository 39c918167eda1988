import pytest
import torch
from cmrgz_tokenizers import kmeans as module
from cmrgz_tokenizers.kmeans import kmeans, nearest, residual_kmeans
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clusters(n: int = 600, c: int = 6) -> Tensor:
    centres = 3 * torch.randn(12, c, generator=seeded(1))
    return centres[torch.arange(n) % 12] + torch.randn(n, c, generator=seeded(2))


def left(x: Tensor, books: Tensor) -> Tensor:
    """Return what the codes of `books` leave of x."""
    for book in books:
        x = x - book[nearest(x, book)]
    return x


def error(x: Tensor, book: Tensor) -> float:
    return float((x - book[nearest(x, book)]).square().sum(1).mean())


@given(n=st.integers(1, 40), k=st.integers(1, 20), c=st.integers(1, 9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_nearest_is_nearest(n: int, k: int, c: int, seed: int) -> None:
    x, book = torch.randn(n, c, generator=seeded(seed)), torch.randn(k, c, generator=seeded(seed + 1))
    distance = (x[:, None].double() - book.double()).norm(dim=-1)
    found = distance.gather(1, nearest(x, book)[:, None])[:, 0]
    torch.testing.assert_close(found, distance.amin(1), rtol=1e-5, atol=1e-5)


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    x = clusters()
    whole = nearest(x, x[:20])
    monkeypatch.setattr(module, "CHUNK", 7)
    assert torch.equal(nearest(x, x[:20]), whole)


def test_lloyd_steps_only_improve() -> None:
    x = clusters()
    steps = [error(x, kmeans(x, 12, iterations, seeded())) for iterations in range(8)]
    assert all(after <= before * (1 + 1e-6) for before, after in zip(steps, steps[1:], strict=False))
    assert steps[-1] < 0.8 * steps[0]


def test_a_code_is_the_mean_of_its_vectors() -> None:
    x = clusters()
    book = kmeans(x, 12, 60, seeded())
    index = nearest(x, book)
    means = torch.stack([x[index == code].mean(0) for code in range(12)])
    torch.testing.assert_close(book, means, rtol=1e-4, atol=1e-4)


def test_each_level_leaves_less() -> None:
    x = clusters()
    books = residual_kmeans(x, 8, 6, 6, seeded())
    rest = [float(left(x, books[:level]).square().mean()) for level in range(7)]
    assert books.shape == (6, 8, 6)
    assert all(after < 0.95 * before for before, after in zip(rest, rest[1:], strict=False))


def test_levels_are_nested() -> None:
    x = clusters()
    assert torch.equal(residual_kmeans(x, 8, 5, 4, seeded())[:2], residual_kmeans(x, 8, 2, 4, seeded()))


def test_empty_codes_are_filled_again() -> None:
    x = torch.cat([torch.zeros(500, 2), 5 + torch.arange(16.0).repeat(2, 1).T])
    used = [len(nearest(x, kmeans(x, 8, iterations, seeded())).unique()) for iterations in (0, 12)]
    assert used[0] < 8, "the start has no empty code to fill"
    assert used[1] == 8


def test_an_empty_code_restarts_at_a_vector_that_is_served_badly() -> None:
    x = torch.tensor([[0.0], [0.0], [0.0], [9.0]])
    book = torch.tensor([[0.0], [100.0]])
    new = module._update(x, nearest(x, book), book, seeded())
    assert new[0].item() == pytest.approx(9 / 4) and new[1].item() == 9.0


def test_fewer_vectors_than_codes() -> None:
    x = clusters(5)
    book = kmeans(x, 8, 3, seeded())
    assert book.isfinite().all() and error(x, book) < 1e-8


def test_the_seed_decides() -> None:
    x = clusters()
    first = residual_kmeans(x, 8, 3, 4, seeded(3))
    assert torch.equal(residual_kmeans(x, 8, 3, 4, seeded(3)), first)
    assert not torch.equal(residual_kmeans(x, 8, 3, 4, seeded(4)), first)


def test_neither_the_global_generator_nor_the_input_is_touched() -> None:
    x = clusters()
    before, state = x.clone(), torch.get_rng_state()
    residual_kmeans(x, 64, 3, 4, seeded())
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(x, before)
