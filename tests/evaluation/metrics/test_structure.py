from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrgz.evaluation.metrics.base import Sampled
from cmrgz.evaluation.metrics.structure import METRICS, WEIGHTS
from cmrgz.evaluation.regions import ssim_frames


def smooth(size: int = 128, k: int = 3, sigma: float = 0.05) -> Sampled:
    rng = np.random.default_rng(0)
    truth = gaussian_filter(rng.random((size, size)), 2)
    truth = (truth - truth.min()) / np.ptp(truth)
    known = np.zeros((size, size), dtype=bool)
    known[: size // 2] = True
    return Sampled(truth, known, np.clip(truth + rng.normal(0, sigma, (k, size, size)), 0, 1))


def found(frame: Sampled) -> dict[str, float]:
    return {m.name: m.of(frame) for m in METRICS}


def test_ssim_is_the_regions_mean_over_samples() -> None:
    frame = smooth()
    truth = np.broadcast_to(frame.truth, frame.samples.shape)
    for name, region in (("hole", frame.hidden), ("whole", np.ones_like(frame.known))):
        expected = ssim_frames(frame.samples, truth, np.broadcast_to(region, truth.shape)).mean()
        assert found(frame)[f"ssim-{name}"] == pytest.approx(expected)
    assert np.isnan(found(frame)["ssim-heart"])


@pytest.mark.parametrize("size", [128, 130])
def test_ms_ssim_agrees_with_torchmetrics(size: int) -> None:
    torch = pytest.importorskip("torch")
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    frame = smooth(size)
    x, y = (torch.tensor(np.array(a))[:, None] for a in (frame.samples, np.broadcast_to(frame.truth, (3, size, size))))
    expected = multiscale_structural_similarity_index_measure(x, y, data_range=1.0, betas=tuple(WEIGHTS))
    assert found(frame)["ms-ssim-whole"] == pytest.approx(float(expected), abs=1e-6)


def test_equal_frames_are_wholly_similar() -> None:
    values = found(smooth(sigma=0))
    assert {n: v for n, v in values.items() if not np.isnan(v)} == pytest.approx(
        {"ssim-hole": 1, "ssim-whole": 1, "ms-ssim-whole": 1}
    )


def test_blur_costs_structure() -> None:
    frame = smooth()
    blurred = [
        found(Sampled(frame.truth, frame.known, gaussian_filter(frame.truth, sigma)[None])) for sigma in (1.0, 2.0, 4.0)
    ]
    for name in ("ssim-hole", "ssim-whole", "ms-ssim-whole"):
        falling: Any = [values[name] for values in blurred]
        assert 1 > falling[0] > falling[1] > falling[2]


def test_ms_ssim_of_small_frames_is_undefined() -> None:
    assert np.isnan(found(smooth(95))["ms-ssim-whole"]) and not np.isnan(found(smooth(96))["ms-ssim-whole"])
