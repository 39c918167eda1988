"""Anatomy: what a segmenter finds in the samples against what it finds in the truth, and against the annotation.

The segmenter's own errors are in both of the first pair, so that a perfect result has a Dice of 1; against the
annotation it has the segmenter's. Annotations are often partial (no right ventricle, some frames alone), so what lacks
a part is no reference for it: NaN, and so is all of this without a segmenter.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from cmrgz.evaluation.metrics.base import Bools, Labels, Metric, Sampled

PARTS = {"rv": 1, "myo": 2, "lv": 3}
NAN = float("nan")


def dice(frame: Sampled, part: str, reference: str) -> float:
    """Return the mean Dice coefficient of a part in the samples and in the reference."""
    pair = _regions(frame, part, reference)
    if pair is None:
        return NAN
    found, true = pair
    return float((2 * (found & true).sum((1, 2)) / (found.sum((1, 2)) + true.sum())).mean())


def hd95(frame: Sampled, part: str) -> float:
    """Return the mean 95th percentile Hausdorff distance of the outlines of a part, mm.

    The larger of both directions, over the samples that have the part at all; that others lost it is `parts-lost`.
    """
    pair = _regions(frame, part, "truth_segment")
    if pair is None:
        return NAN
    found, true = (outline(region) for region in (pair[0], pair[1][None]))
    distances = [_hd95(np.argwhere(sample), np.argwhere(true[0])) for sample in found if sample.any()]
    return float(np.mean(distances)) * frame.spacing if distances else NAN


def area(frame: Sampled, part: str, of: str) -> float:
    """Return the area of a part in `segments` (the mean of the samples), `truth_segment` or `label`, mm^2."""
    labels: Labels | None = getattr(frame, of)
    if labels is None:
        return NAN
    size = float((labels == PARTS[part]).sum((-2, -1)).mean()) * frame.spacing**2
    # an annotation that lacks a part was not made of it; a segmenter that finds none says that there is none
    return NAN if of == "label" and size == 0 else size


def area_error(frame: Sampled, part: str) -> float:
    """Return the mean area of a part in the samples less that in the truth, as the segmenter sees both, mm^2."""
    return area(frame, part, "segments") - area(frame, part, "truth_segment")


def outline(region: Bools) -> Bools:
    """Return the pixels of regions (n, h, w) that have a side in common with what is outside."""
    # by shifts: scipy's binary_erosion gives the same and takes twenty times as long
    around = np.pad(region, ((0, 0), (1, 1), (1, 1)))
    inner = around[:, :-2, 1:-1] & around[:, 2:, 1:-1] & around[:, 1:-1, :-2] & around[:, 1:-1, 2:]
    return region & ~inner


def _regions(frame: Sampled, part: str, reference: str) -> tuple[Bools, Bools] | None:
    """Return a part in the samples (k, h, w) and in the reference (h, w), or None where either is missing."""
    labels: Labels | None = getattr(frame, reference)
    if frame.segments is None or labels is None or not (labels == PARTS[part]).any():
        return None
    return frame.segments == PARTS[part], labels == PARTS[part]


def _hd95(a: NDArray[np.intp], b: NDArray[np.intp]) -> float:
    """Return the distance of two sets of points (n, 2), in pixels."""
    # of the outlines and by their 95th percentile: the largest distance is a matter of one stray pixel
    from scipy.spatial import KDTree  # here: slow to import, see `calibration`

    nearest = KDTree(b).query(a)[0], KDTree(a).query(b)[0]
    return float(max(np.percentile(distance, 95) for distance in nearest))


METRICS = tuple(
    metric
    for part in ("lv", "myo", "rv")
    for metric in (
        Metric(f"dice-{part}", partial(dice, part=part, reference="truth_segment"), "higher"),
        Metric(f"dice-{part}-label", partial(dice, part=part, reference="label"), "higher"),
        Metric(f"hd95-{part}", partial(hd95, part=part), "lower", "mm"),
        Metric(f"area-{part}-result", partial(area, part=part, of="segments"), "none", "mm^2"),
        Metric(f"area-{part}-truth", partial(area, part=part, of="truth_segment"), "none", "mm^2"),
        Metric(f"area-{part}-label", partial(area, part=part, of="label"), "none", "mm^2"),
        Metric(f"area-error-{part}", partial(area_error, part=part), "zero", "mm^2"),
    )
)
