"""What the segmenter sees of a scan: its planes in the reader's view, at its own pixel size, about the heart."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.cines import SPACING, crop
from cmrgz.data.intensity import Scale
from cmrgz.data.orientation import Orientation
from cmrgz.data.planes import Cine, Planes
from cmrgz.data.scan import Scan
from cmrgz.data.window import Window, heart_centre
from cmrgz.evaluation.cardiac import Labels
from cmrgz.evaluation.segmenter import Segmenter

SIDE = 128
"""Edge in pixels of what it sees: 18 cm about the heart."""
TOGETHER = 64
"""Planes that are held at once."""

Bools = NDArray[np.bool_]
Place = tuple[int, int]


@dataclass(frozen=True)
class Sight:
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
    def of(cls, scan: Scan, known: Bools) -> "Sight":
        """Plan a scan of which `known` (t, z, y, x) is given."""
        turn = Orientation.of_geometry(scan.geometry)
        seen = turn.apply(known)
        t, z, h, w = seen.shape
        given = Planes(
            (t, z, h, w), np.dtype(np.float32), lambda t, z: np.where(seen[t, z], turn.apply(scan.plane(t, z)), 0)
        )
        edges = turn.edges(scan.spacing)
        window = Window.plan((h, w), edges, (h, w), SPACING, heart_centre(given, seen), 1, 0)
        pixel = float(np.prod(edges)) if window.step is None else SPACING**2
        return cls(turn, window, Scale.fit(given, seen), pixel)

    def shown(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a plane (y, x) of intensities as (128, 128) in [0, 1]; what lies beyond it is black."""
        unit = self.orientation.apply(self.scale.to_unit(plane))[None]
        x = self.window.to_model(unit, np.ones(unit.shape, dtype=bool))[0]
        row, column = (min(max(round(c - SIDE / 2), 0), max(n - SIDE, 0))
                       for c, n in zip(self.window.centre, self.window.inner, strict=True))  # fmt: skip
        inner = x[0, : self.window.inner[0], : self.window.inner[1]]
        return np.asarray((crop(inner, (row, column), (SIDE, SIDE), -1.0) + 1) / 2, dtype=np.float32)

    def labels(self, segmenter: Segmenter, cine: Cine, places: Iterable[Place]) -> dict[Place, Labels]:
        """Return the label maps (128, 128) of some planes of a cine, see `Segmenter.segment`."""
        found: dict[Place, Labels] = {}
        left = iter(places)
        while part := list(islice(left, TOGETHER)):
            maps = segmenter.segment(np.stack([self.shown(cine[place]) for place in part]))
            found |= dict(zip(part, maps, strict=True))
        return found
