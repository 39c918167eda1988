"""Structural similarity: SSIM by region, and MS-SSIM of the frame.

Of the results with the known pixels pasted: windows at the edge of a hole straddle it, so that a visible seam counts.
"""

from functools import partial

import numpy as np

from cmrgz.evaluation.metrics.base import Floats, Metric, Sampled, once
from cmrgz.evaluation.metrics.within import REGIONS, means
from cmrgz.evaluation.regions import RADIUS, similarity

# the first four scales of Wang et al., made to sum to 1: a fifth needs 161 pixels or more
SCALES = np.array([0.0448, 0.2856, 0.3001, 0.2363])
WEIGHTS = SCALES / SCALES.sum()
SMALLEST = 96  # pixels: the coarsest of four scales then has 12, and the window 11

Pair = tuple[Floats, Floats]


@once
def luminance_and_contrast(frame: Sampled) -> Pair:
    """Return the two factors of the SSIM map of each sample: (k, h, w) both."""
    return similarity(frame.samples, frame.truth[None])


def ssim(frame: Sampled, region: str) -> float:
    """Return the mean SSIM of the samples over a region; window, constants and borders as in `regions.ssim_map`."""
    light, contrast = luminance_and_contrast(frame)
    return float(means(light * contrast, REGIONS[region](frame)).mean())


def ms_ssim(frame: Sampled) -> float:
    """Return the mean multi-scale SSIM of the samples: four scales, as torchmetrics takes it.

    The contrast of finer scales is of windows inside the frame, the SSIM of the coarsest of all. NaN for frames of
    less than 96 pixels, where a scale hardly holds a window.
    """
    if min(frame.truth.shape) < SMALLEST:
        return float("nan")
    scales = [luminance_and_contrast(frame)]
    x, y = frame.samples, frame.truth[None]
    for _ in WEIGHTS[1:]:
        x, y = halved(x), halved(y)
        scales.append(similarity(x, y))
    factors = [c[:, RADIUS:-RADIUS, RADIUS:-RADIUS].mean(axis=(1, 2)) for _, c in scales[:-1]]
    factors.append((scales[-1][0] * scales[-1][1]).mean(axis=(1, 2)))
    # a contrast can correlate negatively, and a power of it is not a number
    return float(np.prod(np.maximum(factors, 0) ** WEIGHTS[:, None], axis=0).mean())


def halved(x: Floats) -> Floats:
    """Return frames (n, h, w) at half the size, 2 x 2 pixels averaged; an odd last row or column is left out."""
    h, w = (n // 2 * 2 for n in x.shape[1:])
    return (x[:, :h:2, :w:2] + x[:, 1:h:2, :w:2] + x[:, :h:2, 1:w:2] + x[:, 1:h:2, 1:w:2]) / 4


METRICS = (
    *(
        Metric(f"ssim-{region}", partial(ssim, region=region), "higher", cite="doi:10.1109/TIP.2003.819861")
        for region in ("hole", "whole", "heart")
    ),
    Metric("ms-ssim-whole", ms_ssim, "higher", cite="doi:10.1109/ACSSC.2003.1292216"),
)
