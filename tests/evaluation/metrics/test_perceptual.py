from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d

from cmrgz.evaluation.metrics.base import Sampled
from cmrgz.evaluation.metrics.perceptual import METRICS


def pair(size: int = 64) -> tuple[Any, Any]:
    """Return two similar images that are formulas."""
    i, j = np.mgrid[:size, :size]
    y = 0.5 + 0.3 * np.sin(i / 5) * np.cos(j / 7) + 0.2 * ((i - 30) ** 2 + (j - 28) ** 2 < 200)
    x = 0.5 + 0.3 * np.sin(i / 5.2) * np.cos(j / 7) + 0.15 * ((i - 30) ** 2 + (j - 30) ** 2 < 220)
    return np.clip(x, 0, 1), np.clip(y, 0, 1)


def found(x: Any, y: Any, known: Any = None) -> dict[str, float]:
    frame = Sampled(y, np.zeros(y.shape, dtype=bool) if known is None else known, x[None] if x.ndim == 2 else x)
    return {m.name: m.of(frame) for m in METRICS}


def test_haarpsi_is_that_of_the_authors_code() -> None:
    """Their haarPsi.py gives 0.7649535713267688 for these images times 255."""
    values = found(*pair())
    assert values["haarpsi-whole"] == pytest.approx(0.7649535713267688, abs=1e-12)
    assert values["haarpsi-hole"] == values["haarpsi-whole"]


def test_gmsd_by_direct_convolution() -> None:
    x, y = pair()
    kernel = np.array([[1, 0, -1]] * 3) / 3

    def gradient(image: Any) -> Any:
        small = 255 * image.reshape(32, 2, 32, 2).mean((1, 3))
        return np.hypot(convolve2d(small, kernel, mode="same"), convolve2d(small, kernel.T, mode="same"))

    a, b = gradient(x), gradient(y)
    similarity = (2 * a * b + 170) / (a**2 + b**2 + 170)
    assert found(x, y)["gmsd-whole"] == pytest.approx(np.std(similarity, ddof=1), abs=1e-12)


def test_equal_images_are_wholly_similar() -> None:
    _, y = pair()
    assert found(y, y) == pytest.approx({"haarpsi-hole": 1, "haarpsi-whole": 1, "gmsd-whole": 0})


def test_a_sample_counts_as_much_as_another() -> None:
    x, y = pair()
    both, one = found(np.stack([x, y]), y), found(x, y)
    assert both["haarpsi-whole"] == pytest.approx((one["haarpsi-whole"] + 1) / 2)
    assert both["gmsd-whole"] == pytest.approx(one["gmsd-whole"] / 2)


def test_the_hole_is_judged_more_strictly_than_the_frame() -> None:
    x, y = pair()
    known = np.ones(y.shape, dtype=bool)
    known[16:48, 16:48] = False
    values = found(x, y, known)
    assert values["haarpsi-hole"] < values["haarpsi-whole"] < 1
    assert np.isnan(found(x, y, np.ones_like(known))["haarpsi-hole"])


def test_more_blur_is_worse() -> None:
    _, y = pair()
    values = [found(gaussian_filter(y, sigma), y) for sigma in (0.5, 1.0, 2.0, 4.0)]
    assert np.all(np.diff([v["haarpsi-hole"] for v in values]) < 0)
    assert np.all(np.diff([v["gmsd-whole"] for v in values]) > 0)


def test_flat_images_have_no_edge_to_weigh() -> None:
    flat = np.zeros((64, 64))
    assert np.isnan(found(flat, flat)["haarpsi-whole"]) and found(flat, flat)["gmsd-whole"] == 0
