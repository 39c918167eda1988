"""Where voxels lie: both forms of a NIfTI header as they are on disk, and the one affine that follows from them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from cmrgz.errors import DataError

Affine = NDArray[np.float64]

SPACING = (0.01, 100.0)
"""Range of a voxel edge in mm."""
NOISE = 1e-5
"""By how much float noise may take a squared quaternion norm over 1."""
SHEAR = 0.2
"""Largest cosine between two voxel axes: beyond it the spacing says little about distances."""
APART = 0.5
"""How far two grids may lie apart at a corner of the volume, in voxels."""
TOWARDS_APEX = np.array([-1.0, 1.0, -1.0])
"""Left, anterior and inferior in right-anterior-superior: where the apex of a heart points."""
MEND = "write the header again, with a right affine"
MILLIMETRES = {1: 1e3, 2: 1.0, 3: 1e-3}
SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}
MM_AND_SECONDS = 2 | 8
"""The NIfTI code of the units that are written."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """The geometry of a scan, enough to write it back bit for bit. Lengths are as on disk but in `affine` and `zooms`.

    Attributes:
        affine: (4, 4) float64, voxel indices (x, y, z) -> mm, right-anterior-superior.
        rank: Number of dimensions on disk, 1 to 7.
        sform: (3, 4) float64, zero if `sform_code` is 0.
        sform_code: What the sform refers to; 0 if there is none.
        quaternion: (b, c, d) of the qform.
        offset: (x, y, z) of the qform.
        handedness: -1 or 1, the factor of the third axis of the qform.
        qform_code: What the qform refers to; 0 if there is none.
        pixdim: Voxel edges x, y, z and the frame time, positive; the frame time is 0 where unknown.
        units: The NIfTI code of the units of length and time.
        intent: The NIfTI intent code.
        version: NIfTI 1 or 2.
        axes: What each axis on disk is, see `cmrgz.data.axes`.
        fifth: Time is the fifth axis on disk, the fourth being empty.
    """

    affine: Affine
    rank: int
    sform: Affine
    sform_code: int
    quaternion: tuple[float, float, float]
    offset: tuple[float, float, float]
    handedness: int
    qform_code: int
    pixdim: tuple[float, float, float, float]
    units: int
    intent: int
    version: int
    axes: str = "xyzt"
    fifth: bool = False

    @cached_property
    def zooms(self) -> tuple[float, float, float]:
        """Voxel edges (dx, dy, dz) in mm."""
        return spacing(self.affine)

    @property
    def qform(self) -> Affine | None:
        """The qform as (4, 4) in mm, None if there is none."""
        if self.qform_code <= 0:
            return None
        return in_mm(qform(self.quaternion, self.offset, self.pixdim[:3], self.handedness), self.units)

    @property
    def frame_time(self) -> float:
        """Seconds between frames, NaN where unknown; an unknown unit counts as seconds."""
        # xyzt_units has the unit of length in its lowest three bits, that of time in the next three.
        step, code = self.pixdim[self.axes.index("t")], self.units & 0x38
        if self.axes.index("t") < 3 and step > 1:  # an axis for lengths: milliseconds, or 1 where it was not set
            step /= 1000
        elif self.axes.index("t") < 3 and step == 1:
            return math.nan
        return step * SECONDS.get(code, 1.0) if step > 0 and code <= 24 else math.nan


def spacing(affine: Affine) -> tuple[float, float, float]:
    """Return the lengths of the voxel axes (dx, dy, dz)."""
    dx, dy, dz = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return dx, dy, dz


def version_for(shape: Iterable[int]) -> int:
    """Return the first version of NIfTI that holds these sizes: `dim` is int16 in NIfTI-1."""
    return 1 if max(shape) < 2**15 else 2


def in_mm(matrix: Affine, units: int) -> Affine:
    """Return a (3, 4) or (4, 4) matrix as (4, 4) in mm; unknown units mean mm."""
    return np.vstack([matrix[:3] * MILLIMETRES.get(units & 7, 1.0), [0.0, 0.0, 0.0, 1.0]])


def qform(
    quaternion: tuple[float, float, float],
    offset: tuple[float, float, float],
    edges: tuple[float, ...],
    handedness: int,
) -> Affine:
    """Return the (3, 4) matrix of a quaternion (b, c, d), an offset, three voxel edges and the sign of the third."""
    b, c, d = quaternion
    norm = math.sqrt(b * b + c * c + d * d)
    if norm > 1:  # float noise: a half turn has a = 0
        b, c, d = b / norm, c / norm, d / norm
    # Method 2 of nifti1.h: a is not stored, it makes the norm 1. Written out, since other libraries round otherwise,
    # and what is read must not depend on their version.
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    scaled = rotation * [edges[0], edges[1], edges[2] * handedness]
    return np.hstack([scaled, np.array(offset, dtype=np.float64)[:, None]])


def check_quaternion(quaternion: tuple[float, float, float], offset: tuple[float, float, float], where: str) -> None:
    """Refuse a qform that is not a rotation and an offset.

    Raises:
        DataError: `affine`.
    """
    square = sum(q * q for q in quaternion)
    if not all(map(math.isfinite, (*offset, square))):
        raise DataError("affine", where, "the qform is not finite", "", MEND)
    if square > 1 + NOISE:
        raise DataError(
            "affine", where, f"the quaternion has norm {math.sqrt(square):.4g}, at most 1 is allowed", "", MEND
        )


def check_affine(affine: Affine, where: str) -> None:
    """Refuse an affine that does not map voxels to space.

    Raises:
        DataError: `affine`: not finite, singular or strongly sheared; `spacing`: a voxel edge outside 0.01 .. 100 mm.
    """
    if not np.isfinite(affine).all():
        raise DataError("affine", where, "the affine is not finite", "", MEND)
    largest = np.abs(affine[:3, :3]).max(axis=0)
    if not largest.all():
        raise DataError("affine", where, "the affine is singular", "a voxel axis has length 0", MEND)
    axes = affine[:3, :3] / largest  # first, so that no square overflows
    axes /= np.linalg.norm(axes, axis=0)
    if abs(np.linalg.det(axes)) < 1e-3:
        raise DataError("affine", where, "the affine is singular", "voxel axes are not independent", MEND)
    cosine = float(np.abs(axes.T @ axes - np.eye(3)).max())
    # Wide on purpose: the tight limit of other readers refuses valid oblique scans (ITK #3994).
    if cosine > SHEAR:
        angle = math.degrees(math.acos(min(cosine, 1.0)))
        raise DataError(
            "affine", where, f"the grid is sheared: two voxel axes meet at {angle:.0f} degrees", "", "resample"
        )
    check_spacing(tuple((np.linalg.norm(affine[:3, :3] / largest, axis=0) * largest).tolist()), where)


def check_spacing(edges: tuple[float, ...], where: str) -> None:
    """Refuse voxel edges outside 0.01 .. 100 mm.

    Raises:
        DataError: `spacing`.
    """
    low, high = SPACING
    if not all(low <= edge <= high for edge in edges):  # NaN is outside as well
        got = " x ".join(f"{edge:g}" for edge in edges)
        raise DataError("spacing", where, f"voxels of {got} mm, {low:g} .. {high:g} mm is allowed", "", "mend pixdim")


def distance(first: Affine, second: Affine, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return how far two grids of `shape` (x, y, z) lie apart at the worst corner, in voxels of the first and in mm."""
    # At the corners of the volume, where two grids that differ by a rotation are farthest apart.
    x, y, z = ((-0.5, n - 0.5) for n in shape[:3])
    corners = np.array([(i, j, k, 1.0) for i in x for j in y for k in z]).T
    apart = ((second - first) @ corners)[:3]
    voxels = np.linalg.solve(first[:3, :3], apart)
    return float(np.abs(voxels).max()), float(np.linalg.norm(apart, axis=0).max())


def orientation(affine: Affine) -> str:
    """Return the nearest anatomical direction of each voxel axis, for example `LPS`."""
    return "".join(aff2axcodes(affine))  # type: ignore[no-untyped-call]
