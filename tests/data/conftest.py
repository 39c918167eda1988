"""Hand-made NIfTI files: any field may hold anything."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nibabel.nifti1 import header_dtype as nifti1
from nibabel.nifti2 import header_dtype as nifti2

from cmrgz.data.nifti.header import DTYPES

MakeNifti = Callable[..., bytes]


def _make(
    shape: tuple[int, ...] = (5, 4, 3),
    dtype: str = "i2",
    data: bytes | None = None,
    *,
    between: bytes = bytes(4),
    order: str = "<",
    version: int = 1,
    **fields: Any,
) -> bytes:
    header = np.zeros((), (nifti1, nifti2)[version - 1].newbyteorder(order))
    size, kind = header.dtype.itemsize, np.dtype(order + dtype)
    code = next((code for code, name in DTYPES.items() if name == dtype), 0)
    defaults: dict[str, Any] = {
        "sizeof_hdr": size,
        "magic": b"n+1" if version == 1 else b"n+2",
        "dim": (len(shape), *shape, *[1] * (7 - len(shape))),
        "datatype": code,
        "bitpix": 8 * kind.itemsize,
        "pixdim": (1, 1.4, 1.5, 8, 0.04, 0, 0, 0),
        "vox_offset": size + len(between),
        "scl_slope": 1,
        "sform_code": 1,
        "srow_x": (1.4, 0, 0, -3),
        "srow_y": (0, 1.5, 0, -2),
        "srow_z": (0, 0, 8, 10),
        "xyzt_units": 10,
    }
    for name, value in {**defaults, **fields}.items():
        header[name] = value
    if version == 2:
        header["eol_check"] = (13, 10, 26, 10)
    if data is None:
        data = (np.arange(math.prod(shape)) % 100 + 1).astype(kind).tobytes()
    return header.tobytes() + between + data


@pytest.fixture(scope="session")
def make_nifti() -> MakeNifti:
    """Return `make_nifti(shape, dtype, data, between=, order=, version=, **fields)` -> the bytes of a file."""
    return _make
