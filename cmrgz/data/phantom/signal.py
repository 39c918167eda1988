"""From tissue to image: bSSFP signal, texture, coil shading, k-space truncation and complex noise."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.phantom.fields import smooth_field
from cmrgz.data.phantom.subject import Subject
from cmrgz.data.phantom.tissue import INDEX, TISSUE

Array = NDArray[np.float64]

_COILS = np.deg2rad([-120, -90, -60, -30, 60, 100, 140, 180])
_OPPOSED = {"fat": -1, "marrow": -0.4}
"""Sign of fat at TE = TR / 2: opposed phase, which draws the India-ink edges."""


def bssfp(pd: float, t1: float, t2: float, tr: float, te: float, flip: float, df: Array | float = 0.0) -> Array:
    """Return the steady-state signal |Mxy| of alternating-phase bSSFP at echo time `te`.

    Freeman and Hill, J Magn Reson 1971; Haacke et al., Magnetic Resonance Imaging, chapter 18.

    Args:
        pd: Proton density.
        t1: T1, ms.
        t2: T2, ms.
        tr: Repetition time, ms.
        te: Echo time, ms.
        flip: Flip angle, degrees.
        df: Off-resonance, Hz; 0 is the pass band, 500 / tr the dark band.
    """
    e1, e2, a = np.exp(-tr / t1), np.exp(-tr / t2), np.deg2rad(flip)
    # Phases alternate, which adds pi a repetition and puts the pass band at 0 Hz.
    th = 2 * np.pi * np.asarray(df) * tr * 1e-3 + np.pi
    cos = np.cos(th)
    d = (1 - e1 * np.cos(a)) * (1 - e2 * cos) - e2 * (e1 - np.cos(a)) * (e2 - cos)
    m = (1 - e1) * np.sin(a) * np.sqrt((1 - e2 * cos) ** 2 + (e2 * np.sin(th)) ** 2) / d
    signal: Array = pd * m * np.exp(-te / t2)
    return signal


class Receiver(NamedTuple):
    """All that is static in a slice: per-tissue signal, shading and the k-space window.

    Attributes:
        tissue: (tissues, n, n) signal of the pure tissue; blood without its flow texture.
        blood: (n, n) static part of the blood texture.
        shading: (n, n) coil sensitivity.
        phase: (n, n) complex image phase.
        window: (n, n) k-space window, in FFT order.
        lines: (n, 1) acquired phase-encoding lines, in FFT order.
        acquired: Fraction of the lines that is acquired.
        noise: Standard deviation of the complex noise.
        gain: Scale from signal to stored values.
    """

    tissue: Array
    blood: Array
    shading: Array
    phase: NDArray[np.complex128]
    window: Array
    lines: NDArray[np.bool_]
    acquired: float
    noise: float
    gain: float


class Scanner:
    """The sequence and the field of one subject.

    Args:
        subject: Sequence parameters and the seed.
        size: Pixels along a side.
        spacing: Pixel size, mm.
    """

    def __init__(self, subject: Subject, size: int, spacing: float) -> None:
        self.subject, self.size, self.spacing = subject, size, spacing
        rng = np.random.default_rng([subject.seed, 11])
        self._field = 22 * self._smooth(45, rng)
        self._gradient = rng.normal(0, 0.35), rng.normal(0, 0.35), rng.normal(0, 12)
        rng = np.random.default_rng([subject.seed, 13])
        self._relaxation = [np.array(v) * np.exp(rng.normal(0, [0.03, 0.05, 0.06])) for v in TISSUE.values()]
        self.reference = bssfp(*TISSUE["blood_l"], subject.tr, subject.tr / 2, subject.flip)
        # The units of a scanner are arbitrary, from one examination to the next.
        self._gain = 420 / self.reference * np.exp(rng.normal(0, 0.25))
        self._window, self._lines, self._acquired = _window(size)

    def _smooth(self, sigma: float, rng: np.random.Generator) -> Array:
        """Return a unit-variance field smooth over `sigma` mm."""
        return smooth_field(self.size, sigma / self.spacing, rng)

    def receiver(self, key: int, x: Array, y: Array) -> Receiver:
        """Return what is static in the slice `key` with pixel centres (x, y) in mm, (n, n) each."""
        rng = np.random.default_rng([self.subject.seed, 17, key])
        texture = {k: self._smooth(sigma, rng) for k, sigma in (("a", 1.8), ("b", 6.0), ("c", 14.0), ("v", 3.0))}
        tissue = self._tissue_signal(texture, x, y)
        mid = slice(self.size // 2 - self.size // 16, self.size // 2 + self.size // 16)
        coil = _coils(x, y)
        shading = (coil / coil[mid, mid].mean()) ** self.subject.bias
        phase = np.exp(1j * (0.5 * texture["c"] + 0.01 * x))
        noise = float(self.reference / self.subject.snr)
        return Receiver(tissue, 0.03 * texture["b"], shading, phase, self._window, self._lines, self._acquired, noise,
                        float(self._gain))  # fmt: skip

    def _tissue_signal(self, texture: Mapping[str, Array], x: Array, y: Array) -> Array:
        """Return (tissues, n, n): the bSSFP signal of every tissue with its texture."""
        s = self.subject
        df = self._field + self._gradient[0] * x + self._gradient[1] * y + self._gradient[2]
        factors = _texture_factors(texture)
        out = np.empty((len(TISSUE), *x.shape))
        for i, (name, (pd, t1, t2)) in enumerate(zip(TISSUE, self._relaxation, strict=True)):
            out[i] = bssfp(pd, t1, t2, s.tr, s.tr / 2, s.flip, 0.5 * df if name == "fat" else df)
            if not name.startswith("blood"):
                out[i] *= factors.get(name, factors["other"])
        return out

    def acquire(self, receiver: Receiver, fractions: NDArray[np.float32], key: int, t: float,
                noise_seed: int = 0) -> Array:  # fmt: skip
        """Return the image (n, n), with noise.

        Args:
            receiver: What is static in the slice.
            fractions: (tissues, n, n) share of each tissue in each pixel.
            key: Number of the slice.
            t: Cycle fraction.
            noise_seed: Another draw of the noise of the same slice and time.
        """
        seed, ms = self.subject.seed, int(t * 1000)
        flow = self._smooth(11, np.random.default_rng([seed, 19, key, ms]))
        blood = 1.12 + 0.05 * flow + receiver.blood
        signal = np.zeros((self.size, self.size))
        for name, i in INDEX.items():
            if fractions[i].any():
                m = receiver.tissue[i] * blood if name.startswith("blood") else receiver.tissue[i]
                signal += fractions[i] * m * _OPPOSED.get(name, 1)
        image = np.fft.ifft2(np.fft.fft2(signal * receiver.shading * receiver.phase) * receiver.window)
        noise = self._noise(receiver, np.random.default_rng([seed, 23, key, ms, noise_seed]))
        # The magnitude of complex noise: Rician, and not Gaussian, where there is little signal (Gudbjartsson and Patz,
        # MRM 1995).
        noisy: Array = np.abs(image + noise) * receiver.gain
        return noisy

    def _noise(self, receiver: Receiver, rng: np.random.Generator) -> NDArray[np.complex128]:
        """Return complex noise on the acquired lines, of unchanged power per pixel."""
        shape, sd = (self.size, self.size), receiver.noise
        white = rng.normal(0, sd, shape) + 1j * rng.normal(0, sd, shape)
        noise: NDArray[np.complex128] = np.fft.ifft2(np.fft.fft2(white) * receiver.lines) / np.sqrt(receiver.acquired)
        return noise


def _window(size: int) -> tuple[Array, NDArray[np.bool_], float]:
    """Return the k-space window, the acquired lines (both in FFT order) and the fraction acquired."""
    f = np.abs(np.fft.fftfreq(size)) * 2
    # Outer lines are left out to shorten the breath-hold; the taper keeps their edge from ringing (Gibbs).
    lines = f[:, None] < 0.82
    taper = np.sqrt(np.where(f > 0.7, np.cos((f - 0.7) / 0.3 * np.pi / 2).clip(0), 1.0))
    return lines * taper[None], lines, float(lines.mean())


def _coils(x: Array, y: Array) -> Array:
    """Return the summed sensitivity of eight loops around the chest."""
    coils: Array = sum(
        1 / (1 + ((x - 175 * np.cos(a)) ** 2 + (y - 20 - 145 * np.sin(a)) ** 2) / 95.0**2) ** 1.5 for a in _COILS
    )
    return coils


def _texture_factors(tex: Mapping[str, Array]) -> dict[str, Array]:
    """Return how each tissue's signal varies in place: vessels in the lung and the organs, grain elsewhere."""
    vessels = np.maximum(tex["v"] - 1.75, 0)
    organ = 1 + 0.03 * tex["a"] + 0.9 * vessels + 0.04 * tex["c"]
    return {
        "lung": (1 + 2.6 * np.maximum(tex["v"] - 1.5, 0) + 0.15 * tex["b"]).clip(0.2),
        "fat": (1 + 0.10 * tex["b"] + 0.08 * tex["v"]).clip(0.3),
        "stomach": (0.8 + 0.5 * tex["c"]).clip(0.15),
        "liver": organ,
        "spleen": organ,
        "other": 1 + 0.045 * tex["a"] + 0.05 * tex["b"],
    }
