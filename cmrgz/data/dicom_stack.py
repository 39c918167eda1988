"""Planes of a scanner, put in order: a stack of slices that all have the same phases."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.geometry import MM_AND_SECONDS, TOWARDS_APEX, Affine, Geometry, check_affine, version_for
from cmrgz.errors import DataError, warn

TO_RAS = np.array([-1.0, -1.0, 1.0])
"""DICOM counts to the left, back and head, NIfTI to the right, front and head."""
SAME_PLACE = 0.1
"""Millimetres within which two planes lie at one place."""
UNEVEN = 0.1
"""How far the distance of two slices may differ from that of the others, as a share of it."""
ASKEW = 1e-3
"""How much the directions of parallel planes may differ."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plane:
    """One file: a slice at a phase.

    Attributes:
        file: Where it is.
        series: What names the series.
        study: What names the patient and the examination.
        shape: (rows, columns).
        edges: (dx, dy) of a pixel, mm.
        position: (3,) centre of the first pixel, mm, left-posterior-superior.
        axes: (2, 3) directions in which columns and rows are counted.
        gap: Distance to the next slice as the header says, mm; 0 where it does not.
        time: Milliseconds since the trigger, where it is known.
        number: Its number in the series.
        slope: Scale of the stored values.
        inter: Offset of the scaled values.
    """

    file: Path
    series: str
    study: str
    shape: tuple[int, int]
    edges: tuple[float, float]
    position: Floats
    axes: Floats
    gap: float
    time: float | None
    number: int
    slope: float
    inter: float


@dataclass(frozen=True)
class Stack:
    """A cine.

    Attributes:
        planes: Those of each phase, from base to apex.
        geometry: Where its voxels (x, y, z, t) lie.
    """

    planes: list[list[Plane]]
    geometry: Geometry

    @property
    def rows(self) -> int:
        """Pixels along y."""
        return self.planes[0][0].shape[0]

    @property
    def columns(self) -> int:
        """Pixels along x."""
        return self.planes[0][0].shape[1]


def stacked(where: str, parts: Sequence[Sequence[Plane]]) -> Stack:
    """Put planes in order.

    Args:
        where: The folder as typed, for errors.
        parts: The planes of each folder, each of which holds one series. Of two that hold the same slice, drawn again,
            the later one counts.

    Raises:
        DataError: `mixed-series`, `dims`, `spacing` or `affine`.
    """
    _check_one_series(where, parts)
    slices = _ordered(where, _by_place(where, parts))
    counts = {len(planes) for planes in slices}
    if len(counts) > 1:
        facts = f"{min(counts)} .. {max(counts)}"
        raise DataError("dims", where, "slices differ in their number of phases", facts, "is a file missing?")
    timed = [_by_time(where, planes) for planes in slices]
    phases = [list(row) for row in zip(*timed, strict=True)]
    return Stack(phases, _geometry(where, phases, _frame_time(timed)))


def _mixed(where: str, what: str, facts: str = "") -> DataError:
    return DataError("mixed-series", where, what, facts, "put the files of each series in a folder of its own")


def _check_one_series(where: str, parts: Sequence[Sequence[Plane]]) -> None:
    """Refuse planes that were not taken as one cine."""
    # In each folder by itself: scanners make a series of each slice, which then has a folder `sax_N` of its own.
    most = max(len({plane.series for plane in part}) for part in parts)
    if most > 1:
        raise _mixed(where, "holds several series", f"{most} of them")
    planes = [plane for part in parts for plane in part]
    first = planes[0]
    if len({plane.study for plane in planes}) > 1:
        raise _mixed(where, "holds several examinations")
    if any(plane.shape != first.shape or plane.edges != first.edges for plane in planes):
        raise _mixed(where, "holds planes of different pixels")
    if not all(np.abs(plane.axes - first.axes).max() < ASKEW for plane in planes):  # NaN is no direction either
        raise _mixed(where, "holds planes that are not parallel")


def _normal(plane: Plane) -> Floats:
    """Return the direction of the stack, right-anterior-superior, towards the apex."""
    # Which end of the stack is scanned first is up to the operator; here it is always the base.
    normal = np.cross(plane.axes[0], plane.axes[1]) * TO_RAS
    return normal if normal @ TOWARDS_APEX > 0 else -normal


