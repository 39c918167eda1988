"""The Gaussian baseline: the exact posterior of a normal distribution that was fitted to training frames.

Probabilistic principal components: x = m + W z + s e with z and e standard normal (Tipping and Bishop 1999,
doi:10.1111/1467-9868.00196). Its conditional mean is a strong estimator of least squared error; its conditional samples
are what a sampler without a network can do.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.rng import derive

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEAST = 6
"""Training frames that a fit needs: half of them are held out to see what it leaves."""
COMPONENTS = 64
"""Most components; of a small bank a third of its frames, of a small frame a quarter of its pixels."""


class Gaussian:
    """A normal distribution of frames, fitted to `LEAST` training frames or more (m, h, w) in [0, 1]."""

    def __init__(self, bank: NDArray[Any]) -> None:
        flat = bank.reshape(len(bank), -1).astype(np.float64)
        self.mean, self.noise = flat.mean(0), _noise(flat)
        variance, rows = _components(flat - self.mean)
        self.weights = rows.T * np.sqrt(np.maximum(variance - self.noise, 0))

    def conditional(self, frame: NDArray[Any], known: Bools) -> tuple[Floats, Floats]:
        """Return mean (c,) and covariance (c, c) of the components given the known pixels of a frame (h, w)."""
        seen = known.ravel()
        rows = self.weights[seen]
        # In the space of the components: 64 x 64, where the covariance of the pixels would be 16384 x 16384.
        covariance = np.linalg.inv(np.eye(rows.shape[1]) + rows.T @ rows / self.noise)
        mean = covariance @ rows.T @ (frame.ravel()[seen] - self.mean[seen]) / self.noise
        return np.asarray(mean, dtype=np.float64), np.asarray(covariance, dtype=np.float64)

    def posterior_mean(self, frames: NDArray[Any], known: Bools) -> Floats:
        """Return E[x | known] (n, h, w); known pixels are those of the fit, not pasted."""
        means = [self._image(self.conditional(x, seen)[0]) for x, seen in zip(frames, known, strict=True)]
        return np.stack(means).reshape(frames.shape)

    def samples(self, frames: NDArray[Any], known: Bools, keys: list[str], count: int, seed: int) -> Floats:
        """Return draws (count, n, h, w) from p(x | known), one stream a frame and sample."""
        drawn = [self._draws(x, seen, key, count, seed) for x, seen, key in zip(frames, known, keys, strict=True)]
        return np.stack(drawn, axis=1).reshape(count, *frames.shape)

    def _draws(self, frame: NDArray[Any], known: Bools, key: str, count: int, seed: int) -> Floats:
        mean, covariance = self.conditional(frame, known)
        root = np.linalg.cholesky((covariance + covariance.T) / 2)  # rounding leaves an inverse a little asymmetric
        result = []
        for k in range(count):
            rng = np.random.default_rng(derive(seed, "gaussian", key, k))
            z = mean + root @ rng.standard_normal(len(mean))
            result.append(self._image(z) + np.sqrt(self.noise) * rng.standard_normal(frame.size))
        return np.stack(result)

    def _image(self, z: Floats) -> Floats:
        return self.mean + self.weights @ z


def _components(centred: Floats) -> tuple[Floats, Floats]:
    """Return variances (c,) and directions (c, pixels) of the leading components."""
    rank = min(COMPONENTS, len(centred) // 3, centred.shape[1] // 4)
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    return singular[:rank] ** 2 / (len(centred) - 1), rows[:rank]


def _noise(flat: Floats) -> float:
    """Return the variance a pixel that components leave of frames that they were not fitted to.

    On the frames of the fit it would be far too small: there are fewer of them than pixels.
    """
    half = len(flat) // 2
    mean = flat[:half].mean(0)
    _, rows = _components(flat[:half] - mean)
    rest = flat[half:] - mean
    # Residuals lack the directions that the components take: the variance is that of those which are left.
    left = (rest - rest @ rows.T @ rows).var() * flat.shape[1] / (flat.shape[1] - len(rows))
    return float(max(left, 1e-4))  # with next to no noise the posterior would be as good as singular
