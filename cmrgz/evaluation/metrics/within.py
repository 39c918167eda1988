"""The regions of a frame in which metrics are taken, by the name that ends the metric's."""

from collections.abc import Callable

import numpy as np

from cmrgz.evaluation.metrics.base import Bools, Floats, Sampled, once
from cmrgz.evaluation.regions import seam as both_sides


def heart(frame: Sampled) -> Bools:
    """Return the hidden pixels of the heart: (h, w), none of them without a label or a segmenter.

    The heart is what is annotated, else (no label, or an empty one: many scans have labels of some frames alone) what
    the segmenter finds in the truth. Not a pixel more: a margin would add lung, which is dark and easy.
    """
    labels = [label for label in (frame.label, frame.truth_segment) if label is not None and label.any()]
    return frame.hidden & (labels[0] > 0) if labels else np.zeros_like(frame.known)


def moving(frame: Sampled) -> Bools:
    """Return the hidden pixels among the 15 % that vary most over the cycle in truth: (h, w)."""
    return np.zeros_like(frame.known) if frame.moving is None else frame.hidden & frame.moving


@once
def seam(frame: Sampled) -> Bools:
    """Return the hidden pixels within 4 pixels of a known one: (h, w). Those on the other side are equal anyway."""
    return frame.hidden & both_sides(frame.known[None])[0]


REGIONS: dict[str, Callable[[Sampled], Bools]] = {
    "hole": lambda frame: frame.hidden,  # the headline region
    "whole": lambda frame: np.ones_like(frame.known),  # scores of it rise with the known share by construction
    "heart": heart,
    "seam": seam,
    "moving": moving,
}


def means(values: Floats, region: Bools) -> Floats:
    """Return the mean in the region (h, w) of values (..., h, w): (...), NaN where it is empty."""
    inside = values[..., region]
    return inside.mean(-1) if region.any() else np.full(values.shape[:-2], np.nan)
