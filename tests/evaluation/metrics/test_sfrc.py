from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal.windows import hann

from cmrgz.evaluation.metrics.base import Sampled
from cmrgz.evaluation.metrics.sfrc import ring_correlation, sfrc


def texture(seed: int, size: int = 64) -> Any:
    x = gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), 1.5, mode="wrap")
    return 0.5 + 0.2 * x / x.std()


def frame(truth: Any, *drawn: Any, known: Any = None) -> Sampled:
    return Sampled(truth, np.zeros(truth.shape, dtype=bool) if known is None else known, np.stack(drawn))


def test_ring_correlation_by_its_definition() -> None:
    x, y = texture(1, 32), texture(2, 32)
    taper = np.outer(hann(32, sym=False), hann(32, sym=False))
    a, b = (np.fft.fft2((f - (f * taper).sum() / taper.sum()) * taper) for f in (x, y))
    frequency = np.fft.fftfreq(32, 1 / 32)
    ring = np.hypot(frequency[:, None], frequency).round()
    cross, of_x, of_y = a * b.conj(), np.abs(a) ** 2, np.abs(b) ** 2
    expected = [
        cross[ring == r].sum().real / np.sqrt(of_x[ring == r].sum() * of_y[ring == r].sum()) for r in range(1, 7)
    ]
    correlation, power = ring_correlation(frame(y, x), 6)
    assert power.all()
    np.testing.assert_allclose(correlation[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize("turn", [0, 45, 90, 180])
def test_correlation_of_a_shifted_wave_is_the_cosine_of_its_turn(turn: float) -> None:
    phase = 2 * np.pi * 4 * np.arange(64) / 32 * np.ones((64, 1))
    x, y = 0.5 + 0.3 * np.cos(phase + np.radians(turn)), 0.5 + 0.3 * np.cos(phase)
    correlation, power = ring_correlation(frame(y, x))
    assert power[..., 3].all()
    np.testing.assert_allclose(correlation[..., 3], np.cos(np.radians(turn)), atol=1e-6)


def test_windows_flagged() -> None:
    y = texture(1)
    assert sfrc(frame(y, y)) == 0
    assert sfrc(frame(y, texture(2))) > 0.9
    assert sfrc(frame(y, y, texture(2))) == pytest.approx(sfrc(frame(y, texture(2))) / 2)
    assert sfrc(frame(y, gaussian_filter(y, 2, mode="wrap"))) == 0  # blurred, not invented
    assert sfrc(frame(y, 0.5 * y + 0.2)) == 0  # of less contrast, not invented


def test_what_is_too_faint_is_not_compared() -> None:
    faint = 0.5 + 0.01 * (texture(1) - 0.5)
    assert sfrc(frame(faint, texture(2))) == 0


def test_an_invented_structure_flags_the_windows_that_see_it() -> None:
    y = texture(1, 96)
    x = y.copy()
    x[40:56, 40:56] = texture(2, 96)[40:56, 40:56]
    found = sfrc(frame(y, x))
    assert 0 < found < 0.3


def test_windows_are_those_that_are_half_hidden() -> None:
    y, known = texture(1), np.ones((64, 64), dtype=bool)
    assert np.isnan(sfrc(frame(y, texture(2), known=known)))
    known[:16, :32] = False
    assert ring_correlation(frame(y, texture(2), known=known))[0].shape == (1, 1, 12)
    assert np.isnan(sfrc(frame(y[:20, :20], y[:20, :20])))
