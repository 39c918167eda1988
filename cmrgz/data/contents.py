"""What is in a scan, whatever it is called: a hash of each frame, the same in every file type and scaling."""

import os
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from cmrgz.data.importers import Case
from cmrgz.data.nifti.reader import read
from cmrgz.durable import status

BUILT_IN = "the seed"
"""What names a built-in phantom: other seeds have other contents, so that they need not be read."""
# They are told when the scan is loaded to be used.
_EVERY_WARNING = frozenset(
    "bitpix constant empty-frame no-orientation nonfinite phi pixdim-sign precision tiny trailing-data units".split()
)


def contents(case: Case) -> frozenset[str]:
    """Return the hashes of the frames of a scan that are not constant.

    Single frames that were taken out of a cine have hashes of it.

    Raises:
        DataError: The scan is refused, see `cmrgz.data.nifti.reader.read`; NaN and infinite voxels are not.
        ResourceError: `io` or `too-large`.
    """
    if case.banked is not None:
        return frozenset(case.banked.record["contents"])
    if case.told_by == BUILT_IN:
        return frozenset()
    found = status(case.image)
    return _hashes(str(case.image), (found.st_size, found.st_mtime_ns) if found else None)


# Sides are compared more than once in a command, and each time all scans would be read.
@lru_cache(maxsize=4096)
def _hashes(path: str | os.PathLike[str], version: tuple[int, int] | None) -> frozenset[str]:
    del version  # another size or time, another file
    image = read(path, nonfinite="zero", orientation="sform", quiet=_EVERY_WARNING)
    found = set()
    # Stored values are Fortran-ordered, so the frames of the transpose are no copies. Constant ones are left out:
    # padding is equal in everybody's scans.
    for frame in image.stored.T:
        if frame.size and (frame != frame.flat[0]).any():
            # As scaled float32, so that the same scan in another type or scaling is known for what it is.
            values = (frame * np.float64(image.slope) + image.inter).astype("<f4")
            # With the shape: the same bytes in other rows are another picture.
            found.add(blake2b(repr(frame.shape).encode() + values.tobytes(), digest_size=8).hexdigest())
    return frozenset(found)
