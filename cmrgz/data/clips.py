"""Clips: the frames of a case, scaled and turned to the reader's view, and crops of them about the heart."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.cases import Case
from cmrgz.data.intensity import Scale
from cmrgz.data.orientation import Orientation
from cmrgz.data.scan import load
from cmrgz.data.window import heart_centre
from cmrgz.errors import DataError

Corner = tuple[float, float]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Clip:
    """The frames of one case.

    Attributes:
        subject: The patient.
        frames: Values (t, z, y, x) float16 in [-1, 1].
        phases: (t,) part of the cardiac cycle.
        slices: (z,) place between base and apex.
        centre: (row, column) of the heart.
        spacing: (z, y, x) of a voxel, mm, as the frames are turned.
        labels: (t, z, y, x) uint8, 0 where there is none, or None; see `read_clip`.
    """

    subject: str
    frames: NDArray[np.float16]
    phases: NDArray[Any]
    slices: NDArray[Any]
    centre: Corner
    spacing: tuple[float, float, float] = (10.0, 1.4, 1.4)
    labels: NDArray[np.uint8] | None = None

    def corner(self, item: Pair) -> Corner:
        """Return the (row, column) of the first pixel of a heart-centred crop (h, w)."""
        room = [max(n - m, 0) for n, m in zip(self.frames.shape[2:], item, strict=True)]
        row, column = (float(np.clip(round(c - m / 2), 0, r)) for c, m, r in zip(self.centre, item, room, strict=True))
        return row, column

    def place(self, t: int, z: int, corner: Corner, item: Pair) -> dict[str, float]:
        """Return the conditions of the crop at `corner` of frame t, slice z; row and column in crops from the heart."""
        row, column = ((c + m / 2 - h) / m for c, m, h in zip(corner, item, self.centre, strict=True))
        return {"phase": float(self.phases[t]), "slice": float(self.slices[z]), "row": row, "column": column}


def read_clip(case: Case, labels: bool = False) -> Clip:
    """Read a case, scaled by its own 0 to 99.5th percentile.

    Args:
        case: The scan.
        labels: Read its label map too, where it has one.

    Raises:
        DataError: The scan or the label map is missing or damaged, or they differ in shape.
    """
    scan = load(case.image)
    turn = Orientation.of_geometry(scan.geometry)
    voxels = np.ascontiguousarray(turn.apply(scan.voxels))
    known = np.ones(voxels.shape, dtype=bool)
    unit = Scale.fit(voxels, known).to_unit(voxels).astype(np.float16)
    z, y, x = scan.spacing
    spacing = (z, x, y) if turn.swap else (z, y, x)
    label = _read_labels(case, scan.shape, turn) if labels else None
    return Clip(case.subject, unit, scan.phases, scan.slice_positions, heart_centre(voxels, known), spacing, label)


def _read_labels(case: Case, shape: tuple[int, ...], turn: Orientation) -> NDArray[np.uint8] | None:
    if case.label is None:
        return None
    label = load(case.label)
    if label.shape != shape:
        facts = f"{label.shape}, scan {shape}"
        raise DataError("shape-mismatch", str(case.label), "the label map and the scan differ in shape", facts)
    return np.ascontiguousarray(turn.apply(label.voxels)).round().astype(np.uint8)


def crop(plane: NDArray[Any], corner: Corner, item: Pair, fill: float) -> NDArray[Any]:
    """Return (h, w) pixels of a plane (H, W) as they are, padded with `fill` where the plane is too small."""
    top, left = int(corner[0]), int(corner[1])
    part = plane[top : top + item[0], left : left + item[1]]
    margin = [(0, m - n) for m, n in zip(item, part.shape, strict=True)]
    return np.pad(part, margin, constant_values=fill)
