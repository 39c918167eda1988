from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrgz.evaluation.metrics.base import Sampled
from cmrgz.evaluation.metrics.sharpness import METRICS, RATIOS


def noise(size: int = 64) -> Any:
    return np.random.default_rng(0).normal(0.5, 0.1, (size, size))


def found(truth: Any, drawn: Any, known: Any = None) -> dict[str, float]:
    frame = Sampled(truth, np.zeros(truth.shape, dtype=bool) if known is None else known, drawn[None])
    values = {m.name: m.of(frame) for m in METRICS}
    return values | {r.name: r.of(values) for r in RATIOS}


def test_a_wave_has_its_power_in_its_band() -> None:
    """A wave of amplitude a has power a^2 / 2."""
    column = np.arange(64)
    for period, band in ((16, "low"), (6.4, "mid"), (2.56, "high")):
        wave = np.broadcast_to(0.5 + 0.3 * np.cos(2 * np.pi * column / period), (64, 64))
        values = found(wave, wave)
        assert values[f"power-{band}-hole"] == pytest.approx(0.045)
        assert sum(values[f"power-{name}-hole"] for name in ("low", "mid", "high")) == pytest.approx(0.045)


def test_bands_hold_all_the_power_but_the_coarsest() -> None:
    x = noise()
    total = sum(found(x, x)[f"power-{name}-hole"] for name in ("low", "mid", "high"))
    assert total == pytest.approx(x.var(), rel=0.01)  # of white noise a 300th is coarser than 32 pixels


def test_blur_loses_the_fine_and_noise_adds_it() -> None:
    x = gaussian_filter(noise(), 0.7, mode="wrap")
    blurred, noisy = found(x, gaussian_filter(x, 2, mode="wrap")), found(x, x + noise().T - 0.5)
    assert blurred["sharpness-high"] < 0.01 < blurred["sharpness-mid"] < 0.2 < blurred["sharpness-low"] < 1
    assert noisy["sharpness-high"] > noisy["sharpness-mid"] > noisy["sharpness-low"] > 1
    assert all(found(x, x)[r.name] == pytest.approx(1) for r in RATIOS)


def test_blur_counts_where_it_is_hidden() -> None:
    x, known = noise(), np.ones((64, 64), dtype=bool)
    known[16:48, 16:48] = False
    assert found(x, gaussian_filter(x, 2), known)["sharpness-high"] < 0.1
    assert np.isnan(found(x, x, np.ones_like(known))["sharpness-high"])
