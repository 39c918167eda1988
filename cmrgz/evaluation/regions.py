"""Scores inside a region: PSNR, SSIM and the energy score of the hole.

Results `x` and their truth `y` are frames (n, h, w) in [0, 1], scaled once per scan, and a region is bool (n, h, w);
other shapes raise `DataError` (`shape-mismatch`). The headline region is the hole (`~known`): over the whole frame
every method gains from the pixels that it was given. Each score comes per frame, (n,), NaN for a frame whose region is
empty: it is never counted as 0 or 1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from cmrgz.errors import DataError, UsageError

CAP = 80.0
"""Highest PSNR in dB, so that one frame that is met exactly does not decide a mean."""
SIGMA, RADIUS, K1, K2 = 1.5, 5, 0.01, 0.03

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def psnr_frames(x: NDArray[Any], y: NDArray[Any], region: Bools) -> Floats:
    """Return the PSNR in dB of each frame in its region, at most 80; data range 1."""
    _check(x, y, region)
    return decibels(mean_in((x.astype(np.float64) - y) ** 2, region))


def decibels(error: NDArray[Any]) -> Floats:
    """Return the PSNR in dB of mean squared errors, at most 80; data range 1."""
    # Of each frame before any mean: in the mean of errors one bad frame outweighs all good ones.
    return np.asarray(-10 * np.log10(np.maximum(error, 10 ** (-CAP / 10))), dtype=np.float64)


def mean_in(values: Floats, region: Bools) -> Floats:
    """Return the mean of each frame (n, h, w) in its region, NaN where that is empty: (n,)."""
    count = region.sum(axis=(1, 2))
    total = np.where(region, values, 0).sum(axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def ssim_map(x: NDArray[Any], y: NDArray[Any]) -> Floats:
    """Return the SSIM of each pixel's surroundings: (n, h, w).

    Gaussian window of 11 x 11 pixels with sigma 1.5, K 0.01 and 0.03, data range 1, population covariance, reflecting
    borders. Wang et al. 2004, doi:10.1109/TIP.2003.819861.
    """
    light, contrast = similarity(x, y)
    return light * contrast


def similarity(x: NDArray[Any], y: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return the factors of `ssim_map`: of luminance, and of contrast and structure, (n, h, w) both.

    The truth may be (1, h, w), for results of one frame.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y = _smooth(x), _smooth(y)
    # E[x^2] - E[x]^2 as the paper and torchmetrics have it; rounding can leave a variance a little below 0
    var_x, var_y = (np.maximum(_smooth(v * v) - m * m, 0) for v, m in ((x, mean_x), (y, mean_y)))
    covariance = _smooth(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + K1**2) / (mean_x**2 + mean_y**2 + K1**2)
    return np.asarray(light), np.asarray((2 * covariance + K2**2) / (var_x + var_y + K2**2))


def ssim_frames(x: NDArray[Any], y: NDArray[Any], region: Bools) -> Floats:
    """Return the mean of `ssim_map` over the region of each frame.

    Of results with the known pixels pasted back: windows at the edge of a hole straddle it.
    """
    _check(x, y, region)
    return mean_in(ssim_map(x, y), region)


def energy_score_frames(
    samples: NDArray[Any], truth: NDArray[Any], hidden: Bools, pairs: Sequence[int] | None = None
) -> Floats:
    """Return the energy score of the samples of each frame; lower is better.

    `mean_k |x_k - y| - sum_{k != l} |x_k - x_l| / (2 K (K - 1))` with the Euclidean norm over the hidden pixels, over
    the root of their number. Strictly proper: only the true posterior has the lowest expectation. For one pixel it is
    the CRPS. Gneiting and Raftery 2007, doi:10.1198/016214506000001437.

    Of samples (k, n, h, w), two or more draws of each frame. `pairs` (k,) tells to which antithetic pair each belongs:
    only two of different pairs are independent, and the mean of `|x_k - x_l|` is over those. None says that all are.

    Raises:
        UsageError: `range` for fewer than two samples, or for one antithetic pair.
    """
    k = len(samples)
    own = range(k) if pairs is None else pairs  # two of an antithetic pair lie farther apart than draws do
    apart = [(i, j) for i in range(k) for j in range(i) if own[i] != own[j]]
    if not apart:
        what = "it needs 2 samples or more of each frame, independent ones"
        raise UsageError("range", "energy score", what, f"got {k}")
    _check(samples[0], truth, hidden)
    # Each pair once, so that half of the double sum of the formula is left: 1 / (2 n) of n pairs.
    near = sum((_distance(sample, truth, hidden) for sample in samples), np.zeros(len(truth)))
    far = sum((_distance(samples[i], samples[j], hidden) for i, j in apart), np.zeros(len(truth)))
    return near / k - far / (2 * len(apart))


def seam(known: Bools, width: int = 4) -> Bools:
    """Return the pixels within `width` pixels of the edge between known and hidden, on both sides: (n, h, w)."""
    found = np.zeros_like(known)
    for edge, frame in zip(found, known, strict=True):
        if frame.any() and not frame.all():  # else there is no edge, and distances to nothing are not defined
            edge[:] = (distance_transform_edt(frame) <= width) & (distance_transform_edt(~frame) <= width)
    return found


def _check(x: NDArray[Any], y: NDArray[Any], region: Bools) -> None:
    if x.ndim != 3 or not x.shape == y.shape == region.shape or region.dtype != np.bool_:
        facts = f"{x.shape}, {y.shape}, {region.shape} {region.dtype}"
        raise DataError("shape-mismatch", "score", "result, truth and region must be (n, h, w), region bool", facts)


def _smooth(x: Floats) -> Floats:
    return np.asarray(gaussian_filter(x, SIGMA, mode="mirror", radius=RADIUS, axes=(1, 2)))


def _distance(x: NDArray[Any], y: NDArray[Any], region: Bools) -> Floats:
    """Return the norm of the difference in the region over the root of its number of pixels."""
    return np.sqrt(mean_in((x.astype(np.float64) - y) ** 2, region))
