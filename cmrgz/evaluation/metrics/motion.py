"""Motion: how a frame differs from the one before it, and how a slice varies over time, beside the truth.

What is compared are results: frames with their known pixels. NaN where the frame before, or for the spectrum any phase,
was not drawn: a model of frames draws the scored ones alone, which are whole cines with `frames: cine`.
"""

from functools import partial

import numpy as np

from cmrgz.evaluation.metrics.base import Bools, Floats, Metric, Ratio, Sampled, once

LEAST = 4  # phases that a spectrum needs
GREY = 0.5 / 255  # half a grey level, added to both amplitudes: what is smaller is no motion

NAN = float("nan")


@once
def steps(frame: Sampled) -> tuple[Floats, Floats] | None:
    """Return how the moving hidden pixels differ from the frame before, of samples (k, n) and truth (n,)."""
    cine = frame.cine
    if cine is None or cine.before is None or frame.moving is None:
        return None
    # a pixel that is given in both frames moves as in truth whatever the method does
    region: Bools = frame.moving & (frame.hidden | ~cine.known[cine.before])
    if not region.any():
        return None
    drawn = frame.samples[:, region] - cine.samples[:, cine.before][:, region]
    return drawn, frame.truth[region] - cine.truth[cine.before][region]


def error(frame: Sampled) -> float:
    """Return the root mean squared error of the difference to the frame before, where the heart moves, per sample."""
    found = steps(frame)
    return NAN if found is None else float(np.sqrt(((found[0] - found[1]) ** 2).mean(1)).mean())


def correlation(frame: Sampled) -> float:
    """Return the correlation of a sample's difference to the frame before with the true one, where the heart moves.

    0 for a sample that does not move: it tells nothing of the motion. NaN where the truth does not.
    """
    found = steps(frame)
    if found is None or not np.ptp(found[1]):
        return NAN
    drawn, true = found[0] - found[0].mean(1, keepdims=True), found[1] - found[1].mean()
    size = np.sqrt((drawn**2).sum(1) * (true**2).sum())
    return float(((drawn * true).sum(1) / np.where(size > 0, size, 1)).mean())


def spectrum(frame: Sampled) -> float:
    """Return how far the spectrum over time of the hidden pixels lies from the true one, dB, per sample.

    The root mean square over frequencies, but for 0, of the log ratio of mean powers.
    """
    cine = frame.cine
    if cine is None or len(cine.truth) < LEAST or np.isnan(cine.samples).any() or not frame.hidden.any():
        return NAN
    drawn = _power(np.moveaxis(cine.samples[..., frame.hidden], 0, 1))
    true = _power(cine.truth[:, None, frame.hidden])
    return float(np.sqrt(((10 * np.log10(drawn / true)) ** 2).mean(0)).mean())


def _power(lines: Floats) -> Floats:
    """Return the mean power (frequencies, k) over pixels of lines (t, k, n), that of half a grey level added."""
    # powers are averaged before the logarithm: of single pixels it would be a matter of the still ones
    amplitude = np.abs(np.fft.rfft(lines, axis=0)[1:]) / len(lines)
    return np.asarray((amplitude**2).mean(2) + GREY**2)


def seam_error(frame: Sampled, across: bool) -> float:
    """Return `error` of a frame that another block drew than the frame before, or (not `across`) the same block."""
    cine = frame.cine
    if cine is None or cine.before is None or not cine.blocks:
        return NAN
    own, other = cine.blocks[cine.t], cine.blocks[cine.before]
    return error(frame) if min(own, other) >= 0 and (own != other) == across else NAN


METRICS = (
    Metric("motion-error-moving", error, "lower"),
    Metric("motion-correlation-moving", correlation, "higher"),
    Metric("temporal-spectrum-hole", spectrum, "lower", "dB"),
    Metric("motion-error-across-blocks", partial(seam_error, across=True), "none"),
    Metric("motion-error-within-blocks", partial(seam_error, across=False), "none"),
)

RATIOS = (Ratio("block-seam", "motion-error-across-blocks", "motion-error-within-blocks", "one"),)
"""`block-seam`: 1 where the edge of a block in time does not show, more where it does."""
