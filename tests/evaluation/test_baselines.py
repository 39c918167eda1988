from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz.data.masks import parse
from cmrgz.errors import DataError, UsageError
from cmrgz.evaluation.baselines import (
    FILLS,
    RETRIEVALS,
    atlas,
    biharmonic,
    harmonic,
    mean_fill,
    nearest_neighbour,
    neighbours_mean,
)

EVERY = {**FILLS, **{name: lambda x, known, f=f: f(x, known, bank()) for name, f in RETRIEVALS.items()}}


def bank(m: int = 12, height: int = 24, width: int = 30) -> Any:
    return np.random.default_rng(99).random((m, height, width))


def hole(recipe: str, shape: tuple[int, ...] = (3, 24, 30)) -> Any:
    return parse(recipe).draw((shape[0], 1, *shape[1:]), seed=1)[:, 0]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("recipe", ["0", "patch:0.5,size=4", "box:0.4", "half:0.9", "irregular:0.3", "1"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_known_pixels_stay_and_hidden_ones_are_filled_unseen(name: str, recipe: str, dtype: Any) -> None:
    x, known = np.random.default_rng(0).random((3, 24, 30)).astype(dtype), hole(recipe)
    out = EVERY[name](x, known)
    assert out.dtype == np.float64 and (out[known] == x[known]).all()
    assert np.isfinite(out).all() and out.min() >= 0 and out.max() <= 1
    for value in (np.nan, np.inf, -7):
        again = EVERY[name](np.where(known, x, dtype(value)), known)
        assert again.tobytes() == out.tobytes()


@pytest.mark.parametrize("name", EVERY)
def test_a_frame_does_not_depend_on_its_batch(name: str) -> None:
    x, known = np.random.default_rng(0).random((3, 24, 30)), hole("box:0.4")
    alone = np.concatenate([EVERY[name](x[i : i + 1], known[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(EVERY[name](x, known), alone, atol=1e-12)


@pytest.mark.parametrize("name", ["mean", "harmonic", "biharmonic"])
def test_nothing_known_gives_the_middle(name: str) -> None:
    nothing = np.zeros((1, 5, 6), dtype=bool)
    assert (FILLS[name](np.full((1, 5, 6), np.nan), nothing) == 0.5).all()


def test_mean_is_of_the_known_pixels_of_each_frame() -> None:
    x = np.array([[[0.2, 0.4], [0.9, 0.9]], [[0.5, 0.7], [0.1, 0.3]]])
    known = np.array([[[True, True], [False, False]], [[False, True], [False, True]]])
    out = mean_fill(x, known)
    np.testing.assert_allclose(out[0, 1], 0.3)
    np.testing.assert_allclose(out[1, :, 0], 0.5)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 14), st.integers(1, 14), st.integers(0, 999))
def test_harmonic_pixels_are_the_mean_of_their_neighbours(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, known = rng.random((1, height, width)), rng.random((1, height, width)) < 0.3
    known[0, 0, 0] = True
    out = harmonic(x, known)[0]
    total, count = np.zeros_like(out), np.zeros_like(out)
    later, earlier = np.s_[1:], np.s_[:-1]
    for to, source in ((later, earlier), (earlier, later)):
        total[to] += out[source]
        total[:, to] += out[:, source]
        count[to] += 1
        count[:, to] += 1
    np.testing.assert_allclose(out[~known[0]] * count[~known[0]], total[~known[0]], atol=1e-9)


def test_harmonic_is_exact_on_harmonic_images() -> None:
    """x^2 - y^2, xy and planes solve Laplace's equation on the grid too, so a hole inside is filled exactly."""
    rows, cols = np.mgrid[-1:1:40j, -1:1:40j]
    x = np.stack([rows**2 - cols**2, rows * cols, rows + 2 * cols]) / 8 + 0.5
    known = np.ones(x.shape, dtype=bool)
    known[:, 5:33, 8:36] = False
    np.testing.assert_allclose(harmonic(x, known), x, atol=1e-10)


def test_harmonic_agrees_with_many_plain_sweeps() -> None:
    x, known = np.random.default_rng(3).random((1, 16, 20)), hole("box:0.5", (1, 16, 20))
    u = np.where(known, x, 0.5)[0]
    for _ in range(4000):
        p = np.pad(u, 1, mode="edge")
        u = np.where(known[0], x[0], (p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]) / 4)
    np.testing.assert_allclose(harmonic(x, known)[0], u, atol=1e-4)


def test_biharmonic_goes_on_with_slopes_and_curves() -> None:
    """Cubics have no fourth derivative: a hole inside is filled exactly, where harmonic is not exact."""
    rows, cols = np.mgrid[-1:1:40j, -1:1:40j]
    x = ((rows**3 + cols**2 - rows * cols**2) / 8 + 0.5)[None]
    known = np.ones(x.shape, dtype=bool)
    known[:, 12:28, 10:30] = False
    np.testing.assert_allclose(biharmonic(x, known), x, atol=1e-8)
    assert np.abs(harmonic(x, known) - x).max() > 0.01


def test_nearest_neighbour_is_judged_on_known_pixels_only() -> None:
    frames = bank()
    known = hole("half:0.5")
    x = frames[[4, 7, 2]].copy()
    x[~known] = frames[[1, 1, 1]][~known]  # a decoy in the hole
    noisy = np.clip(x + np.random.default_rng(0).normal(0, 0.05, x.shape), 0, 1)
    out = nearest_neighbour(noisy, known, frames)
    assert (out[~known] == frames[[4, 7, 2]][~known]).all()


def test_neighbours_agree_with_a_plain_search() -> None:
    x, known, frames = np.random.default_rng(0).random((3, 24, 30)), hole("0.6,size=4"), bank()
    out = neighbours_mean(x, known, frames, k=3)
    for i in range(3):
        distance = [((x[i] - b)[known[i]] ** 2).sum() for b in frames]
        expected = frames[np.argsort(distance)[:3]].mean(axis=0)
        np.testing.assert_allclose(out[i][~known[i]], expected[~known[i]])


def test_all_neighbours_are_the_atlas() -> None:
    x, known = np.random.default_rng(0).random((3, 24, 30)), hole("box:0.4")
    np.testing.assert_allclose(neighbours_mean(x, known, bank(), k=99), atlas(x, known, bank()))
    np.testing.assert_allclose(atlas(x, known, bank())[~known], np.broadcast_to(bank().mean(0), x.shape)[~known])


def test_bad_arguments_are_refused() -> None:
    x, known = np.zeros((3, 24, 30)), hole("0.5")
    with pytest.raises(DataError, match="empty-dataset"):
        atlas(x, known, bank()[:0])
    with pytest.raises(DataError, match="shape-mismatch"):
        nearest_neighbour(x, known, bank()[:, :5])
    with pytest.raises(DataError, match="shape-mismatch"):
        harmonic(x, known[:1])
    with pytest.raises(DataError, match="shape-mismatch"):
        mean_fill(x, known.astype(float))
    with pytest.raises(UsageError, match="range"):
        neighbours_mean(x, known, bank(), k=0)
