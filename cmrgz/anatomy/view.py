"""How a scan is shown to the segmenter: as a reader sees it, at the segmenter's pixel size, about the heart.

The same for any grid, orientation and pixel size; label maps go the way back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.anatomy.function import Bools, Labels
from cmrgz.anatomy.segmenter import Segmenter
from cmrgz.anatomy.segmenter.labelled import SIDE
from cmrgz.data.cines import SPACING, corner_about, crop
from cmrgz.data.intensity import Scale
from cmrgz.data.orientation import Orientation
from cmrgz.data.planes import Cine, Planes
from cmrgz.data.scan import Scan
from cmrgz.data.window import Window, heart_centre

TOGETHER = 64
"""Planes that are held at once."""
UNIT = Scale(0.0, 1.0)

Place = tuple[int, int]


@dataclass(frozen=True)
class View:
    """How a scan is shown to the segmenter: a function of its known voxels alone.

    Attributes:
        orientation: How its planes are turned.
        window: From the turned planes to those at the segmenter's pixel size.
        scale: Of the intensities.
        pixel: Area of a pixel that the segmenter sees, mm^2.
    """

    orientation: Orientation
    window: Window
    scale: Scale
    pixel: float

    @classmethod
    def of(cls, scan: Scan, known: Bools, cine: Cine | None = None, scale: Scale | None = None) -> "View":
        """Plan a scan.

        Args:
            scan: Its grid.
            known: (t, z, y, x) which of its voxels are given; others are not looked at.
            cine: Its intensities, if they are not those that are stored.
            scale: Theirs, if it is known; else it is fitted.
        """
        cine = scan.planes if cine is None else cine
        turn = Orientation.of_geometry(scan.geometry)
        seen = turn.apply(known)
        t, z, h, w = seen.shape
        given = Planes((t, z, h, w), np.dtype(np.float32), lambda t, z: np.where(seen[t, z], turn.apply(cine[t, z]), 0))
        edges = turn.edges(scan.spacing)
        # One tile that is the whole plane: what is cut about the heart is cut as `Cine` cuts what evaluations score.
        window = Window.plan((h, w), edges, (h, w), SPACING, heart_centre(given, seen), 1, 0)
        pixel = float(np.prod(edges)) if window.step is None else SPACING**2
        return cls(turn, window, scale or Scale.fit(given, seen), pixel)

    @property
    def corner(self) -> Place:
        """First pixel of what the segmenter sees, in the planes at its pixel size."""
        row, column = corner_about(self.window.centre, self.window.inner, (SIDE, SIDE))
        return int(row), int(column)

    def shown(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a plane (y, x) of intensities as (128, 128) in [0, 1]; what lies beyond it is black."""
        unit = self.orientation.apply(self.scale.to_unit(plane))[None]
        x = self.window.to_model(unit, np.ones(unit.shape, dtype=bool))[0]
        inner = x[0, : self.window.inner[0], : self.window.inner[1]]
        return np.asarray((crop(inner, self.corner, (SIDE, SIDE), -1.0) + 1) / 2, dtype=np.float32)

    def labels(self, segmenter: Segmenter, cine: Cine, places: Iterable[Place]) -> dict[Place, Labels]:
        """Return the label maps (128, 128) of some planes of a cine, by `Segmenter.segment`; none of empty planes."""
        found: dict[Place, Labels] = {}
        left = iter(places)
        while part := list(islice(left, TOGETHER)):
            planes = np.stack([self.shown(cine[place]) for place in part])
            maps = segmenter.segment(planes)
            # The network sees a heart in a plane of one value, which is like nothing that it was trained on: a slice
            # that pads a stack would add its volume.
            maps[np.ptp(planes, axis=(1, 2)) == 0] = 0
            found |= dict(zip(part, maps, strict=True))
        return found

    def on_grid(self, labels: Labels) -> Labels:
        """Return label maps (n, 128, 128) on the pixels of the scan (n, y, x), 0 outside of the heart's surroundings.

        A pixel gets the class that has the largest share of it.
        """
        (row, column), (height, width) = self.corner, self.window.inner
        about = np.zeros((len(labels), *self.window.padded), np.uint8)
        about[:, row : row + SIDE, column : column + SIDE] = labels[:, : height - row, : width - column]
        if self.window.step is None:
            return self.orientation.undo(about)
        shares = np.stack([self.window.to_native(about == value) for value in range(4)])
        return self.orientation.undo(shares.argmax(0).astype(np.uint8))


def segment_scan(segmenter: Segmenter, scan: Scan, unit: NDArray[Any]) -> Labels:
    """Return the labels of a scan on its grid: (t, z, y, x), 0 outside of the heart's surroundings.

    Args:
        segmenter: Labels frames.
        scan: Its grid.
        unit: (t, z, y, x) its values in [0, 1], 0 black and 1 its 99.5th percentile.
    """
    view = View.of(scan, np.ones(unit.shape, dtype=bool), unit, UNIT)
    found = view.labels(segmenter, unit, np.ndindex(unit.shape[:2]))
    return np.ascontiguousarray(view.on_grid(np.stack(list(found.values()))).reshape(unit.shape))
