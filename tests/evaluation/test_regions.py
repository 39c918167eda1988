from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from cmrgz.errors import DataError, UsageError
from cmrgz.evaluation.regions import energy_score_frames, psnr_frames, seam, ssim_frames, ssim_map


def images(n: int = 3, height: int = 40, width: int = 33, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    y = rng.random((n, height, width))
    return np.clip(y + rng.normal(0, 0.1, y.shape), 0, 1), y


def psnr(*given: Any) -> float:
    return float(np.nanmean(psnr_frames(*given)))


def ssim(*given: Any) -> float:
    return float(np.nanmean(ssim_frames(*given)))


def energy_score(*given: Any) -> float:
    return float(np.nanmean(energy_score_frames(*given)))


def everywhere(x: Any) -> Any:
    return np.ones(x.shape, dtype=bool)


def test_psnr_of_the_frame_agrees_with_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.image import peak_signal_noise_ratio

    x, y = images()
    expected = [
        float(peak_signal_noise_ratio(torch.tensor(a[None, None]), torch.tensor(b[None, None]), data_range=1.0))
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(psnr_frames(x, y, everywhere(x)), expected, rtol=1e-6)
    assert psnr(x, y, everywhere(x)) == pytest.approx(np.mean(expected), rel=1e-6)


def test_ssim_map_agrees_with_torchmetrics_to_the_border() -> None:
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = images()
    _, full = structural_similarity_index_measure(
        torch.tensor(x[:, None]), torch.tensor(y[:, None]), data_range=1.0, return_full_image=True
    )
    np.testing.assert_allclose(ssim_map(x, y), full[:, 0].numpy(), atol=1e-6)
    region = np.zeros(x.shape, dtype=bool)
    region[:, 3:17, 20:] = True
    assert ssim(x, y, region) == pytest.approx(float(full[:, 0, 3:17, 20:].mean()), abs=1e-6)


def test_psnr_sees_the_region_alone_and_averages_decibels() -> None:
    y = np.full((2, 4, 4), 0.5)
    x, region = y.copy(), np.zeros(y.shape, dtype=bool)
    region[:, 1] = True
    x[0, 1], x[1, 1] = 0.6, 0.51
    x[:, 2] = np.nan
    np.testing.assert_allclose(psnr_frames(x, y, region), [20, 40])
    assert psnr(x, y, region) == pytest.approx(30)


def test_psnr_is_capped() -> None:
    x, _ = images()
    assert (psnr_frames(x, x, everywhere(x)) == 80).all()
    assert psnr_frames(x + 1e-6, x, everywhere(x)) == pytest.approx(80)


def test_ssim_of_equal_and_of_constant_frames() -> None:
    x, _ = images()
    assert ssim(x, x, everywhere(x)) == pytest.approx(1)
    a, b = np.full((1, 20, 20), 0.3), np.full((1, 20, 20), 0.6)
    assert ssim(a, b, everywhere(a)) == pytest.approx((2 * 0.18 + 1e-4) / (0.09 + 0.36 + 1e-4))


def test_ssim_of_the_hole_is_less_than_of_the_frame() -> None:
    x, y = images()
    hidden = np.zeros(y.shape, dtype=bool)
    hidden[:, 10:30, 8:25] = True
    composite = np.where(hidden, x, y)
    assert ssim(composite, y, hidden) < ssim(composite, y, everywhere(y)) < 1
    assert ssim_map(composite, y)[0, 15:25, 13:20] == pytest.approx(ssim_map(x, y)[0, 15:25, 13:20])


def test_an_empty_region_is_nan() -> None:
    x, y = images()
    region = everywhere(x)
    region[1] = False
    samples = np.stack([x, y])
    for scores in (psnr_frames, ssim_frames):
        assert np.isnan(scores(x, y, region)).tolist() == [False, True, False]
    assert np.isnan(energy_score_frames(samples, y, region)).tolist() == [False, True, False]


def test_energy_score_by_hand() -> None:
    """Three samples of two hidden pixels: distances 5, 0, 5 to the truth; 5, 6, 5 to one another (each twice)."""
    truth = np.zeros((1, 1, 3))
    samples = np.array([[[[3, 4, 9]]], [[[0, 0, 9]]], [[[-3, 4, 9]]]], dtype=float)
    hidden = np.array([[[True, True, False]]])
    assert energy_score(samples, truth, hidden) == pytest.approx((10 / 3 - 2 * 16 / (2 * 3 * 2)) / np.sqrt(2))


@pytest.mark.parametrize("y", [0.0, 0.7, -2.0])
def test_energy_score_of_one_pixel_is_the_crps(y: float) -> None:
    """CRPS of N(0, 1) at y: y (2 F(y) - 1) + 2 f(y) - 1 / sqrt(pi)."""
    frames = 20_000
    samples = np.random.default_rng(0).normal(size=(8, frames, 1, 1))
    found = energy_score(samples, np.full((frames, 1, 1), y), np.ones((frames, 1, 1), dtype=bool))
    assert found == pytest.approx(y * (2 * norm.cdf(y) - 1) + 2 * norm.pdf(y) - 1 / np.sqrt(np.pi), abs=0.01)


@pytest.mark.parametrize("wrong", [{"scale": 0.5}, {"scale": 2.0}, {"loc": 0.5}])
def test_energy_score_is_proper(wrong: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    shape = (4, 5000, 2, 2)
    truth, hidden = rng.normal(size=shape[1:]), np.ones(shape[1:], dtype=bool)
    right = energy_score(rng.normal(size=shape), truth, hidden)
    assert right < energy_score(rng.normal(**wrong, size=shape), truth, hidden) - 0.01


def test_energy_score_needs_two_samples() -> None:
    x, y = images()
    with pytest.raises(UsageError, match="2 samples or more"):
        energy_score(x[None], y, everywhere(y))


def test_seam_is_a_band_on_both_sides() -> None:
    known = np.ones((3, 8, 20), dtype=bool)
    known[0, :, 10:] = False
    known[1] = False
    found = seam(known, width=3)
    assert np.flatnonzero(found[0, 4]).tolist() == [7, 8, 9, 10, 11, 12]
    assert not found[1:].any()


def test_shapes_must_agree() -> None:
    x, y = images()
    for arguments in ((x, y[:1], everywhere(x)), (x, y, everywhere(x).astype(float)), (x[0], y[0], everywhere(x[0]))):
        with pytest.raises(DataError, match="shape-mismatch"):
            psnr(*arguments)
