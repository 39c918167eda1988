"""Which phases and slices a training block has: of several shapes, strides and starts."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cmrgz.data.cines import Cine
from cmrgz.grid import is_cycle
from cmrgz.plugin import Extent

Shape = tuple[int, int]
"""Phases and slices."""
Numbers = NDArray[np.int64]

FULL = 0.6
"""Share of the steps whose blocks are as long as the model's; the others have one of the other shapes."""
STRIDES = (0.5, 0.3, 0.2)
"""Shares of the blocks that take every phase, every second, every third, as far as the cycle allows."""
SPREAD = 0.3
"""Share of the blocks whose phases are spread over a full cycle, as those are that begin a generated scan."""
SECOND = 0.15
"""Share of the blocks that take every second slice."""


def shapes(extent: Extent) -> tuple[Shape, ...]:
    """Return the shapes of training blocks, the model's first: so many frames or fewer.

    Of a model of 5 phases of 3 slices: itself, 15 phases of one slice, 5 slices of one phase, 3 phases of 5 slices, and
    one frame alone.
    """
    t, z = extent.phases, extent.slices
    if t > 1 and z > 1:
        others = [(t * z, 1), (1, max(t, z)), (z, t), (1, 1)]
    else:
        others = [(-(-t // 2), -(-z // 2)), (1, 1)]
    return tuple(dict.fromkeys([(t, z), *others]))


def draw_shape(extent: Extent, rng: Generator) -> Shape:
    """Return the shape of the blocks of a step."""
    full, *others = shapes(extent)
    if not others or rng.random() < FULL:
        return full
    return others[rng.integers(len(others))]


def draw_phases(n: int, length: int, ring: bool, rng: Generator, strides: bool = True) -> Numbers:
    """Return `length` of n phases, each once, at one stride; around the cycle where they are a ring."""
    if length == 1:
        return np.array([rng.integers(n)])
    if strides and ring and rng.random() < SPREAD:
        return np.asarray((rng.integers(n) + max(1, n // length) * np.arange(length)) % n)
    # As many strides as fit: at the largest, the frames of a block span no more than there are.
    possible = np.array(STRIDES[: max(1, (n - 1) // (length - 1)) if strides else 1])
    stride = 1 + int(rng.choice(len(possible), p=possible / possible.sum()))
    first = rng.integers(n if ring else n - stride * (length - 1))
    return np.asarray((first + stride * np.arange(length)) % n)


def draw_slices(n: int, length: int, rng: Generator, strides: bool = True) -> Numbers:
    """Return `length` of n slices, neighbours or every second."""
    if length == 1:
        return np.array([rng.integers(n)])
    stride = 2 if strides and 2 * (length - 1) < n and rng.random() < SECOND else 1
    return np.asarray(rng.integers(n - stride * (length - 1)) + stride * np.arange(length))


def spread_starts(shape: Shape, length: Shape, ring: bool, most: int) -> list[tuple[Numbers, Numbers]]:
    """Return phases and slices of up to `most` blocks, evenly spread over a cine of (t, z) frames."""
    # Around a full cycle a block may begin at every phase: it wraps.
    rows = shape[0] if ring and length[0] > 1 else shape[0] - length[0] + 1
    columns = shape[1] - length[1] + 1
    picks = np.unique(np.linspace(0, rows * columns - 1, min(most, rows * columns)).round().astype(int))
    starts = [divmod(int(pick), columns) for pick in picks]
    return [((t + np.arange(length[0])) % shape[0], z + np.arange(length[1])) for t, z in starts]


def is_ring(cine: Cine) -> bool:
    """Whether the phases of a cine are a full cycle."""
    # A pass over all frames, which is why a bank has the answer with it.
    return is_cycle(cine.whole.astype(np.float32)) if cine.ring is None else cine.ring
