"""Which voxels of a scan a page shows: all of them, or as many as it may hold. What it shows are voxels as they are."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Shape = tuple[int, int, int, int]

MARGIN = 16
"""Pixels that are left around what is hidden."""
FINE = 1.3
"""Rows and columns that are less than this apart, in mm, are thinned first."""
PHASES, SLICES = 12, 6
"""So many phases and slices are thinned only where a plane of them is too large."""


@dataclass(frozen=True)
class Cut:
    """The phases, slices, rows and columns that are shown, by their numbers in the scan, from 0."""

    t: range
    z: range
    y: range
    x: range

    @property
    def shape(self) -> Shape:
        """(t, z, y, x) of what is shown."""
        return len(self.t), len(self.z), len(self.y), len(self.x)

    def plane(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return what is shown of a plane (y, x)."""
        return values[_slice(self.y), _slice(self.x)]

    def told(self, shape: Shape) -> tuple[str, ...]:
        """Return what is left out of a scan (t, z, y, x), in words."""
        names = ((self.t, "phase"), (self.z, "slice"), (self.y, "row and column"))
        thinned = tuple(f"one {name} of {of.step}" for of, name in names if of.step > 1)
        cropped = any((of.start, of.stop) != (0, n) for of, n in zip((self.y, self.x), shape[2:], strict=True))
        return ("the part of each plane around what is hidden",) * cropped + thinned


def start(shape: Shape, known: Bools | None) -> tuple[int, int]:
    """Return the (phase, slice) to show first: where most is hidden, and the middle of the slices with a hole."""
    if known is None or known.all():
        return 0, shape[1] // 2
    hidden = ~known
    slices = np.flatnonzero(hidden.any(axis=(0, 2, 3)))
    return int(hidden.sum(axis=(1, 2, 3)).argmax()), int(slices[len(slices) // 2])


def cuts(shape: Shape, spacing: tuple[float, float, float], known: Bools | None) -> Iterator[Cut]:
    """Yield ever smaller cuts, the whole scan first; the phase and the slice of `start` are in each.

    Args:
        shape: (t, z, y, x).
        spacing: (z, y, x) in mm.
        known: (t, z, y, x) bool; what is hidden stays in view. None: nothing is.
    """
    first = start(shape, known)
    cut = Cut(*map(range, shape))
    yield cut
    if known is not None and not known.all():
        cut = replace(cut, y=_around(~known, 2), x=_around(~known, 3))
        if cut.shape != shape:
            yield cut
    while max(cut.shape) > 1:
        cut = _coarser(cut, first, min(spacing[1:]))
        yield cut


def _coarser(cut: Cut, first: tuple[int, int], edge: float) -> Cut:
    if edge * cut.y.step >= FINE and len(cut.t) > PHASES:
        return replace(cut, t=_thinned(cut.t, first[0]))
    if edge * cut.y.step >= FINE and len(cut.z) > SLICES:
        return replace(cut, z=_thinned(cut.z, first[1]))
    step = cut.y.step + 1
    y, x = (range(of.start, of.stop, step) for of in (cut.y, cut.x))
    if max(len(y), len(x)) > 1 or max(cut.shape[2:]) > 1:
        return replace(cut, y=y, x=x)
    return Cut(range(first[0], first[0] + 1), range(first[1], first[1] + 1), y, x)


def _thinned(of: range, first: int) -> range:
    """Return every second one, `first` among them."""
    return of[of.index(first) % 2 :: 2]


def _around(hidden: Bools, axis: int) -> range:
    """Return what holds all that is hidden along an axis, with a margin."""
    found = np.flatnonzero(hidden.any(axis=tuple({0, 1, 2, 3} - {axis})))
    return range(max(0, int(found[0]) - MARGIN), min(hidden.shape[axis], int(found[-1]) + 1 + MARGIN))


def _slice(of: range) -> slice:
    return slice(of.start, of.stop, of.step)
