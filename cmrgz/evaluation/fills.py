"""Fills from what lies beside a hole in time and through the plane: what a model of blocks must beat.

All take a crop of which the known voxels are given, (t, z, h, w) in [0, 1], and `known` (bool, True = given), and
return it with the hidden ones filled; hidden values are never read. A voxel of whose line nothing is known gets the
mean of what is known, 0.5 where nothing is.
"""

from collections.abc import Callable

import numpy as np

from cmrgz.evaluation.baselines import UNKNOWN
from cmrgz.evaluation.crops import Bools, Crop, Floats, in_unit

TIME, SLICE = 0, 1
"""Axes of a crop."""


def along(given: Floats, known: Bools, axis: int, ring: bool = False) -> Floats:
    """Interpolate linearly along an axis, from the last voxel to the first where it is a ring; else the ends stay."""
    return _or_mean(*_linear(given, known, axis, ring), given, known)


def nearest_frame(crop: Crop, given: Floats, known: Bools) -> Floats:
    """Copy the nearest phase in which the voxel is known, of two the earlier; else the nearest slice in which it is."""
    value, found = _nearest(given, known, TIME, crop.ring)
    return _or_mean(*_nearest(value, found, SLICE, False), given, known)


def harmonic_4d(crop: Crop, given: Floats, known: Bools) -> Floats:
    """Continue as smoothly as can be in all four axes; see `cmrgz.continuation`."""
    import torch

    from cmrgz.continuation import Links, continuation

    t, z = crop.shape[:2]
    time = (crop.tempo * torch.arange(t))[None, :, None].expand(1, t, z)
    height = (crop.step * torch.arange(z)).expand(1, t, z)
    links = Links.of(time, height)
    if not crop.ring:  # places alone look like a cycle where a crop has as many phases as one
        links = links._replace(wrap=torch.zeros_like(links.wrap))
    with torch.inference_mode():
        x, seen = (torch.from_numpy(np.ascontiguousarray(part))[None, None] for part in (2 * given - 1, known))
        filled = continuation(torch.where(seen, x, 0.0), seen, links)[0, 0].numpy()
    return in_unit(filled.clip(-1, 1))


FILLS: dict[str, tuple[Callable[[Crop, Floats, Bools], Floats], tuple[int, ...]]] = {
    "linear-time": (lambda crop, given, known: along(given, known, TIME, crop.ring), (TIME,)),
    "linear-slices": (lambda crop, given, known: along(given, known, SLICE), (SLICE,)),
    "nearest-frame": (nearest_frame, (TIME, SLICE)),
    "harmonic-4d": (harmonic_4d, (TIME, SLICE)),
}
"""By name, each with the axes of which it needs one that is longer than 1."""


def _nearest(given: Floats, known: Bools, axis: int, ring: bool) -> tuple[Floats, Bools]:
    """Return the value of the nearest known voxel along an axis, the earlier one of two, and where there is any."""
    (before, back), (after, ahead) = _known_beside(given, known, axis, ring)
    return np.where(back <= ahead, before, after), np.isfinite(np.minimum(back, ahead))


def _linear(given: Floats, known: Bools, axis: int, ring: bool) -> tuple[Floats, Bools]:
    """Return values between those of the nearest known voxels on both sides, and where there is any."""
    (before, back), (after, ahead) = _known_beside(given, known, axis, ring)
    both = np.isfinite(back) & np.isfinite(ahead)
    share = np.where(both, back, 0) / np.maximum(np.where(both, back + ahead, 1), 1)
    value = np.where(both, before + share * (after - before), np.where(np.isfinite(back), before, after))
    return value.astype(np.float32), np.isfinite(np.minimum(back, ahead))


def _known_beside(given: Floats, known: Bools, axis: int, ring: bool) -> list[tuple[Floats, Floats]]:
    """Return the value of the last known voxel before each along an axis and of the first after it, and how far.

    A known voxel is its own; infinitely far, and of any value, where there is none.
    """
    found = []
    for way in (1, -1):
        x, seen = (np.moveaxis(part, axis, 0)[::way] for part in (given, known))
        # Around a full cycle the voxels stand twice: those of the second turn find the last ones of the first.
        place = np.arange((1 + ring) * len(x)).reshape(-1, 1, 1, 1)
        last = np.maximum.accumulate(np.where(np.concatenate([seen] * (1 + ring)), place, -1), axis=0)[-len(x) :]
        far: Floats = np.where(last < 0, np.inf, place[-len(x) :] - last).astype(np.float32)
        value: Floats = np.take_along_axis(x, last % len(x), 0).astype(np.float32)
        found.append((np.moveaxis(value[::way], 0, axis), np.moveaxis(far[::way], 0, axis)))
    return found


def _or_mean(value: Floats, found: Bools, given: Floats, known: Bools) -> Floats:
    """Return values where there are any, else the mean of what is known."""
    mean = given[known].mean() if known.any() else UNKNOWN
    return np.where(known, given, np.where(found, value, np.float32(mean))).astype(np.float32)
