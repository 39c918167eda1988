"""The one writer of NIfTI files: the geometry of the input bit for bit, none of its text, the same bytes every time."""

import gzip
import os
from collections.abc import Callable
from typing import Any, BinaryIO, cast

import numpy as np
from nibabel.nifti1 import header_dtype as NIFTI1
from nibabel.nifti2 import header_dtype as NIFTI2

from cmrgz.data.geometry import Geometry
from cmrgz.data.nifti.header import DTYPES, LINE_ENDS
from cmrgz.data.planes import Cine
from cmrgz.durable import atomic_write
from cmrgz.errors import UsageError

CODES = {np.dtype(name): code for code, name in DTYPES.items()}
LEVEL = 3
"""gzip level: on the one cine timed, 6 takes twice and 9 over three times as long for less than 1 % of the size."""


def write_nifti(
    path: str | os.PathLike[str],
    voxels: Cine,
    geometry: Geometry,
    *,
    slope: float = 1.0,
    inter: float = 0.0,
    description: str = "",
    overwrite: bool = False,
) -> None:
    """Write a `.nii` or `.nii.gz` file, whole or not at all.

    Args:
        path: The file.
        voxels: (t, z, y, x) stored values of a type that NIfTI has, whole or plane by plane.
        geometry: Where they lie; written with both forms, their codes and the units.
        slope: Values are `slope * stored + inter`.
        inter: Values are `slope * stored + inter`.
        description: Goes into `descrip`, 79 ASCII characters at most.
        overwrite: Replace a file that is there.

    Raises:
        UsageError: `usage`: the name ends in neither; `exists`: the file is there.
        ResourceError: `disk-full`, `permission` or `io`.
    """
    name = os.fspath(path).lower()
    if not name.endswith((".nii", ".nii.gz")):
        raise UsageError("usage", os.fspath(path), "the output is NIfTI", "", "end its name in .nii.gz or .nii")
    header = _header(voxels, geometry, slope, inter, description)

    def plain(file: BinaryIO) -> None:
        # Four zero bytes: no extension follows.
        file.write(header + bytes(4))
        for place in np.ndindex(voxels.shape[:2]):
            # Little-endian wherever it is written: equal scans are equal files.
            file.write(np.ascontiguousarray(voxels[place], voxels.dtype.newbyteorder("<")).data)

    def compressed(file: BinaryIO) -> None:
        # Neither a name nor a time: both would differ between equal scans, and a name may be a patient's.
        with gzip.GzipFile("", "wb", LEVEL, file, mtime=0) as stream:
            plain(cast(BinaryIO, stream))

    write: Callable[[BinaryIO], None] = compressed if name.endswith(".gz") else plain
    atomic_write(path, write, overwrite=overwrite)


def _header(voxels: Cine, geometry: Geometry, slope: float, inter: float, description: str) -> bytes:
    layout = (NIFTI1, NIFTI2)[geometry.version - 1].newbyteorder("<")
    header = np.zeros((), layout)
    size = layout.itemsize
    axes = [*voxels.shape[::-1], 1, 1, 1]
    # As it was read: time on the fifth axis, behind a fourth that is empty.
    if geometry.fifth:
        axes[3:5] = 1, axes[3]
    header["sizeof_hdr"] = size
    header["magic"] = b"n+1" if geometry.version == 1 else b"n+2"
    header["dim"] = (geometry.rank, *axes)
    header["datatype"] = CODES[voxels.dtype.newbyteorder("=")]
    header["bitpix"] = 8 * voxels.dtype.itemsize
    header["vox_offset"] = size + 4
    header["scl_slope"], header["scl_inter"] = slope, inter
    # 80 bytes, of which programs in C need the last for a NUL.
    header["descrip"] = description.encode("ascii", "replace")[:79]
    header["intent_code"] = geometry.intent
    if geometry.version == 2:
        header["eol_check"] = LINE_ENDS
    _place(header, geometry)
    return header.tobytes()


def _place(header: Any, geometry: Geometry) -> None:
    """Fill in the fields that say where voxels lie."""
    *edges, frame = geometry.pixdim
    header["pixdim"] = (geometry.handedness, *edges, *((1, frame, 0, 0) if geometry.fifth else (frame, 0, 0, 0)))
    header["xyzt_units"] = geometry.units
    header["sform_code"], header["qform_code"] = geometry.sform_code, geometry.qform_code
    for name, row in zip(("srow_x", "srow_y", "srow_z"), geometry.sform, strict=True):
        header[name] = row
    for axis, q, o in zip("bcd", geometry.quaternion, geometry.offset, strict=True):
        header[f"quatern_{axis}"], header[f"qoffset_{'xyz'['bcd'.index(axis)]}"] = q, o
