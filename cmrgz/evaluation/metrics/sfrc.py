"""Scanning Fourier ring correlation: places at which structure was drawn that does not correlate with the truth."""

from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import rfft2

from cmrgz.evaluation.metrics.base import Bools, Floats, Metric, Sampled, average

WINDOW, STRIDE = 32, 8
# Rings that are looked at, structures of 32 to 2.7 pixels: so many that of the windows of frames that went through a
# bundled tokenizer and back 0.5 % (kl, real scans) to 4.5 % (kl, phantoms) are flagged. With 8 it is 0.1 % at most, and
# of the same slice one phase earlier 3 % and 33 %.
RINGS = 12
LIMIT = 0.5
FLOOR = 0.01  # standard deviation of a ring below which it holds nothing to be compared


def sfrc(frame: Sampled) -> float:
    """Return the share of windows of 32 pixels, hidden by half or more, in which sample and truth do not correlate.

    A window is flagged if the correlation falls below 0.5 in one of its first 12 rings, of those in which both hold
    power: something of about 3 pixels or more was drawn that is not there, or is elsewhere. Blur holds no power and is
    not flagged. NaN without such a window. Kc et al. 2026, arXiv:2603.04673.
    """
    correlation, power = ring_correlation(frame)
    return average(np.any((correlation < LIMIT) & power, axis=-1))


def ring_correlation(frame: Sampled, rings: int = RINGS) -> tuple[Floats, Bools]:
    """Return the correlation of sample and truth in rings 1 .. `rings` of each window, and whether both hold power.

    Both are (k, m, rings), of the m windows of which half or more is hidden.
    """
    chosen = _windows(frame.hidden[None])[0].mean((-2, -1)) >= 0.5
    x, y = (_coefficients(_windows(f)[:, chosen], rings) for f in (frame.samples, frame.truth[None]))
    belongs = _belongs(rings)
    cross, of_x, of_y = ((a.real * b.real + a.imag * b.imag) @ belongs for a, b in ((x, y), (x, x), (y, y)))
    power = np.minimum(of_x, of_y) > FLOOR**2
    return cross / np.sqrt(np.where(power, of_x * of_y, 1)), power


@cache
def _taper() -> NDArray[np.float64]:
    """Return the weights (32, 32) of a window, so that what correlates is not its frame."""
    from scipy.signal.windows import hann  # here: slow to import, see `calibration`

    return np.outer(hann(WINDOW, sym=False), hann(WINDOW, sym=False))


def _windows(x: NDArray[Any]) -> NDArray[Any]:
    """Return the windows of frames (n, h, w): (n, rows, columns, 32, 32), none of a smaller frame."""
    if min(x.shape[1:]) < WINDOW:
        return np.zeros((len(x), 0, 0, WINDOW, WINDOW))
    return sliding_window_view(x, (WINDOW, WINDOW), axis=(1, 2))[:, ::STRIDE, ::STRIDE]


def _coefficients(windows: NDArray[Any], rings: int) -> NDArray[np.complex64]:
    """Return the coefficients (n, m, c) up to a ring, scaled so that their squares sum to the window's variance."""
    inside = _radius() <= rings
    spectrum = _spectrum(windows)[..., inside]
    of_one = _spectrum(np.ones((WINDOW, WINDOW)))[inside]
    return np.asarray(spectrum - spectrum[..., :1] / of_one[0] * of_one)  # the first is that of the mean


def _spectrum(windows: NDArray[Any]) -> NDArray[np.complex64]:
    """Single precision: it takes half the time, and is compared with 0.5."""
    taper = _taper()
    return np.asarray(rfft2(windows.astype(np.float32) * (taper / (WINDOW * np.linalg.norm(taper))).astype(np.float32)))


def _radius() -> Floats:
    """Return the frequency of each coefficient of a window in cycles a window, rounded: (32, 17)."""
    rows, columns = np.fft.fftfreq(WINDOW, 1 / WINDOW), np.arange(WINDOW // 2 + 1)
    return np.asarray(np.round(np.hypot(rows[:, None], columns)))


def _belongs(rings: int) -> NDArray[np.float32]:
    """Return the weight (c, rings) of each coefficient in each ring: 2 for those that stand for their mirror image."""
    at = _radius()
    twice = np.where(np.arange(at.shape[1]) > 0, 2.0, 1.0) * np.ones_like(at)
    inside = at <= rings
    return np.asarray((at[inside][:, None] == np.arange(1, rings + 1)) * twice[inside][:, None], dtype=np.float32)


METRICS = (Metric("sfrc-hole", sfrc, "lower", cite="arXiv:2603.04673"),)
