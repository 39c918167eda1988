"""A scan: a cine of slices as it was stored, and where its voxels lie.

In memory axes are t z y x; on disk x y z t. The stored values are kept, so that known voxels are written back bit for
bit; `voxels` are the scaled values that everything else works with.
"""

import math
import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmrgz import __version__
from cmrgz.data import binary
from cmrgz.data import geometry as grids
from cmrgz.data.axes import arranged, on_disk, placed, settle
from cmrgz.data.geometry import Geometry
from cmrgz.data.nifti.reader import read
from cmrgz.data.nifti.writer import CODES, write_nifti
from cmrgz.data.planes import Cine, Planes
from cmrgz.data.shares import percent
from cmrgz.errors import DataError

Shape = tuple[int, int, int, int]
MASK_QUIET = frozenset({"constant", "tiny", "empty-frame"})
"""Warnings of the reader that mean nothing of a mask."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan. Values are `slope * stored + inter`.

    Attributes:
        stored: (t, z, y, x) values as on disk, in native byte order.
        slope: Scale of the stored values.
        inter: Offset of the scaled values.
        geometry: Affine, both forms, units and rank on disk.
        finer: Of how many phases the first was recorded, and the others lie between it and the next that was.
    """

    stored: NDArray[Any]
    slope: float
    inter: float
    geometry: Geometry
    finer: int = 1

    @classmethod
    def blank(cls, shape: Shape, spacing: tuple[float, float, float], frame_time: float = math.nan) -> "Scan":
        """Return an int16 scan of zeros that looks like one from a scanner: image right is patient left.

        Args:
            shape: (t, z, y, x).
            spacing: (dz, dy, dx) in mm.
            frame_time: Seconds between frames; NaN if unknown.
        """
        dz, dy, dx = spacing
        sform = np.diag([-dx, -dy, -dz, 1.0])
        geometry = Geometry(
            affine=sform,
            rank=4 if shape[0] > 1 else 3,
            sform=sform[:3],
            sform_code=1,
            quaternion=(0.0, 0.0, 1.0),
            offset=(0.0, 0.0, 0.0),
            handedness=-1,
            qform_code=1,
            pixdim=(dx, dy, dz, frame_time if frame_time > 0 else 0.0),
            units=grids.MM_AND_SECONDS,
            intent=0,
            version=grids.version_for(shape),
        )
        return cls(np.zeros(shape, np.int16), 1.0, 0.0, geometry)

    @property
    def shape(self) -> Shape:
        """(t, z, y, x)."""
        t, z, y, x = self.stored.shape
        return t, z, y, x

    @property
    def voxels(self) -> NDArray[np.float32]:
        """(t, z, y, x) float32 scaled values; made anew at each access, so that a scan costs its stored bytes."""
        out = np.empty(self.shape, np.float32)
        for t, z in np.ndindex(self.shape[:2]):
            # Plane by plane, so that the float64 in between is never a whole scan.
            out[t, z] = self.plane(t, z)
        return out

    def plane(self, t: int, z: int) -> NDArray[np.float32]:
        """Return a plane (y, x) of `voxels`, which are not made for it."""
        return self.decode(self.stored[t, z])

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Return stored values as scaled ones, float32."""
        if self.slope == 1 and self.inter == 0:
            return stored.astype(np.float32)
        # By float64: a product and a sum in float32 would round twice.
        return (stored * np.float64(self.slope) + self.inter).astype(np.float32)

    @property
    def planes(self) -> Planes:
        """`voxels` plane by plane."""
        return Planes(self.shape, np.dtype(np.float32), self.plane)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(dz, dy, dx) in mm."""
        dx, dy, dz = self.geometry.zooms
        return dz, dy, dx

    @property
    def phases(self) -> NDArray[np.float32]:
        """(t,) part of the cardiac cycle in [0, 1); NaN for a single frame."""
        t = self.shape[0]
        cycle = -(-t // self.finer) * self.finer
        return np.arange(t, dtype=np.float32) / np.float32(cycle) if t > 1 else np.full(1, np.nan, np.float32)

    @property
    def slice_positions(self) -> NDArray[np.float32]:
        """(z,) from 0 at the base to 1 at the apex, the end that lies more left, anterior and inferior.

        NaN for a single slice.
        """
        z = self.shape[1]
        if z == 1:
            return np.full(1, np.nan, np.float32)
        positions = np.linspace(0, 1, z, dtype=np.float32)
        towards = float(self.geometry.affine[:3, 2] @ grids.TOWARDS_APEX)
        return positions if towards > 0 else positions[::-1].copy()

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return scaled values (..., y, x) as stored ones: rounded for integers and clipped to the range of the type.

        Raises:
            DataError: `nonfinite`.
        """
        out = np.empty(values.shape, self.stored.dtype)
        for i in np.ndindex(values.shape[:-2]):
            out[i] = self._encode_slice(np.asarray(values[i], np.float64))
        return out

    def _encode_slice(self, values: NDArray[np.float64]) -> NDArray[Any]:
        if not np.isfinite(values).all():
            raise DataError(
                "nonfinite", "values", "NaN or infinite values cannot be stored", "", "check the model that made them"
            )
        stored = values if self.slope == 1 and self.inter == 0 else (values - self.inter) / self.slope
        dtype = self.stored.dtype
        # A cast alone wraps: a value just above 32767 would come out black.
        low, high = _limits(dtype)
        return np.clip(np.rint(stored) if dtype.kind in "iu" else stored, low, high).astype(dtype)


def _limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the range of a type in float64; 2^63 and 2^64 are beyond the largest integer of their types."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    info = np.iinfo(dtype)
    high = float(info.max)
    return float(info.min), high if int(high) <= info.max else float(np.nextafter(high, 0))


def load(
    path: str | os.PathLike[str],
    *,
    nonfinite: Literal["refuse", "zero"] = "refuse",
    orientation: Literal["refuse", "sform"] = "refuse",
    axes: str | None = None,
) -> Scan:
    """Read and check a scan.

    Args:
        path: A `.nii`, `.nii.gz` or `.hdr` + `.img` file, or a folder of DICOM files.
        nonfinite: What to do with NaN and infinite voxels.
        orientation: What to do where sform and qform contradict one another.
        axes: What each axis on disk is, such as `xyzt`; None to decide it from the header, told where it is a guess.

    Raises:
        UsageError: `range`: there are no such axes.
        DataError: The file is refused, see `cmrgz.data.nifti.reader.read`.
        ResourceError: `io` or `too-large`.
    """
    image = read(path, nonfinite=nonfinite, orientation=orientation)
    order = settle(image.stored.shape, image.geometry, axes, os.fspath(path))
    return Scan(arranged(image.stored, order), image.slope, image.inter, placed(image.geometry, order))


def save(
    path: str | os.PathLike[str],
    scan: Scan,
    voxels: Cine | None = None,
    *,
    hidden_fraction: float | None = None,
    overwrite: bool = False,
) -> None:
    """Write voxels on the grid of a scan: its affine, both forms, codes, units and rank, none of its text.

    Args:
        path: A `.nii` or `.nii.gz` file.
        scan: Whose grid and scaling to write.
        voxels: (t, z, y, x), whole or plane by plane. Of the type of `scan.stored` they are stored values, written with
            the scaling of the scan; float32 otherwise are values, written with none; None for the stored values of the
            scan.
        hidden_fraction: Part of the voxels that a model made; marks the file as synthetic.
        overwrite: Replace a file that is there.

    Raises:
        DataError: `shape-mismatch` or `dtype`.
        UsageError: `exists`, or `usage` for a name that is not NIfTI.
        ResourceError: `disk-full`, `permission` or `io`.
    """
    voxels = scan.stored if voxels is None else voxels
    where = os.fspath(path)
    if voxels.shape != scan.stored.shape:
        raise DataError(
            "shape-mismatch",
            where,
            f"has shape {voxels.shape}, the scan {scan.stored.shape}",
            "",
            "give the shape of the scan",
        )
    if voxels.dtype not in CODES:
        raise DataError("dtype", where, f"NIfTI has no type {voxels.dtype}", "", "convert it to float32")
    scaled = voxels.dtype == scan.stored.dtype
    made = "" if hidden_fraction is None else f" synthetic {percent(hidden_fraction).replace(' ', '')}"
    write_nifti(
        path,
        on_disk(voxels, scan.geometry.axes),
        scan.geometry,
        slope=scan.slope if scaled else 1.0,
        inter=scan.inter if scaled else 0.0,
        description=f"cmrgz {__version__}{made}",
        overwrite=overwrite,
    )


def load_known(
    path: str | os.PathLike[str], scan: Scan, label: Literal["hidden", "known"] = "hidden"
) -> NDArray[np.bool_]:
    """Read a mask file and return which voxels of a scan are known.

    Args:
        path: A NIfTI file of 0 and 1 on the grid of the scan; one of a single frame holds for all frames.
        scan: The scan.
        label: What 1 means.

    Returns:
        (t, z, y, x) bool, True = given.

    Raises:
        DataError: `shape-mismatch`, `grid-mismatch`, `mask-values`, `mask-empty` (nothing hidden), `mask-full` (nothing
            known), or what the reader refuses.
        ResourceError: `io` or `too-large`.
    """
    where = os.fspath(path)
    image = read(path, quiet=MASK_QUIET)
    # By the axes of the scan: a mask lies as the scan does that it was drawn on, whatever its own header lets guess.
    stored = arranged(image.stored, scan.geometry.axes)
    check_grid(where, "mask", stored.shape, placed(image.geometry, scan.geometry.axes), scan)
    ones = binary.ones_of(stored, image.slope, image.inter, where)
    known = ones if label == "known" else np.logical_not(ones, out=ones)
    other = f"1 means {label} here; is --mask-label right?"
    if known.all():
        raise DataError("mask-empty", where, "the mask hides nothing", "", other)
    if not known.any():
        raise DataError("mask-full", where, "the mask hides everything", "", other)
    return known if known.shape == scan.shape else np.broadcast_to(known, scan.shape).copy()


@np.errstate(all="ignore")
def check_grid(where: str, what: str, shape: tuple[int, ...], geometry: Geometry, scan: Scan) -> None:
    """Refuse a mask or a label map that does not lie on the grid of a scan.

    Args:
        where: The file.
        what: `mask` or `labels`.
        shape: (t, z, y, x); one frame may stand for all.
        geometry: Of the file, its affine that of x, y, z.
        scan: The scan.

    Raises:
        DataError: `shape-mismatch`, or `grid-mismatch` for more than half a voxel at a corner.
    """
    if shape[1:] != scan.shape[1:] or shape[0] not in (1, scan.shape[0]):
        facts = f"{' x '.join(map(str, shape))}, the scan {' x '.join(map(str, scan.shape))}"
        raise DataError("shape-mismatch", where, f"the {what} and the scan differ in shape", f"t z y x: {facts}",
                        f"draw the {what} on the scan")  # fmt: skip
    voxels, mm = grids.distance(scan.geometry.affine, geometry.affine, shape[:0:-1])
    if not voxels <= grids.APART:
        facts = f"{what} {grids.orientation(geometry.affine)}, scan {grids.orientation(scan.geometry.affine)}"
        raise DataError("grid-mismatch", where, f"the {what} of a grid {mm:.3g} mm from that of the scan", facts,
                        f"resample the {what} to the scan")  # fmt: skip
