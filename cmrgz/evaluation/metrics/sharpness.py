"""Whether a hole is filled as sharply as it was: power of the results over that of the truth, in three bands.

A frame is cut into bands of spatial frequency, and the power of each is taken in the hole alone. Blur shows as a ratio
below 1 in the high band, noise as one above. The ratio is taken of the means over frames.
"""

from functools import partial

import numpy as np
from scipy.fft import irfft2, rfft2

from cmrgz.evaluation.metrics.base import Floats, Metric, Ratio, Sampled, once
from cmrgz.evaluation.metrics.within import means

# cycles a pixel: structures of 32 to 8 pixels, of 8 to 4, and finer ones
BANDS = {"low": (1 / 32, 1 / 8), "mid": (1 / 8, 1 / 4), "high": (1 / 4, 1.0)}


@once
def powers(frame: Sampled) -> Floats:
    """Return the mean power in the hole of the truth and of each sample, by band: (3, 1 + k)."""
    spectrum = rfft2(np.concatenate([frame.truth[None], frame.samples]))
    shape = frame.truth.shape
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    # filtered as a whole, then looked at in the hole: cut out first, the hole's own edge would fill the high band
    bands = [irfft2(spectrum * ((low <= radius) & (radius < high)), shape) for low, high in BANDS.values()]
    return means(np.square(bands), frame.hidden)


def power(frame: Sampled, band: int, of: slice) -> float:
    """Return the mean power in a band of the samples, or of the truth, which is the first."""
    return float(powers(frame)[band, of].mean())


METRICS = tuple(
    Metric(f"{word}-{name}-hole", partial(power, band=i, of=of), "none")
    for word, of in (("power", slice(1, None)), ("true-power", slice(1)))
    for i, name in enumerate(BANDS)
)

RATIOS = tuple(Ratio(f"sharpness-{name}", f"power-{name}-hole", f"true-power-{name}-hole", "one") for name in BANDS)
