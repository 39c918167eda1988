"""Topology: hearts that cannot be. Needs no reference, so that it judges generated frames too.

In a short-axis view the left ventricle is one piece, enclosed by one closed ring of myocardium that the right
ventricle lies against. Of 2145 labelled frames of phantoms 11 break a rule (7 open rings, 4 torn walls), of 28 real
frames with a labelled myocardium 1 (an open ring).
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from scipy.ndimage import binary_dilation, label

from cmrgz.evaluation.metrics.anatomy import PARTS
from cmrgz.evaluation.metrics.base import Bools, Labels, Metric, Sampled

SPECK = 20.0  # mm^2 up to which a piece is a segmenter's noise, and nobody's anatomy
CORNERS = np.ones((3, 3), dtype=bool)  # pixels that meet at a corner are one piece: a thin wall is not cut


def torn(segment: Labels, speck: int, part: str) -> bool:
    """Return whether a part is in more than one piece."""
    return len(_pieces(segment == PARTS[part], speck)) > 1


def open_ring(segment: Labels, speck: int) -> bool:
    """Return whether the left ventricle can be reached from outside, by a gap in its ring of 3 pixels or more."""
    # the wall is grown by a pixel each side, which closes gaps of one or two: segmenters leave such
    pieces = _pieces(segment == PARTS["lv"], speck)
    outside, _ = label(np.pad(~_grown(segment == PARTS["myo"]), 1, constant_values=True))
    return bool(pieces) and bool((outside == outside[0, 0])[1:-1, 1:-1][pieces[0]].any())


def rv_apart(segment: Labels, speck: int) -> bool:
    """Return whether there are a right ventricle and a myocardium that do not touch."""
    pieces = _pieces(segment == PARTS["rv"], speck)
    myocardium = segment == PARTS["myo"]
    return bool(pieces) and int(myocardium.sum()) > speck and not (_grown(pieces[0]) & myocardium).any()


RULES: Mapping[str, Callable[[Labels, int], bool]] = {
    "second-lv": partial(torn, part="lv"),
    "torn-wall": partial(torn, part="myo"),
    "open-ring": open_ring,
    "rv-apart": rv_apart,
}


def broken(segment: Labels, spacing: float) -> frozenset[str]:
    """Return the names of the rules that a label map (h, w) breaks, specks left aside.

    What is not there breaks no rule: near base and apex parts are missing. See `parts-lost` for those that should be.
    """
    speck = int(SPECK / spacing**2)
    return frozenset(name for name, breaks in RULES.items() if breaks(segment, speck))


def violations(frame: Sampled) -> float:
    """Return the share of the samples that break a rule that the truth, as segmented, keeps."""
    if frame.segments is None:
        return float("nan")
    own = frozenset[str]() if frame.truth_segment is None else broken(frame.truth_segment, frame.spacing)
    return float(np.mean([bool(broken(s, frame.spacing) - own) for s in frame.segments]))


def violations_of_truth(frame: Sampled) -> float:
    """Return 1 if the truth, as segmented, breaks a rule, else 0: the segmenter's own errors."""
    return float("nan") if frame.truth_segment is None else float(bool(broken(frame.truth_segment, frame.spacing)))


def differing(frame: Sampled, invented: bool) -> float:
    """Return the share of the samples that lack a part that the truth has, or (`invented`) have one that it lacks."""
    if frame.segments is None or frame.truth_segment is None:
        return float("nan")
    truth, *samples = (_parts(s, frame.spacing) for s in (frame.truth_segment, *frame.segments))
    return float(np.mean([bool(sample - truth if invented else truth - sample) for sample in samples]))


def _parts(segment: Labels, spacing: float) -> frozenset[int]:
    """Return the labels that cover more than a speck."""
    return frozenset(c for c in PARTS.values() if (segment == c).sum() * spacing**2 > SPECK)


def _pieces(region: Bools, speck: int) -> list[Bools]:
    """Return the connected pieces of a region (h, w) that are more than a speck, largest first."""
    numbered, _ = label(region, CORNERS)
    sizes = np.bincount(numbered.ravel())[1:]
    return [numbered == i + 1 for i in np.argsort(-sizes, kind="stable") if sizes[i] > speck]


def _grown(region: Bools) -> Bools:
    """Return a region (h, w) and the pixels around it."""
    return np.asarray(binary_dilation(region, CORNERS))


METRICS = (
    Metric("topology-violations", violations, "lower"),
    Metric("topology-violations-truth", violations_of_truth, "lower"),
    Metric("parts-lost", partial(differing, invented=False), "lower"),
    Metric("parts-invented", partial(differing, invented=True), "lower"),
)
