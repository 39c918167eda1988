"""Checks of voxel values, block by block, so that they cost no second copy of a scan."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.nifti.header import Header, Notes
from cmrgz.errors import DataError

BLOCK = 1 << 20
LARGEST = float(np.finfo(np.float32).max)
# Scaling is done in float64, whose whole numbers are dense up to there.
EXACT = 2**53


def check_values(stored: NDArray[Any], header: Header, nonfinite: Literal["refuse", "zero"], notes: Notes) -> None:
    """Refuse values that are no numbers, set them to zero if asked to, and note what is unusual.

    Args:
        stored: (x, y, z, t) Fortran-ordered, native byte order; changed in place where values are set to zero.
        header: Its slope, intercept and shape.
        nonfinite: What to do with NaN and inf.
        notes: Takes the warnings.

    Raises:
        DataError: `nonfinite`, or `scaling` where a scaled value is not finite in float32.
    """
    flat = stored.reshape(-1, order="F")
    low, high = _range(flat)
    if not (np.isfinite(low) and np.isfinite(high)):
        _handle_nonfinite(flat, header, nonfinite, notes)
        low, high = _range(flat)
    scaled = [float(v) * header.slope + header.inter for v in (low, high)]
    # Only of the lowest and the highest: scaling is linear, so that all others lie between.
    if not all(abs(v) <= LARGEST for v in scaled):
        facts = f"{scaled[0]:g} .. {scaled[1]:g} after slope {header.slope:g} and intercept {header.inter:g}"
        raise DataError("scaling", notes.where, "values do not fit float32", facts, "mend the header")
    _note_range(low, high, stored.shape, notes)
    _note_empty_frames(stored, notes)


def _blocks(flat: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (flat[i : i + BLOCK] for i in range(0, len(flat), BLOCK))


def _range(flat: NDArray[Any]) -> tuple[Any, Any]:
    """Return minimum and maximum; NaN if there is one."""
    with np.errstate(invalid="ignore"):
        # NaN goes through both, so that one look finds it.
        lows, highs = zip(*((b.min(), b.max()) for b in _blocks(flat)), strict=True)
        return np.min(lows), np.max(highs)


def _handle_nonfinite(flat: NDArray[Any], header: Header, nonfinite: str, notes: Notes) -> None:
    bad: list[NDArray[np.bool_]] = [~np.isfinite(block) for block in _blocks(flat)]
    count = int(np.sum([np.count_nonzero(b) for b in bad]))
    if nonfinite == "zero":
        for block, where in zip(_blocks(flat), bad, strict=True):
            # The stored value that stands for 0.
            block[where] = -header.inter / header.slope
        notes.add("nonfinite", "NaN or infinite voxels were set to zero", f"{count} of {flat.size}")
        return
    number = next(i for i, b in enumerate(bad) if b.any())
    first = np.unravel_index(number * BLOCK + int(bad[number].argmax()), header.shape, order="F")
    facts = f"{count} of {flat.size} voxels, the first at {tuple(map(int, first))}"
    hint = "mend the file, or pass --nonfinite zero"
    raise DataError("nonfinite", notes.where, "voxels are NaN or infinite", facts, hint)


def _note_range(low: Any, high: Any, shape: tuple[int, ...], notes: Notes) -> None:
    if min(shape[:2]) < 2:
        notes.add("tiny", "a slice is a single row of voxels", f"{shape[0]} x {shape[1]}")
    elif low == high:
        notes.add("constant", "all voxels have one value", f"{float(low):g}")
    if low.dtype.kind in "iu" and max(abs(int(low)), abs(int(high))) > EXACT:
        notes.add("precision", "integers beyond 2^53 lose digits when they are scaled", f"up to {int(high)}")


def _note_empty_frames(stored: NDArray[Any], notes: Notes) -> None:
    filled = np.asarray(stored.any(axis=(0, 1, 2)))
    if filled.any() and not filled.all():
        empty = np.flatnonzero(~filled)
        notes.add(
            "empty-frame", "a frame is all zero", f"{len(empty)} of {len(filled)}, the first is frame {empty[0] + 1}"
        )
