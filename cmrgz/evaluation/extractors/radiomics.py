"""The extractor `radiomics`: 41 numbers of intensity, texture, spectrum and edges that have names. It needs no weights.

Grey levels are of the fixed range [0, 1], never of an image's own: a change of contrast is a change.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, gaussian_filter

Floats = NDArray[np.floating[Any]]
VERSION = "radiomics 1"  # goes up with every change of a value; a test holds some
LEVELS = 32  # grey levels of co-occurrence
BINS = 64
DISTANCES = (1, 3)
ANGLES = {"0": (0, 1), "45": (-1, 1), "90": (-1, 0), "135": (-1, -1)}  # row and column, by degrees
RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
TINY = 1e-12
LAPLACIAN = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])


def radiomics(images: Floats) -> NDArray[np.float32]:
    """Return the features of images (n, h, w) in [0, 1], each by itself: (n, 41), in the order of NAMES."""
    return np.array([list(_of_image(image).values()) for image in images], np.float32).reshape(len(images), len(NAMES))


def cooccurrence(levels: NDArray[np.integer[Any]], offset: tuple[int, int], count: int) -> Floats:
    """Return how often grey levels (h, w) in 0 .. count - 1 are neighbours, both ways: (count, count), symmetric.

    Haralick et al. 1973, doi:10.1109/TSMC.1973.4309314. The offset is in rows and columns.
    """
    (h, w), (r, c) = levels.shape, offset
    # What lies at each pixel and at its neighbour, where both are.
    here = levels[max(0, -r) : h - max(0, r), max(0, -c) : w - max(0, c)]
    there = levels[max(0, r) : h - max(0, -r), max(0, c) : w - max(0, -c)]
    pairs = np.bincount((here * count + there).ravel(), minlength=count**2).reshape(count, count)
    return (pairs + pairs.T).astype(np.float64)


def binary_patterns(image: Floats) -> Floats:
    """Return the share of each rotation-invariant uniform local binary pattern: (10,), summing to 1.

    Of the 8 neighbours in the 3 x 3 square, those not darker than the centre: patterns of 0 to 8 neighbours in one run,
    then all others. Ojala et al. 2002, doi:10.1109/TPAMI.2002.1017623.
    """
    h, w = image.shape
    centre = image[1:-1, 1:-1]
    bits = np.stack([image[1 + r : h - 1 + r, 1 + c : w - 1 + c] >= centre for r, c in RING])
    # at most two changes round the ring: one run of brighter neighbours, an edge, spot or corner
    changes = (bits != np.roll(bits, 1, axis=0)).sum(0)
    code = np.where(changes <= 2, bits.sum(0), 9)
    return np.bincount(code.ravel(), minlength=10) / code.size


def power_spectrum(image: Floats) -> tuple[Floats, Floats]:
    """Return frequencies in cycles a pixel, below 0.5, and the mean power in a ring about each."""
    h, w = image.shape
    window = np.hanning(h)[:, None] * np.hanning(w)  # else the borders' jump decides the slope
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w))
    size = min(h, w)
    ring = np.rint(radius * size).astype(int).ravel()
    total, number = np.bincount(ring, power.ravel()), np.bincount(ring)
    keep = slice(2, size // 2)  # the window smears the two lowest
    return np.arange(size)[keep] / size, total[keep] / number[keep]


def _of_image(image: Floats) -> dict[str, float]:
    image = np.clip(np.asarray(image, np.float64), 0, 1)
    patterns = zip((*(f"lbp-{i}" for i in range(9)), "lbp-other"), binary_patterns(image), strict=True)
    parts = (_histogram(image), _texture(image), patterns, _spectrum(image), _edges(image))
    return {name: value for part in parts for name, value in part}


def _histogram(image: Floats) -> Iterator[tuple[str, float]]:
    mean, spread = image.mean(), image.std()
    # scipy's skew and kurtosis are NaN for an even image, which would drop it from every set
    z = (image - mean) / (spread or 1.0)
    square = z * z
    yield "mean", mean
    yield "standard-deviation", spread
    yield "skewness", (square * z).mean()
    yield "kurtosis", (square * square).mean()
    for percent, value in zip((10, 50, 90), np.percentile(image, (10, 50, 90)), strict=True):
        yield f"percentile-{percent}", value
    share = np.histogram(image, BINS, (0, 1))[0] / image.size
    yield "entropy", _entropy(share)
    yield "uniformity", (share**2).sum()


def _texture(image: Floats) -> Iterator[tuple[str, float]]:
    # of [0, 1] and not of the image's own range, as radiomics packages bin: a change of contrast must show
    levels = np.minimum((image * LEVELS).astype(np.int64), LEVELS - 1)
    for distance in DISTANCES:
        offsets = [(distance * r, distance * c) for r, c in ANGLES.values()]
        values = [_haralick(cooccurrence(levels, offset, LEVELS)) for offset in offsets]
        for name in values[0]:
            yield f"glcm-{name}-{distance}", float(np.mean([v[name] for v in values]))
        contrast = [v["contrast"] for v in values]
        yield f"glcm-contrast-spread-{distance}", float(np.std(contrast) / (np.mean(contrast) + TINY))


def _haralick(counts: Floats) -> dict[str, float]:
    share = counts / counts.sum()
    i, j = np.indices(share.shape)
    mean = (i * share).sum()
    variance, covariance = ((i - mean) ** 2 * share).sum(), ((i - mean) * (j - mean) * share).sum()
    apart = i - j
    return {
        "contrast": float((apart**2 * share).sum()),
        "dissimilarity": float((np.abs(apart) * share).sum()),
        "homogeneity": float((share / (1 + apart**2)).sum()),
        "energy": float((share**2).sum()),
        # an even image is perfectly predictable
        "correlation": float(covariance / variance) if variance > TINY else 1.0,
        "entropy": _entropy(share.ravel()),
    }


def _spectrum(image: Floats) -> Iterator[tuple[str, float]]:
    frequency, power = power_spectrum(image)
    x, y = np.log(frequency), np.log(power + TINY)
    yield "spectrum-slope", np.polynomial.Polynomial.fit(x, y, 1).convert().coef[-1]
    for name, low, high in (("middle", 0.1, 0.25), ("high", 0.25, 0.5)):
        band = power[(frequency >= low) & (frequency < high)].mean() if power.any() else 0.0
        yield f"spectrum-{name}", np.log(band + TINY)


def _edges(image: Floats) -> Iterator[tuple[str, float]]:
    rows, columns = (gaussian_filter(image, 1, order=order, mode="nearest") for order in ((1, 0), (0, 1)))
    size = np.hypot(rows, columns)
    rr, cc, rc = (rows**2).mean(), (columns**2).mean(), (rows * columns).mean()
    yield "gradient-mean", size.mean()
    yield "gradient-standard-deviation", size.std()
    yield "gradient-percentile-90", np.percentile(size, 90)
    yield "gradient-coherence", np.hypot(rr - cc, 2 * rc) / (rr + cc + TINY)
    yield "laplacian-variance", convolve(image, LAPLACIAN, mode="nearest").var()


def _entropy(share: Floats) -> float:
    """Return the entropy in bits."""
    some = share[share > 0]
    return float(-(some * np.log2(some)).sum())


NAMES: tuple[str, ...] = tuple(_of_image(np.zeros((32, 32))))
"""The features, in order."""
