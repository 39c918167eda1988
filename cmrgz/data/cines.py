"""Cines: the frames of a case at a model's pixel size, scaled and turned to the reader's view, and crops of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.banked import Banked
from cmrgz.data.cases import Case
from cmrgz.data.intensity import Scale
from cmrgz.data.labels import load_labels, refuse_label_map
from cmrgz.data.orientation import Orientation
from cmrgz.data.planes import Planes
from cmrgz.data.scan import Scan, load, load_known
from cmrgz.data.window import Resample, Window, heart_centre
from cmrgz.errors import DataError

Corner = tuple[float, float]
Pair = tuple[int, int]
Indices = Sequence[int] | NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
MaskFile = tuple[Path, Literal["hidden", "known"]]
"""A mask file, and what 1 means in it."""
SPACING = 1.4
"""Pixel size in mm of models that do not say another."""


@dataclass(frozen=True)
class Cine:
    """The frames of one case.

    Attributes:
        subject: The patient.
        frames: Values (t, z, y, x) float16 in [-1, 1]; of a bank they are read when they are asked for.
        phases: (t,) part of the cardiac cycle.
        slices: (z,) place between base and apex.
        centre: (row, column) of the heart.
        spacing: (z, y, x) of a voxel, mm, of the frames as they are here.
        labels: (t, z, y, x) uint8, 0 where there is none, or None; see `read_cine`.
        patient: What a network is told of the patient, NaN where unknown; see `cmrgz.vocabulary`.
        masks: (t, z, y, x) bool, True = given, by name.
        ring: Whether its phases are a full cycle, where a bank says it.
    """

    subject: str
    frames: NDArray[np.float16] | Planes
    phases: NDArray[Any]
    slices: NDArray[Any]
    centre: Corner
    spacing: tuple[float, float, float] = (10.0, SPACING, SPACING)
    labels: NDArray[np.uint8] | None = None
    patient: Mapping[str, float] = field(default_factory=dict, kw_only=True)
    masks: Mapping[str, Bools] = field(default_factory=dict, kw_only=True)
    ring: bool | None = field(default=None, kw_only=True)

    @property
    def heights(self) -> Floats:
        """(z,) place of the slices in mm from the first."""
        return (self.spacing[0] * np.arange(self.frames.shape[1])).astype(np.float32)

    @property
    def whole(self) -> NDArray[np.float16]:
        """The frames as an array."""
        return self.frames.whole() if isinstance(self.frames, Planes) else self.frames

    def at(self, t: Indices, z: Indices) -> NDArray[np.float16]:
        """Return the planes (len(t), len(z), y, x) of phases t and slices z."""
        if isinstance(self.frames, Planes):
            return np.stack([np.stack([self.frames[int(i), int(j)] for j in z]) for i in t])
        return self.frames[np.ix_(np.asarray(t), np.asarray(z))]

    def corner(self, item: Pair) -> Corner:
        """Return the (row, column) of the first pixel of a heart-centred crop (h, w)."""
        return corner_about(self.centre, (self.frames.shape[2], self.frames.shape[3]), item)

    def block(self, t: Indices, z: Indices, corner: Corner, item: Pair) -> NDArray[np.float16]:
        """Return the crops (len(t), len(z), h, w) at `corner` of phases t and slices z, air where planes are small."""
        return np.asarray(crop(self.at(t, z), corner, item, -1.0), dtype=np.float16)

    def place(self, t: int, z: int, corner: Corner, item: Pair) -> dict[str, float]:
        """Return the conditions of the crop at `corner` of frame t, slice z; row and column in crops from the heart."""
        row, column = ((c + m / 2 - h) / m for c, m, h in zip(corner, item, self.centre, strict=True))
        place = {"phase": float(self.phases[t]), "slice": float(self.slices[z]), "row": row, "column": column}
        return {**place, **self.patient}

    def places(self, t: Indices, z: Indices, corner: Corner, item: Pair) -> dict[str, Floats]:
        """Return the conditions of the block at `corner` of phases t and slices z.

        Those of `place`, `phase` and `slice` of each frame (t, z); and, also (t, z), `time`, the share of the cycle
        since the first phase of the block, in [0, 1), and `height`, mm from its first slice. These two are never NaN.
        """
        first, shape = self.place(int(t[0]), int(z[0]), corner, item), (len(t), len(z))
        cycle = self.frames.shape[0]
        values: dict[str, Any] = {
            "phase": self.phases[np.asarray(t)][:, None],
            "slice": self.slices[np.asarray(z)][None],
            "row": first["row"],
            "column": first["column"],
            # From the block's own first phase, so that a block that wraps around the cycle goes on counting.
            "time": ((np.asarray(t) - t[0]) % cycle / cycle)[:, None],
            "height": (self.heights[np.asarray(z)] - self.heights[z[0]])[None],
            **self.patient,
        }
        single = ("row", "column", *self.patient)
        shaped = {name: value if name in single else np.broadcast_to(value, shape) for name, value in values.items()}
        return {name: np.array(value, dtype=np.float32) for name, value in shaped.items()}


def read_cine(
    case: Case,
    labels: bool = False,
    spacing: float | None = SPACING,
    masks: Mapping[str, MaskFile] | None = None,
) -> Cine:
    """Read a case, scaled by its own 0 to 99.5th percentile, its planes at a model's pixel size.

    Pixels are kept as they are, bit for bit, or resampled, by the rule of `Window`: as in inpainting.

    Args:
        case: The scan.
        labels: Read its label map too, where it has one.
        spacing: Pixel size of the model, mm; None keeps the pixels of the scan.
        masks: Mask files of the scan by name. A pixel is given where all that it is made of is.

    Raises:
        DataError: The scan, the label map or a mask is missing or damaged, or they do not fit; `label-map` where the
            scan is one itself; `spacing` or `bank` where it is in a bank of another pixel size, which has no label
            maps and no masks.
    """
    if case.banked is not None:
        return _of_bank(case, case.banked, labels or bool(masks), spacing)
    scan = load(case.image, axes=case.axes)
    refuse_label_map(scan, case)
    turn = Orientation.of_geometry(scan.geometry)
    voxels = np.ascontiguousarray(turn.apply(scan.voxels))
    known = np.ones(voxels.shape, dtype=bool)
    edges = turn.edges(scan.spacing)
    # One tile that starts at the first pixel: there is nothing to be covered, and no patch to be padded to.
    plane = (voxels.shape[2], voxels.shape[3])
    rule: Resample = "native" if spacing is None else "auto"
    # Native pixels stay as they are whatever it is, but a window has one.
    size = SPACING if spacing is None else spacing
    window = Window.plan(plane, edges, plane, size, heart_centre(voxels, known), 1, 0, rule)
    frames = _resampled(window, Scale.fit(voxels, known).to_unit(voxels))
    label = _read_labels(case, scan, turn, window) if labels else None
    given = {name: _read_mask(file, scan, turn, window) for name, file in (masks or {}).items()}
    edges = edges if window.step is None else (size, size)
    places = (scan.phases, scan.slice_positions, window.centre, (scan.spacing[0], *edges))
    return Cine(case.subject, frames, *places, label, masks=given)


def _read_mask(file: MaskFile, scan: Scan, turn: Orientation, window: Window) -> Bools:
    known = np.ascontiguousarray(turn.apply(load_known(file[0], scan, file[1])))
    frames = known.reshape(-1, *known.shape[2:])
    seen = window.to_model(np.zeros(frames.shape, np.float32), frames)[1][:, : window.inner[0], : window.inner[1]]
    return seen.reshape(*known.shape[:2], *seen.shape[1:])


def _of_bank(case: Case, banked: Banked, more: bool, spacing: float | None) -> Cine:
    if more:
        what = "is a bank, which has neither label maps nor masks"
        raise DataError("bank", str(banked.bank), what, hint="name the scans")
    banked.require(spacing)
    told = banked.record
    (row, column), (dz, dy, dx) = told["centre"], told["spacing"]
    phases, slices = banked.numbers("phases"), banked.numbers("slices")
    return Cine(case.subject, banked.frames, phases, slices, (row, column), (dz, dy, dx), ring=told["ring"])


def _resampled(window: Window, unit: Floats) -> NDArray[np.float16]:
    """Return frames (t, z, h, w) of a scan (t, z, y, x) in [-1, 1]."""
    if window.step is None:
        return unit.astype(np.float16)
    # Frame by frame: of the whole cine at once float32 and float16 would be held together.
    return np.stack([_planes(window, frame).astype(np.float16) for frame in unit])


def _planes(window: Window, planes: NDArray[Any]) -> Floats:
    """Return planes (z, h, w) of those of a scan (z, y, x), all of which are known."""
    x, _ = window.to_model(planes, np.ones(planes.shape, dtype=bool))
    return x[:, : window.inner[0], : window.inner[1]]


def _read_labels(case: Case, scan: Scan, turn: Orientation, window: Window) -> NDArray[np.uint8] | None:
    labels = load_labels(case, scan)
    if labels is None:
        return None
    whole = np.ascontiguousarray(turn.apply(labels))
    return whole if window.step is None else np.stack([_voted(window, frame) for frame in whole])


def _voted(window: Window, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return label maps (z, h, w) of those of a scan (z, y, x): the class with the largest share of a pixel."""
    winner = np.zeros((len(labels), *window.inner), np.uint8)
    most = np.zeros(winner.shape, np.float32)
    # Labels cannot be averaged. The share of each class is resampled, and the largest wins.
    for value in np.unique(labels):
        share = _planes(window, labels == value)
        winner[share > most] = value
        most = np.maximum(most, share)
    return winner


def corner_about(centre: Corner, plane: Pair, item: Pair) -> Corner:
    """Return the (row, column) of the first pixel of a crop (h, w) about a centre, moved into the plane."""
    # Whole pixels: a crop of fractions would have to be resampled.
    room = [max(n - m, 0) for n, m in zip(plane, item, strict=True)]
    row, column = (float(np.clip(round(c - m / 2), 0, r)) for c, m, r in zip(centre, item, room, strict=True))
    return row, column


def crop(planes: NDArray[Any], corner: Corner, item: Pair, fill: float) -> NDArray[Any]:
    """Return (..., h, w) pixels of planes (..., H, W) as they are, padded with `fill` where they are too small."""
    top, left = int(corner[0]), int(corner[1])
    part = planes[..., top : top + item[0], left : left + item[1]]
    margin = [(0, 0)] * (planes.ndim - 2) + [(0, m - n) for m, n in zip(item, part.shape[-2:], strict=True)]
    return np.pad(part, margin, constant_values=fill)
