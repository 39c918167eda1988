"""Named arrays <-> the bytes of an .npz file, without pickles."""

import io
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as the bytes of an .npz file; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    # numpy's entries carry no time of day (zipfile's default is 1980), so the bytes are those of the arrays alone.
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def unpack(data: bytes, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of the bytes of an .npz file, or those of some names alone; the others are not read.

    Raises:
        KeyError: It has no array of a name.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in (stored.files if names is None else names)}


def array_names(data: bytes) -> list[str]:
    """Return the names of the arrays of the bytes of an .npz file."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return list(stored.files)
