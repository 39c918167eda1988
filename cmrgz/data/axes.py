"""Which axis of a file is which: x, y, slices z and time t. NIfTI means x, y, z, t; not every file is written so.

Axes are text, one letter for each axis on disk: `xyzt`; `zxyt` for slices stored first; `xytz` for a cine of one slice
saved as 3-D, whose third axis is time.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.geometry import Geometry
from cmrgz.data.planes import Cine, Planes
from cmrgz.errors import UsageError, warn

USUAL = "xyzt"
STACKED = 2.0
"""Times that the distance of slices exceeds the pixel size, at least, in a stack that is stored slices first."""
PLANE, THICK = 16, 3.0
"""Fewest pixels along a side of a slice, and least mm between slices, for which anything is guessed."""
SLICES = (0.25, 25.0)
"""Distances in mm that slices can have; outside it is a frame time, in s or ms."""
THICKNESS, FRAMES = 64.0, 8
"""mm below which no stack of slices exactly 1 mm apart, the value of a distance that was never set, shows a heart, and
how many there are at least where that is time."""
SLICE_STEP = 10.0
"""mm between slices where the file has no axis for them."""


def parse(text: str) -> str:
    """Return axes from what `--axes` says, all four of them.

    Raises:
        UsageError: `range`.
    """
    letters = text.strip().lower().replace("1", "")
    if not (set("xy") <= set(letters) <= set(USUAL) and len(set(letters)) == len(letters)):
        hint = "e.g. xyzt, zxyt for slices stored first, xyt for one slice over time"
        raise UsageError("range", "option --axes", "must name each of x, y, z and t at most once", f"got {text}", hint)
    return letters + "".join(letter for letter in USUAL if letter not in letters)


def guess(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> str:
    """Return the axes of a file from its shape (4,) and the spacing of its first three axes in mm."""
    # Slices of a short-axis stack lie 8 to 10 mm apart, pixels 1 to 2 mm.
    slices = int(np.argmax(spacing))
    first, second = (i for i in range(3) if i != slices)
    apart = spacing[slices] >= STACKED * max(spacing[first], spacing[second])
    square = max(spacing[first], spacing[second]) < STACKED * min(spacing[first], spacing[second])
    # A plane has many more pixels along a side than a heart has slices.
    plane = min(shape[first], shape[second])
    # All of it must hold: a wrong guess turns every slice, and one that is not made can be told by --axes.
    if slices != 2 and apart and square and plane >= max(2 * shape[slices], PLANE) and spacing[slices] >= THICK:
        return "zxyt" if slices == 0 else "xzyt"
    if shape[3] == 1 and shape[2] > 1 and min(shape[:2]) >= PLANE and _is_time(shape[2], spacing):
        return "xytz"
    return USUAL


def _is_time(number: int, spacing: tuple[float, float, float]) -> bool:
    """Return whether the third of the axes of a volume counts frames, by a distance that slices cannot have."""
    step = spacing[2]
    # Converters that know no distance write 1; where pixels are 1 mm too it may well be one.
    unset = abs(step - 1) < 1e-6 and min(abs(edge - 1) for edge in spacing[:2]) > 1e-3
    return not SLICES[0] <= step <= SLICES[1] or (unset and number >= FRAMES and number * step < THICKNESS)


def arranged(stored: NDArray[Any], axes: str) -> NDArray[Any]:
    """Return voxels (4 axes as on disk) as (t, z, y, x)."""
    # A copy, since all that follows reads plane by plane: of a transposed view each would be gathered from afar.
    return np.ascontiguousarray(stored.transpose([axes.index(letter) for letter in "tzyx"]))


def on_disk(voxels: Cine, axes: str) -> Cine:
    """Return voxels (t, z, y, x) with the axes of the file in reversed order: the last is the first on disk.

    Planes stay planes where those of the file are the same.
    """
    if axes == USUAL:
        return voxels
    whole = voxels.whole() if isinstance(voxels, Planes) else voxels
    return whole.transpose(["tzyx".index(letter) for letter in reversed(axes)])


def placed(geometry: Geometry, axes: str) -> Geometry:
    """Return a geometry whose affine maps (x, y, z) of these axes; what is on disk stays as it is."""
    if axes == USUAL:
        return geometry
    affine = geometry.affine.copy()
    for column, letter in enumerate("xyz"):
        if axes.index(letter) < 3:
            affine[:3, column] = geometry.affine[:3, axes.index(letter)]
    # Nothing on disk says where slices on the fourth axis lie: along the normal of the plane, then.
    if axes.index("z") == 3:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / np.linalg.norm(normal) * SLICE_STEP
    return replace(geometry, affine=affine, axes=axes)


def frames(shape: tuple[int, ...], geometry: Geometry, asked: str | None) -> int:
    """Return how many frames a file has, as `settle` takes its axes."""
    return shape[(guess(shape, geometry.zooms) if asked is None else parse(asked)).index("t")]


def settle(shape: tuple[int, ...], geometry: Geometry, asked: str | None, where: str) -> str:
    """Return the axes of a file: as asked for, or guessed, which is told where they are not x, y, z, t."""
    if asked is not None:
        return parse(asked)
    axes = guess(shape, geometry.zooms)
    if axes != USUAL:
        what = "its third axis is taken for time" if axes == "xytz" else "its slices are taken to be stored first"
        what = what if axes != "xzyt" else "its second axis is taken for the slices"
        facts = f"{'x'.join(map(str, shape[:3]))} voxels of {'x'.join(f'{edge:g}' for edge in geometry.zooms)} mm"
        warn("axes-guessed", where, what, facts, f"--axes {axes} says so, --axes {USUAL} that not")
    return axes
