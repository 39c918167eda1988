from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import wasserstein_distance
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

from cmrgz.evaluation.metrics.sets.diversity import ms_ssim_gap, random_pairs
from cmrgz.evaluation.metrics.sets.sliced import _expand, _wasserstein, laplacian_pyramid, swd, swd_levels


def images(seed: int, n: int = 24, size: int = 96) -> Any:
    """Smooth random textures in [0, 1] about a bright ring of random size."""
    rng = np.random.default_rng(seed)
    texture = gaussian_filter(rng.normal(size=(n, size, size)), (0, 1.5, 1.5)) / 2
    y, x = np.mgrid[:size, :size] - size / 2
    radius = rng.uniform(15, 30, n)[:, None, None]
    return np.clip(0.4 + texture + 0.3 * (np.abs(np.hypot(x, y) - radius) < 4), 0, 1)


def test_a_pyramid_adds_up_to_the_images() -> None:
    x = images(0, 2, 50)
    fine, middle, rest = laplacian_pyramid(x)
    assert [b.shape[1] for b in (fine, middle, rest)] == [50, 25, 13]
    low = middle + _expand(rest, middle.shape)
    np.testing.assert_allclose(fine + _expand(low, fine.shape), x, atol=1e-12)


def test_a_flat_image_has_no_detail() -> None:
    fine, middle, rest = laplacian_pyramid(np.full((1, 40, 40), 0.3))
    assert np.abs(fine[:, 4:-4, 4:-4]).max() < 1e-12 and np.abs(middle[:, 4:-4, 4:-4]).max() < 1e-12
    np.testing.assert_allclose(rest, 0.3)


def test_distance_along_directions_is_that_of_scipy() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 50, 3)) + [[[0]], [[1]]]
    expected = np.mean([wasserstein_distance(a[:, i], b[:, i]) for i in range(3)])
    assert _wasserstein(a, b) == pytest.approx(expected)


def test_halves_are_nearer_than_what_is_blurred_noisy_or_of_other_contrast() -> None:
    real, other = images(0), images(1)
    floor = swd(other, real)
    assert swd(real, real) == 0 < floor
    assert swd(other, real) == floor
    noisy = np.clip(other + np.random.default_rng(2).normal(0, 0.1, other.shape), 0, 1)
    for worse in (gaussian_filter(other, (0, 2, 2)), noisy, 0.5 + 0.5 * (other - 0.5)):
        assert swd(worse, real) > 4 * floor


def test_the_scale_of_a_fault_is_told() -> None:
    real, other = images(0), images(1)
    floor = swd_levels(other, real)
    fine = swd_levels(np.clip(other + np.random.default_rng(2).normal(0, 0.05, other.shape), 0, 1), real) / floor
    light = swd_levels(other + 0.1, real) / floor
    assert fine[0] > 2 * fine[2] and light[2] > 2 * light[0]


def test_pairs_are_different_and_of_different_items() -> None:
    for n, count in ((2, 1), (10, 45), (200, 500)):
        pairs = random_pairs(np.arange(n), seed=0)
        assert pairs.shape == (count, 2) == np.unique(pairs, axis=0).shape
        assert (pairs[:, 0] < pairs[:, 1]).all() and pairs.min() >= 0 and pairs.max() < n
    assert (np.bincount(random_pairs(np.arange(200), 0).ravel(), minlength=200) > 0).mean() > 0.98


def test_frames_of_a_subject_make_no_pair() -> None:
    of = np.repeat(np.arange(20), 10)
    pairs = random_pairs(of, seed=0)
    assert len(pairs) == 500 and (of[pairs[:, 0]] != of[pairs[:, 1]]).all()
    assert len(random_pairs(["a", "a", "b"], seed=0)) == 2


def test_the_gap_of_copies_of_few_subjects_is_between_the_subjects() -> None:
    real = images(0, 10)
    of = np.repeat(np.arange(10), 2)
    assert ms_ssim_gap(real[of], real) > 0.03
    assert ms_ssim_gap(real[of], real, subjects=(of, np.arange(10))) == pytest.approx(0, abs=1e-9)
    assert np.isnan(ms_ssim_gap(real, real, subjects=(["a"] * 10, of[:10])))


def test_the_gap_is_that_of_the_pairs() -> None:
    """Sets of two items have one pair each: the difference of two values of torchmetrics."""
    x, y = images(0, 2, 128), images(1, 2, 128)
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363])
    betas = tuple(weights / weights.sum())
    each = [ms_ssim(*torch.tensor(v)[:, None, None], data_range=1.0, betas=betas, normalize="relu") for v in (x, y)]
    assert ms_ssim_gap(x, y) == pytest.approx(float(each[0] - each[1]), abs=1e-6)


def test_draws_of_one_distribution_have_no_gap_and_collapse_has() -> None:
    real, other = images(0, 14), images(1, 14)
    assert abs(ms_ssim_gap(other, real)) < 0.03
    alike = 0.2 * other + 0.8 * other[:1]
    assert ms_ssim_gap(alike, real) > 0.2
    assert ms_ssim_gap(real, alike) < -0.2


def test_small_images_have_no_gap() -> None:
    assert np.isnan(ms_ssim_gap(images(0, 3, 64), images(1, 3, 64)))
