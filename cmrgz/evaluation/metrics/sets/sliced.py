"""The sliced Wasserstein distance between local patches of images, one spatial scale at a time. It needs no network."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from cmrgz.evaluation.metrics.base import Floats
from cmrgz.evaluation.metrics.sets.base import subset

Indices = NDArray[np.int64]

LEVELS, PATCH, PROJECTIONS = 3, 7, 512
DESCRIPTORS, EACH = 16_384, 128  # most patches at a level, of a set and of an image
TOGETHER = 64  # projections at a time, to bound memory
SCALE = 1000
BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16


def swd(generated: Floats, real: Floats, seed: int = 0) -> float:
    """Return the mean over scales of the sliced Wasserstein distance of local patches x 1000; see `swd_levels`."""
    return float(np.mean(swd_levels(generated, real, seed)))


def swd_levels(generated: Floats, real: Floats, seed: int = 0) -> Floats:
    """Return the sliced Wasserstein distance x 1000 of each scale, the finest first: (3,).

    Random 7 x 7 patches of a Laplacian pyramid, 512 random directions. Karras et al. 2018, arXiv:1710.10196, but for
    the units: they standardise the patches of each set by themselves, which hides a change of contrast; here both are
    standardised by the reals. Never 0 for finite sets: to be read beside reals against reals at the same n. Images are
    (n, h, w) and (m, h, w) in [0, 1], at least 28 pixels each way; the sets are cut to equal size.
    """
    n = min(len(generated), len(real))
    pyramids = [laplacian_pyramid(subset(items, n, seed)) for items in (generated, real)]
    values = [_distance(x, y, (seed, i)) for i, (x, y) in enumerate(zip(*pyramids, strict=True))]
    return SCALE * np.array(values)


def laplacian_pyramid(images: Floats, levels: int = LEVELS) -> list[Floats]:
    """Return what each halving of images (n, h, w) takes away, (n, h / 2^i, w / 2^i) rounded up, and what is left.

    Burt and Adelson 1983, doi:10.1109/TCOM.1983.1095851.
    """
    bands: list[Floats] = []
    rest: Floats = np.asarray(images, np.float64)
    for _ in range(levels - 1):
        low = _smooth(rest)[:, ::2, ::2]
        bands.append(rest - _expand(low, rest.shape))
        rest = low
    return [*bands, rest]


def _smooth(x: Floats) -> Floats:
    return np.asarray(correlate1d(correlate1d(x, BINOMIAL, 1, mode="mirror"), BINOMIAL, 2, mode="mirror"))


def _expand(x: Floats, shape: tuple[int, ...]) -> Floats:
    # three of four places are empty, hence 4: the filter keeps the mean
    spread = np.zeros(shape)
    spread[:, ::2, ::2] = 4 * x
    return _smooth(spread)


def _distance(x: Floats, y: Floats, seed: tuple[int, int]) -> float:
    """Return the mean Wasserstein distance over directions between patches, at equal places, of bands (n, h, w)."""
    each, rng = max(1, min(EACH, DESCRIPTORS // len(x))), np.random.default_rng(seed)
    corners = [rng.integers(side - PATCH + 1, size=(len(x), each)) for side in x.shape[1:]]
    patches = [_patches(band, *corners) for band in (x, y)]
    mean, scale = patches[1].mean(), patches[1].std() or 1.0
    directions = rng.standard_normal((PATCH * PATCH, PROJECTIONS))
    directions = (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)
    a, b = (((p - mean) / scale).astype(np.float32) for p in patches)
    parts = [_wasserstein(a @ some, b @ some) for some in np.split(directions, PROJECTIONS // TOGETHER, axis=1)]
    return float(np.mean(parts))


def _wasserstein(a: Floats, b: Floats) -> float:
    """Return the mean over columns of the distance between the sorted columns."""
    # in one dimension the best transport is in order; scipy's wasserstein_distance takes a column at a time
    return float(np.abs(np.sort(a.T) - np.sort(b.T)).mean(dtype=np.float64))


def _patches(band: Floats, rows: Indices, columns: Indices) -> Floats:
    """Return the patches of image i whose corners are (rows[i], columns[i]), flat, at most DESCRIPTORS: (p, 49)."""
    windows = np.lib.stride_tricks.sliding_window_view(band, (PATCH, PATCH), axis=(1, 2))
    return windows[np.arange(len(band))[:, None], rows, columns].reshape(-1, PATCH * PATCH)[:DESCRIPTORS]
