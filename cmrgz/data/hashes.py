"""sha256 of files and arrays."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.dicom import sha256_of_series
from cmrgz.data.nifti.source import halves
from cmrgz.durable import is_folder, opened
from cmrgz.errors import DataError


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file's content; of a .hdr + .img pair or a DICOM series, of one after the other.

    Raises:
        DataError: `not-found` or `permission`.
    """
    if is_folder(path):
        return sha256_of_series(path)
    digest = hashlib.sha256()
    pair = path.suffix.lower() in (".hdr", ".img")
    # The header first, whichever half was named: one scan has one hash.
    for part in halves(path, str(path)) if pair else (path,):
        with opened(part, DataError) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def sha256_of_array(values: NDArray[Any]) -> str:
    """Return the sha256 of an array's bytes in C order; of `known` (t, z, y, x), one byte a voxel."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
