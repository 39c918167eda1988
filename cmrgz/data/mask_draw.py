"""What a mask is drawn for: a scan, and a plane of it cut into units, with their random streams."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.mask_units import Floats

WHERE = "option --mask"


@dataclass(frozen=True)
class Draw:
    """What a mask is drawn for.

    Attributes:
        pattern: Name of the pattern, part of the key of the random streams.
        shape: Shape of the scan (t, z, y, x).
        seed: The seed of the run.
        case: Name of the case.
        spacing: Pixel size (y, x) in mm, or in any unit.
        heart: (row, col) of the heart's centre in pixels.
        label: Segmentation (t, z, y, x), or None.
    """

    pattern: str
    shape: tuple[int, int, int, int]
    seed: int
    case: str
    spacing: tuple[float, float]
    heart: tuple[float, float]
    label: NDArray[Any] | None = None

    def stream(self, slice_: int, frame: int) -> np.random.Generator:
        """Return the random stream of one plane; it depends on (seed, pattern, case, slice, frame) alone."""
        # crc32, since Python's own hash() of text is salted anew in each process.
        key = [self.seed, crc32(self.pattern.encode()), crc32(self.case.encode()), slice_, frame]
        return np.random.default_rng(np.random.SeedSequence(key))


@dataclass(frozen=True)
class Plane:
    """One plane (slice, frame) of a scan, cut into square units of `size` pixels aligned to pixel (0, 0)."""

    draw: Draw
    slice_: int
    frame: int
    size: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.draw.shape[2:]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of units; those at the far edges may be cut."""
        return -(-self.shape[0] // self.size), -(-self.shape[1] // self.size)

    @property
    def rows(self) -> Floats:
        """Row of the centre of each unit in pixels, (units, 1)."""
        return _centres(self.grid[0], self.size)[:, None]

    @property
    def cols(self) -> Floats:
        """Column of the centre of each unit in pixels, (1, units)."""
        return _centres(self.grid[1], self.size)[None, :]

    @cached_property
    def rng(self) -> np.random.Generator:
        """The random stream of this plane."""
        return self.draw.stream(self.slice_, self.frame)


def _centres(units: int, size: int) -> Floats:
    """Return where the centres of units of `size` pixels are."""
    # Centres of pixels are whole numbers, so that the plane begins at -0.5.
    return (np.arange(units, dtype=np.float64) + 0.5) * size - 0.5
