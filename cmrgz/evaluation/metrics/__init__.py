"""Metrics: one file each, or one family of closely related ones; `FRAME_METRICS` is the table of those of a frame."""

# Ours, and not torchmetrics', which tests hold them against. It imports torch (1.5 s), and a report takes KID and
# MS-SSIM without a network; its PSNR and SSIM know no region of a frame, its KID no patients, its LPIPS and FID load
# networks from torchvision or torch-fidelity; and what it says of a frame may depend on the batch, in the last bits.

import os
from dataclasses import replace

import numpy as np

from cmrgz.errors import DataError
from cmrgz.evaluation.metrics import (
    anatomy,
    calibration,
    edges,
    errors,
    lpips,
    motion,
    perceptual,
    proper,
    seam,
    sfrc,
    sharpness,
    structure,
    topology,
)
from cmrgz.evaluation.metrics.base import Metric, Ratio, Sampled

FAMILIES = (errors, structure, perceptual, seam, sharpness, proper, calibration, edges, sfrc, anatomy, topology, motion)

FRAME_METRICS: dict[str, Metric] = {
    m.name: m
    for m in (*(m for family in FAMILIES for m in family.METRICS), *lpips.metrics(os.environ.get(lpips.VARIABLE)))
}
"""The metrics of one frame, by name."""

RATIOS: dict[str, Ratio] = {r.name: r for family in (seam, sharpness, calibration, motion) for r in family.RATIOS}
"""Ratios of the means of two of them over frames, by name."""


def measure(frame: Sampled) -> dict[str, float]:
    """Return the metrics of a frame by name, NaN where one is not defined.

    Those that need more samples than there are are left out. Everything is computed in float64, whatever comes in.

    Raises:
        DataError: `shape-mismatch`, or `nonfinite` for a truth or a sample with a NaN, of which some metrics would
            still make a number that looks like one.
    """
    _check(frame)
    if not (np.isfinite(frame.truth).all() and np.isfinite(frame.drawn).all()):
        raise DataError("nonfinite", "metrics", "the truth or a sample has a NaN or an infinite value")
    cine = frame.cine
    if cine is not None:
        cine = replace(cine, truth=cine.truth.astype(np.float64), samples=cine.samples.astype(np.float64))
    exact = replace(frame, truth=frame.truth.astype(np.float64), drawn=frame.drawn.astype(np.float64), cine=cine)
    chosen = [m for m in FRAME_METRICS.values() if len(frame.drawn) >= m.least or (frame.certain and m.certain)]
    with np.errstate(divide="raise", invalid="raise"):  # an undefined metric says NaN itself
        return {m.name: float(m.of(exact)) for m in chosen}


def _check(frame: Sampled) -> None:
    shape = frame.truth.shape
    planes = [frame.known, *(p for p in (frame.label, frame.truth_segment) if p is not None)]
    stacks = [frame.drawn, *([] if frame.segments is None else [frame.segments])]
    fits = len(shape) == 2 and len(frame.drawn) > 0 and all(p.shape == shape for p in planes)
    if not (fits and all(s.shape == (len(frame.drawn), *shape) for s in stacks) and frame.known.dtype == np.bool_):
        facts = ", ".join(str(a.shape) for a in [frame.truth, *planes, *stacks])
        what = "truth, known and labels must be (h, w), known bool, samples and their segments (k, h, w)"
        raise DataError("shape-mismatch", "metrics", what, facts)
