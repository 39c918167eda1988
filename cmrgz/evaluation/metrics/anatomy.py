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


def area_of_result(frame: Sampled, part: str) -> float:
    """Return the mean area of a part in the samples, mm^2."""
    return NAN if frame.segments is None else _area(frame.segments, part, frame.spacing) / len(frame.segments)


def area_of(frame: Sampled, part: str, reference: str) -> float:
    """Return the area of a part in a reference, mm^2; of an annotation that lacks it NaN."""
    labels: Labels | None = getattr(frame, reference)
    area = NAN if labels is None else _area(labels, part, frame.spacing)
    return NAN if reference == "label" and area == 0 else area


def area_error(frame: Sampled, part: str) -> float:
    """Return the mean area of a part in the samples less that in the truth, as the segmenter sees both, mm^2."""
    return area_of_result(frame, part) - area_of(frame, part, "truth_segment")


def outline(region: Bools) -> Bools:
    """Return the pixels of regions (n, h, w) that have a side in common with what is outside."""
    around = np.pad(region, ((0, 0), (1, 1), (1, 1)))
    inner = around[:, :-2, 1:-1] & around[:, 2:, 1:-1] & around[:, 1:-1, :-2] & around[:, 1:-1, 2:]
    return region & ~inner


def _regions(frame: Sampled, part: str, reference: str) -> tuple[Bools, Bools] | None:
    """Return a part in the samples (k, h, w) and in the reference (h, w), or None where either is missing."""
    labels: Labels | None = getattr(frame, reference)
    if frame.segments is None or labels is None or not (labels == PARTS[part]).any():
        return None
    return frame.segments == PARTS[part], labels == PARTS[part]


def _area(labels: Labels, part: str, spacing: float) -> float:
    return float((labels == PARTS[part]).sum()) * spacing**2


def _hd95(a: NDArray[np.intp], b: NDArray[np.intp]) -> float:
    """Return the distance of two sets of points (n, 2), in pixels."""
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
        Metric(f"area-{part}-result", partial(area_of_result, part=part), "none", "mm^2"),
        Metric(f"area-{part}-truth", partial(area_of, part=part, reference="truth_segment"), "none", "mm^2"),
        Metric(f"area-{part}-label", partial(area_of, part=part, reference="label"), "none", "mm^2"),
        Metric(f"area-error-{part}", partial(area_error, part=part), "zero", "mm^2"),
    )
)
