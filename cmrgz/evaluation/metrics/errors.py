"""Errors of intensity: PSNR, MSE and NRMSE by region, of the samples and of their averages.

Intensities are in [0, 1], scaled once per scan, so the data range is 1. A number for K samples is the mean of the
numbers of each, in dB where it is in dB; one of `mean` is of the mean of the samples, which loses less than a sample:
3.01 dB if they are drawn from the posterior.
"""

from functools import partial

import numpy as np

from cmrgz.evaluation.metrics.base import AVERAGES, Floats, Metric, Sampled, once
from cmrgz.evaluation.metrics.within import REGIONS, means
from cmrgz.evaluation.regions import decibels


@once
def squared(frame: Sampled) -> Floats:
    """Return the squared error of each sample: (k, h, w)."""
    return np.asarray((frame.samples - frame.truth) ** 2)


def psnr(frame: Sampled, region: str) -> float:
    """Return the mean PSNR of the samples in a region, dB, each at most 80."""
    # dB of each sample, then the mean: the dB of the mean error would be mostly that of the worst
    return float(decibels(means(squared(frame), REGIONS[region](frame))).mean())


def psnr_of_mean(frame: Sampled) -> float:
    """Return the PSNR of the mean of the samples in the hole, dB, at most 80."""
    return float(decibels(means((frame.mean - frame.truth) ** 2, frame.hidden)))


def psnr_known(frame: Sampled) -> float:
    """Return the mean PSNR of what was drawn at the known pixels, dB: how far it keeps to what it was given."""
    return float(decibels(_known(frame)).mean())


def rmse_known(frame: Sampled) -> float:
    """Return the mean root squared error of what was drawn at the known pixels: the data consistency before pasting."""
    return float(np.sqrt(_known(frame)).mean())


def _known(frame: Sampled) -> Floats:
    """Return the squared error (k,) of what was drawn at the known pixels; NaN of a method that pasted them itself."""
    return means((frame.drawn - frame.truth) ** 2, frame.known & (not frame.pasted))


def mse(frame: Sampled) -> float:
    """Return the mean squared error of the samples in the hole."""
    return float(means(squared(frame), frame.hidden).mean())


def mse_of_average(frame: Sampled, count: int | None = None) -> float:
    """Return the squared error in the hole of the mean of the first `count` samples (all of them if None)."""
    return float(means((frame.samples[:count].mean(0) - frame.truth) ** 2, frame.hidden))


def nrmse(frame: Sampled) -> float:
    """Return the mean root squared error in the hole over the mean intensity of the true frame.

    Of the frame, not of the hole: a hole in air would divide by nearly nothing. NaN for a black frame.
    """
    level = float(np.abs(frame.truth).mean())
    return float(np.sqrt(means(squared(frame), frame.hidden)).mean()) / level if level > 0 else float("nan")


METRICS = (
    *(Metric(f"psnr-{region}", partial(psnr, region=region), "higher", "dB") for region in REGIONS),
    Metric("psnr-mean-hole", psnr_of_mean, "higher", "dB"),
    Metric("psnr-known-drawn", psnr_known, "higher", "dB"),
    Metric("rmse-known-drawn", rmse_known, "lower"),
    Metric("mse-hole", mse, "lower"),
    Metric("mse-mean-hole", mse_of_average, "lower"),
    *(
        Metric(f"mse-hole-average-{n}", partial(mse_of_average, count=n), "lower", least=n, cite="arXiv:1711.06077")
        for n in AVERAGES
    ),
    Metric("nrmse-hole", nrmse, "lower"),
)
