"""Perceptual similarity without a pretrained network: HaarPSI and GMSD.

Both compare local structure at half the resolution, as seen from a usual distance; intensities in [0, 1] are taken
times 255, for which their constants were chosen. In a study of 35 metrics against radiologists on MRI, HaarPSI was
among the best three.
"""

from functools import partial

import numpy as np
from scipy.ndimage import correlate1d, prewitt
from scipy.special import expit, logit

from cmrgz.evaluation.metrics.base import Floats, Metric, Sampled, once
from cmrgz.evaluation.metrics.structure import halved
from cmrgz.evaluation.metrics.within import REGIONS

RANGE = 255
C, ALPHA = 30, 4.2  # HaarPSI: what keeps flat places stable, and the steepness of the sigmoid; fitted by its authors
T = 170  # GMSD: what keeps flat places stable


def haarpsi(frame: Sampled, region: str) -> float:
    """Return the mean HaarPSI of the samples, weighted by what strong edges lie in a region: 0 .. 1.

    Over the whole frame this is the index of the paper; in the hole its sums run over the hidden pixels alone. NaN
    where neither frame has an edge. Frames of an odd size lose their last row or column.
    """
    local, weights = _haar_similarity(frame)
    inside = weights * halved(REGIONS[region](frame)[None].astype(np.float64))
    total = inside.sum(axis=(0, 2, 3))
    if not (total > 0).all():
        return float("nan")
    mean = (expit(ALPHA * local) * inside).sum(axis=(0, 2, 3)) / total
    return float(((logit(mean) / ALPHA) ** 2).mean())


def gmsd(frame: Sampled) -> float:
    """Return the mean gradient magnitude similarity deviation of the samples over the frame, 0 for equal ones."""
    x, y = (_prewitt(halved(RANGE * f)) for f in (frame.samples, frame.truth[None]))
    similarity = (2 * x * y + T) / (x**2 + y**2 + T)
    return float(similarity.std(axis=(1, 2), ddof=1).mean())


@once
def _haar_similarity(frame: Sampled) -> tuple[Floats, Floats]:
    """Return the local similarities and their weights: (2, k, h / 2, w / 2), the first axis that of the edges."""
    x, y = (halved(RANGE * f) for f in (frame.samples, frame.truth[None]))
    pairs = [[(_haar(x, scale, axis), _haar(y, scale, axis)) for scale in (1, 2, 3)] for axis in (1, 2)]
    local = [sum((2 * a * b + C) / (a**2 + b**2 + C) for a, b in pair[:2]) / 2 for pair in pairs]
    return np.stack(local), np.stack([np.maximum(*pair[2]) for pair in pairs])


def _haar(x: Floats, scale: int, axis: int) -> Floats:
    """Return the magnitudes of the Haar coefficients of frames (n, h, w): windows of 2^scale, split along an axis."""
    size = 2**scale
    split = np.repeat([-1.0, 1.0], size // 2)
    along = correlate1d(x, split, axis=axis, mode="constant", origin=-1)
    return np.abs(correlate1d(along, np.ones(size), axis=3 - axis, mode="constant", origin=-1)) / size


def _prewitt(x: Floats) -> Floats:
    """Return the magnitude of the Prewitt gradient of frames (n, h, w), outside of which is black."""
    # a frame at a time: scipy's filter smooths along every other axis, that of the frames too
    return np.stack([np.hypot(*(prewitt(f, axis, mode="constant") for axis in (0, 1))) / 3 for f in x])


METRICS = (
    *(
        Metric(f"haarpsi-{region}", partial(haarpsi, region=region), "higher", cite="doi:10.1016/j.image.2017.11.001")
        for region in ("hole", "whole")
    ),
    Metric("gmsd-whole", gmsd, "lower", cite="doi:10.1109/TIP.2013.2293423"),
)
