import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torchmetrics.image.fid import _compute_fid

from cmrgz.evaluation.metrics.sets import frechet
from cmrgz.evaluation.metrics.sets.frechet import fd, fd_infinity, gaussian_frechet


def spectrum(d: int = 64, trace: float = 19.0) -> Any:
    values = np.exp(-2.6 * np.arange(1, d + 1) / d)
    return values * trace / values.sum()


def draws(seed: int, n: int, variances: Any) -> Any:
    return np.random.default_rng(seed).normal(size=(n, len(variances))) * np.sqrt(variances)


def covariance(seed: int, d: int = 6) -> Any:
    a = np.random.default_rng(seed).normal(size=(d, d))
    return a @ a.T


def test_of_commuting_gaussians() -> None:
    """Diagonal covariances: |m1 - m2|^2 + sum (s1 - s2)^2."""
    m, s, t = np.array([1.0, 2.0, 0.0]), np.array([1.0, 2.0, 0.0]), np.array([3.0, 0.5, 1.0])
    found = gaussian_frechet(m, np.diag(s**2), np.zeros(3), np.diag(t**2))
    assert found == pytest.approx(5 + ((s - t) ** 2).sum())


def test_of_any_gaussians_is_that_of_the_matrix_root_and_of_torchmetrics() -> None:
    a, b, m = covariance(0), covariance(1), np.arange(6.0)
    found = gaussian_frechet(m, a, 0 * m, b)
    assert found == pytest.approx((m**2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real))
    assert found == pytest.approx(float(_compute_fid(*(torch.tensor(v) for v in (m, a, 0 * m, b)))))
    assert gaussian_frechet(m, a, m, a) == pytest.approx(0, abs=1e-9)


def test_of_two_sets_is_that_of_their_moments() -> None:
    x, y = draws(0, 200, np.ones(5)), 0.5 + draws(1, 150, 2 * np.ones(5))
    moments = [torch.tensor(v) for v in (x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))]
    assert fd(x, y) == pytest.approx(float(_compute_fid(*moments)), rel=1e-9)


def test_sets_of_no_more_items_than_dimensions_have_none() -> None:
    x = draws(0, 40, np.ones(8))
    assert math.isnan(fd(x[:8], x)) and math.isnan(fd(x, x[:8])) and fd(x[:9], x) > 0
    assert math.isnan(fd_infinity(x, x))


def first_order_bias(variances: Any, n: int) -> float:
    """Means: 2 tr / n. Covariances: sum_ij v_i v_j (1 + [i = j]) / (n (v_i + v_j)), from the second derivative."""
    product, total = np.outer(variances, variances), np.add.outer(variances, variances)
    return float((2 * variances.sum() + (product * (1 + np.eye(len(variances))) / total).sum()) / n)


@pytest.mark.parametrize("n, published", [(100, 5.0), (250, 2.1), (500, 1.07), (1000, 0.52), (2500, 0.20)])
def test_the_bias_of_equal_gaussians(n: int, published: float) -> None:
    """The table of the specification: 64 dimensions, trace 19; its spectrum is not stated, so ours differs a little."""
    variances = spectrum()
    found = np.mean([fd(draws(2 * i, n, variances), draws(2 * i + 1, n, variances)) for i in range(6)])
    assert found == pytest.approx(published, rel=0.12)
    if n >= 1000:
        assert found == pytest.approx(first_order_bias(variances, n), rel=0.06)


def test_extrapolation_takes_the_bias_out() -> None:
    variances = spectrum()
    values = [fd_infinity(draws(2 * i, 500, variances), draws(2 * i + 1, 500, variances), seed=i) for i in range(12)]
    assert abs(np.mean(values)) < 0.15  # 1.07 without it
    assert min(values) < 0.1


def test_extrapolation_is_of_ten_sizes_from_a_fifth(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def biased(x: Any, y: Any) -> float:
        sizes.append((len(x), len(y)))
        return 3 + 70 / len(x)

    monkeypatch.setattr(frechet, "fd", biased)
    assert fd_infinity(draws(0, 500, np.ones(4)), draws(1, 900, np.ones(4))) == pytest.approx(3)
    assert all(n == m for n, m in sizes) and len(set(sizes)) == 10
    assert min(sizes) == (100, 100) and max(sizes) == (500, 500)


def test_extrapolation_keeps_what_is_there() -> None:
    variances = spectrum()
    x, y = draws(0, 800, variances), draws(1, 1000, variances)
    x[:, 0] += 2
    assert fd_infinity(x, y) == pytest.approx(4, abs=0.5)
    assert fd_infinity(x, y) == fd_infinity(x, y)
