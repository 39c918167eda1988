"""The segmenter on whole scans: any grid, any orientation, any pixel size."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.cines import SPACING
from cmrgz.data.orientation import Orientation
from cmrgz.data.scan import Scan
from cmrgz.data.window import Window, heart_centre
from cmrgz.evaluation.segmenter import Labels, Segmenter
from cmrgz.evaluation.segmenter.labelled import SIDE


def segment_scan(segmenter: Segmenter, scan: Scan, unit: NDArray[Any]) -> Labels:
    """Return the labels of a scan on its grid: (t, z, y, x), 0 outside of the heart's surroundings.

    Planes are turned to the reader's view and brought to the pixels that the segmenter was trained on; what moves says
    where the heart is, and 128 x 128 pixels about it are looked at.

    Args:
        segmenter: Labels frames.
        scan: Its grid.
        unit: (t, z, y, x) its values in [0, 1], 0 black and 1 its 99.5th percentile.
    """
    turn = Orientation.of_geometry(scan.geometry)
    turned = np.ascontiguousarray(turn.apply(unit))
    known = np.ones(turned.shape, dtype=bool)
    edges = turn.edges(scan.spacing)
    plane, item = (turned.shape[2], turned.shape[3]), (SIDE, SIDE)
    window = Window.plan(plane, edges, item, SPACING, heart_centre(turned, known), 1, 0)
    frames, _ = window.to_model(turned.reshape(-1, *plane), known.reshape(-1, *plane))
    row, column = window.tiles[0]
    about = np.s_[:, row : row + SIDE, column : column + SIDE]
    labels = segmenter.segment(frames[about])
    labels[np.ptp(frames[about], axis=(1, 2)) == 0] = 0  # an empty frame is like nothing that it was trained on
    found = np.zeros(frames.shape, np.uint8)
    found[about] = labels
    return np.ascontiguousarray(turn.undo(_to_native(window, found)).reshape(unit.shape))


def _to_native(window: Window, labels: Labels) -> Labels:
    """Return label maps (n, H, W) of a scan's pixels: the class with the largest share of each."""
    if window.step is None:
        return labels[:, : window.inner[0], : window.inner[1]]
    shares = np.stack([window.to_native(labels == value) for value in range(4)])
    return np.asarray(shares.argmax(0), dtype=np.uint8)
