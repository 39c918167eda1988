"""Strictly proper scores of the samples in the hole: energy, CRPS and variogram score.

Only draws from the true posterior have the lowest expectation, so none can be gained by drawing less (or more)
variety. All are fair: their expectation does not depend on the number of samples; the one result of a method without
chance is scored as the distribution that has nothing else. Gneiting and Raftery 2007,
doi:10.1198/016214506000001437.
"""

import numpy as np

from cmrgz.evaluation.metrics.base import Floats, Metric, Sampled, once
from cmrgz.evaluation.metrics.within import means
from cmrgz.evaluation.regions import energy_score_frames

PAIRS = 200
POWER = 0.5
STREAM = 0  # seed of the pixel pairs of the variogram score: the same pairs for every method


@once
def hidden_pixels(frame: Sampled) -> tuple[Floats, Floats]:
    """Return the samples (k, n) and the truth (n,) at the hidden pixels."""
    return frame.samples[:, frame.hidden], frame.truth[frame.hidden]


def energy(frame: Sampled) -> float:
    """Return the energy score in the hole over the root of its number of pixels; of a single sample its error."""
    if len(frame.samples) == 1:
        return float(np.sqrt(means((frame.mean - frame.truth) ** 2, frame.hidden)))
    return float(energy_score_frames(frame.samples[:, None], frame.truth[None], frame.hidden[None])[0])


def crps(frame: Sampled) -> float:
    """Return the mean over hidden pixels of the continuous ranked probability score."""
    x, y = hidden_pixels(frame)
    if y.size == 0:
        return float("nan")
    k = len(x)
    if k == 1:
        return float(np.abs(x - y).mean())
    # The sum of |x_k - x_l| in k log k: in sorted order the i-th is above i others and below k - 1 - i. Over k (k - 1)
    # pairs, not k^2, with which the score would improve with k alone (Ferro 2014, doi:10.1002/qj.2270).
    apart = np.tensordot(2 * np.arange(k) - k + 1, np.sort(x, axis=0), 1)
    return float((np.abs(x - y).mean(0) - apart / (k * (k - 1))).mean())


def variogram(frame: Sampled) -> float:
    """Return the mean over 200 pairs of hidden pixels of `(|y_i - y_j|^p - mean_k |x_i - x_j|^p)^2`, p = 0.5.

    Sees what the others hardly do: whether pixels vary together as they should. Less its expected error for finite K,
    so that it can fall below 0. Scheuerer and Hamill 2015, doi:10.1175/MWR-D-14-00269.1.
    """
    x, y = hidden_pixels(frame)
    if y.size < 2:
        return float("nan")
    rng = np.random.default_rng(STREAM)
    i = rng.integers(y.size, size=PAIRS)
    j = (i + rng.integers(1, y.size, size=PAIRS)) % y.size
    drawn, true = np.abs(x[:, i] - x[:, j]) ** POWER, np.abs(y[i] - y[j]) ** POWER
    return float(((true - drawn.mean(0)) ** 2 - drawn.var(0, ddof=1) / len(x)).mean())


METRICS = (
    Metric("energy-hole", energy, "lower", least=2, cite="doi:10.1198/016214506000001437", certain=True),
    Metric("crps-hole", crps, "lower", least=2, cite="doi:10.1198/016214506000001437", certain=True),
    Metric("variogram-hole", variogram, "lower", least=2, cite="doi:10.1175/MWR-D-14-00269.1"),
)
