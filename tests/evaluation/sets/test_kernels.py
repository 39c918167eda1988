import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.image.kid import poly_mmd

from cmrgz.evaluation.metrics.sets import kernels
from cmrgz.evaluation.metrics.sets.kernels import gaussian, kid, median_distance, mmd, rbf_mmd


def draws(seed: int, n: int, d: int = 8, shift: float = 0.0) -> Any:
    return np.random.default_rng(seed).normal(shift, size=(n, d))


def test_kid_is_that_of_torchmetrics() -> None:
    x, y = draws(0, 50), draws(1, 50, shift=0.4)
    assert kid(x, y) == pytest.approx(1000 * float(poly_mmd(torch.tensor(x), torch.tensor(y))), rel=1e-12)


def test_kid_of_unequal_sizes_by_hand() -> None:
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0], [-1.0]])
    within_x, within_y = 3**3, (1 + 1 + 0) / 3
    across = np.mean([1, 2**3, 0, 1, 3**3, (-1) ** 3])
    assert kid(x, y) == pytest.approx(1000 * (within_x + within_y - 2 * across))


def test_the_matrix_in_parts_is_the_matrix_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = draws(0, 40), draws(1, 60)
    whole = kid(x, y)
    monkeypatch.setattr(kernels, "ROWS", 7)
    assert kid(x, y) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("measure", [kid, rbf_mmd])
def test_the_null_is_zero_on_average_of_either_sign(measure: Any) -> None:
    values = np.array([measure(draws(2 * i, 30), draws(2 * i + 1, 40)) for i in range(300)])
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(300)
    assert (values < 0).mean() > 0.3


def test_a_shift_is_found_and_is_what_the_closed_form_says() -> None:
    """E k(x, y) of the cubic kernel in one dimension, x ~ N(a, 1), y ~ N(b, 1): 1 + 3 ab + 3 A B + (a^3+3a)(b^3+3b)."""

    def expected(a: float, b: float) -> float:
        return 1 + 3 * a * b + 3 * (1 + a * a) * (1 + b * b) + (a**3 + 3 * a) * (b**3 + 3 * b)

    truth = 1000 * (expected(0.5, 0.5) + expected(0, 0) - 2 * expected(0.5, 0))
    values = [kid(draws(2 * i, 400, 1, 0.5), draws(2 * i + 1, 400, 1)) for i in range(40)]
    assert np.mean(values) == pytest.approx(truth, abs=3 * np.std(values) / math.sqrt(40))


def test_the_gaussian_kernel_distance_is_what_the_closed_form_says() -> None:
    """E k(x, y) with x - y ~ N(c, 2): s / sqrt(s^2 + 2) exp(-c^2 / (2 (s^2 + 2)))."""
    s, c = 1.3, 0.8
    truth = 1000 * 2 * s / math.sqrt(s * s + 2) * (1 - math.exp(-c * c / (2 * (s * s + 2))))
    values = [rbf_mmd(draws(2 * i, 400, 1, c), draws(2 * i + 1, 400, 1), sigma=s) for i in range(20)]
    assert np.mean(values) == pytest.approx(truth, abs=3 * np.std(values) / math.sqrt(20))


def test_the_width_is_of_the_reals_alone() -> None:
    real = draws(0, 60)
    assert median_distance(real) == pytest.approx(math.sqrt(2 * 8), rel=0.1)
    x = draws(1, 60) * 5
    assert rbf_mmd(x, real) == rbf_mmd(x, real, sigma=median_distance(real))
    assert gaussian(real[:1], real[1:2], 2.0)[0, 0] == pytest.approx(math.exp(-((real[0] - real[1]) ** 2).sum() / 8))
    assert math.isnan(rbf_mmd(x, np.zeros((9, 8))))


def clustered(seed: int, patients: int, frames: int, spread: float = 0.2) -> Any:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(patients, 1, 8))
    return (centres + spread * rng.normal(size=(patients, frames, 8))).reshape(-1, 8)


def test_frames_of_few_patients_are_biased_unless_their_pairs_are_left_out() -> None:
    """Draws of one distribution, 6 patients of 10 frames in each set: the plain estimate is not null."""
    of = np.repeat(np.arange(6), 10)
    plain, apart = [], []
    for i in range(150):
        x, y = clustered(2 * i, 6, 10), clustered(2 * i + 1, 6, 10)
        plain.append(kid(x, y))
        apart.append(kid(x, y, subjects=(of, of + 6)))
    assert np.mean(plain) > 5 * np.std(plain) / math.sqrt(150)
    assert abs(np.mean(apart)) < 3 * np.std(apart) / math.sqrt(150)


def test_completed_frames_beside_their_own_truth_are_null_with_the_pairs_left_out() -> None:
    """What a hole of no pixels gives: the two sets are equal item by item."""
    of = np.arange(60)
    values = [(kid(x, x), kid(x, x, subjects=(of, of))) for x in (draws(i, 60) for i in range(100))]
    plain, apart = np.transpose(values)
    assert (plain < 0).all() and apart == pytest.approx(0, abs=1e-9)


def test_one_subject_alone_has_no_pair() -> None:
    assert math.isnan(kid(draws(0, 5), draws(1, 5), subjects=(["a"] * 5, list("bcdef"))))


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 99))
def test_order_does_not_matter(n: int, m: int, seed: int) -> None:
    x, y, rng = draws(seed, n, 3), draws(seed + 1, m, 3), np.random.default_rng(seed)
    linear = lambda a, b: a @ b.T  # noqa: E731
    assert mmd(x, y, linear) == pytest.approx(mmd(rng.permutation(y), rng.permutation(x), linear), abs=1e-9)


def test_two_thousand_items_take_less_than_a_second() -> None:
    x, y = draws(0, 2000, 64), draws(1, 2000, 64)
    start = time.perf_counter()
    kid(x, y)
    print(f"kid of 2,000 items: {time.perf_counter() - start:.2f} s; 0.2 s on an idle core")