def _by_place(where: str, parts: Sequence[Sequence[Plane]]) -> list[list[Plane]]:
    """Return the planes of each place, in any order."""
    found: list[list[Plane]] = []
    again = 0
    for planes in (planes for part in parts for planes in _grouped(part)):
        earlier = next((i for i, known in enumerate(found) if _apart(known[0], planes[0]) < SAME_PLACE), None)
        if earlier is None:
            found.append(planes)
        else:
            found[earlier], again = planes, again + 1
    if again:
        warn("repeated-slice", where, "holds slices that were taken again; the last ones count", f"{again} of them")
    return found


def _grouped(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Return planes of one folder by their places."""
    groups: list[list[Plane]] = []
    for plane in planes:
        group = next((group for group in groups if _apart(group[0], plane) < SAME_PLACE), None)
        if group is None:
            groups.append([plane])
        else:
            group.append(plane)
    return groups


def _apart(first: Plane, second: Plane) -> float:
    return float(np.linalg.norm(first.position - second.position))


def _ordered(where: str, slices: list[list[Plane]]) -> list[list[Plane]]:
    """Return slices from base to apex, which must lie evenly on a line."""
    normal = _normal(slices[0][0])
    ordered = sorted(slices, key=lambda planes: float(planes[0].position * TO_RAS @ normal))
    places = np.array([planes[0].position for planes in ordered])
    if len(places) < 3:
        return ordered
    steps = np.diff(places, axis=0)
    # The median: where one slice is missing, one step is twice as long, and must stand out against the others.
    usual = np.median(steps, axis=0)
    length = float(np.linalg.norm(usual))
    worst = float(np.linalg.norm(steps - usual, axis=1).max())
    # Said so that NaN is refused as well.
    if not worst <= UNEVEN * length:
        facts = f"{length:.3g} mm apart, and up to {worst:.3g} mm off"
        raise DataError("spacing", where, "the slices do not lie evenly", facts, "is a slice missing, or one too many?")
    return ordered


def _by_time(where: str, planes: list[Plane]) -> list[Plane]:
    """Return the phases of a slice in order: by trigger time, or by number where no time is told."""
    times = {plane.time for plane in planes}
    # One time in all files tells nothing of their order.
    told = None not in times and len(times) > 1
    keys = [plane.time if told and plane.time is not None else plane.number for plane in planes]
    if len(set(keys)) < len(keys):
        raise _mixed(where, "holds a slice twice at one phase", f"{len(keys) - len(set(keys))} times or more")
    return [planes[i] for i in np.argsort(keys)]


def _frame_time(slices: list[list[Plane]]) -> float:
    """Return the usual time between phases in seconds, 0 where it is unknown."""
    times = [[plane.time for plane in planes if plane.time is not None] for planes in slices]
    # Their median: a heart that beats unevenly has a few odd ones.
    gaps = [gap for row in times for gap in np.diff(row)]
    usual = float(np.median(gaps)) / 1000 if gaps else 0.0
    return usual if 0 < usual < 10 else 0.0


def _geometry(where: str, phases: list[list[Plane]], frame_time: float) -> Geometry:
    first, last, count = phases[0][0], phases[0][-1], len(phases[0])
    # Over the whole stack, so that the rounding of single positions does not add up.
    step = (last.position - first.position) * TO_RAS / (count - 1) if count > 1 else _normal(first) * (first.gap or 1.0)
    dx, dy = first.edges
    affine = np.eye(4)
    affine[:3] = np.column_stack([*(first.axes * [[dx], [dy]] * TO_RAS), step, first.position * TO_RAS])
    check_affine(affine, where)
    quaternion, handedness = _rotation(affine)
    edges = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    x, y, z = affine[:3, 3].tolist()
    return Geometry(
        affine=affine,
        rank=4 if len(phases) > 1 else 3,
        sform=affine[:3],
        sform_code=1,
        quaternion=quaternion,
        offset=(x, y, z),
        handedness=handedness,
        qform_code=1,
        pixdim=(edges[0], edges[1], edges[2], frame_time),
        units=MM_AND_SECONDS,
        intent=0,
        version=version_for((*first.shape, count, len(phases))),
    )


def _rotation(affine: Affine) -> tuple[tuple[float, float, float], int]:
    """Return the (b, c, d) of the quaternion of the axes, and the sign of the third."""
    from scipy.spatial.transform import Rotation

    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    handedness = 1 if np.linalg.det(axes) > 0 else -1
    b, c, d, a = Rotation.from_matrix(axes * [1, 1, handedness]).as_quat().tolist()
    # NIfTI stores b, c, d alone and takes a for positive; q and -q are the same rotation.
    sign = 1.0 if a >= 0 else -1.0
    return (sign * b, sign * c, sign * d), handedness
