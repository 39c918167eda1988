"""inpaint and generate: a scan in, a scan out.

The two invariants are kept here. Hidden values never reach a model: they are replaced before anything is computed
from a scan. Known voxels never change: they are pasted back into the result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.intensity import Scale
from cmrgz.data.scan import Scan
from cmrgz.drawing import CallCounter, Caller, Items, Report, Setting
from cmrgz.errors import DataError
from cmrgz.items import Bools, Floats, Plan, Tile
from cmrgz.model import Model
from cmrgz.rng import Key

__all__ = ["Drawn", "Report", "Setting", "generate", "inpaint"]

SLICE_STEP = 10.0
"""mm between the slices of a generated scan."""


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        samples: (k, t, z, y, x) float32 in the scan's intensities, known voxels as given.
        items: Items drawn.
        network_calls: Calls of the model's network, each on a batch of items.
        scale: The intensities that the model saw as -1 and 1.
        compute_batch: Items per model call.
    """

    samples: Floats
    items: int
    network_calls: int
    scale: Scale
    compute_batch: int

    @property
    def mean(self) -> Floats:
        """The posterior mean (t, z, y, x), as far as k samples tell; known voxels as given."""
        return np.stack([part[0] + (part - part[0]).mean(0) for part in self._frames()])

    @property
    def std(self) -> Floats:
        """The posterior standard deviation (t, z, y, x); 0 at known voxels and for one sample."""
        if len(self.samples) == 1:
            return np.zeros_like(self.samples[0])
        return np.stack([(part - part[0]).std(0, ddof=1) for part in self._frames()])

    def _frames(self) -> Iterator[Floats]:
        return (self.samples[:, t] for t in range(self.samples.shape[1]))


def inpaint(model: Model, scan: Scan, known: Bools, setting: Setting, report: Report | None = None) -> Drawn:
    """Draw the hidden part of a scan given the known part.

    Args:
        model: On the device to compute on.
        scan: The scan; voxels outside of `known` are not used, be they NaN.
        known: (t, z, y, x) bool, True = given. All False generates; all True calls no model.
        setting: How to draw.
        report: Told the items done.

    Raises:
        DataError: `shape-mismatch`.
        PluginError: `plugin-output` for a result of wrong shape or type, or that is not finite; `plugin-broken` where
            the model fails.
        ResourceError: `too-large`: the memory does not hold one item.
    """
    if known.shape != scan.shape or known.dtype != np.bool_:
        raise DataError("shape-mismatch", "known", "must be bool of the scan's shape", f"{known.shape}, {scan.shape}")
    voxels = np.where(known, scan.voxels, np.float32(0))
    scale = Scale.fit(voxels, known)
    plan = Plan.of(scan, voxels, known, setting.item, setting.spacing)
    caller = Caller(model, setting)
    with CallCounter(model) as calls:
        x, items = _fill(caller, plan, *plan.to_model(scale.to_unit(voxels), known), report)
    samples = np.stack([scale.from_unit(plan.to_scan(part)) for part in x])
    return Drawn(np.where(known, voxels, samples), items, calls.count, scale, caller.size)


def generate(
    model: Model, shape: Sequence[int], setting: Setting, frame_time: float = 0.04, report: Report | None = None
) -> tuple[Scan, Drawn]:
    """Draw a scan of shape (t, z, y, x) given nothing: `inpaint` with nothing known.

    Returns:
        An empty scan that carries the geometry, and what was drawn for it.
    """
    t, z, y, x = shape
    scan = Scan.blank((t, z, y, x), (SLICE_STEP, setting.spacing, setting.spacing), frame_time)
    return scan, inpaint(model, scan, np.zeros(scan.shape, dtype=bool), setting, report)


Item = tuple[int, int]
"""(sample, frame)."""


def _fill(
    caller: Caller, plan: Plan, x: Floats, known: Bools, wanted: Bools, report: Report | None
) -> tuple[Floats, int]:
    """Draw the wanted pixels of frames (n, h', w'), tile after tile, each given what earlier ones drew.

    Returns:
        The frames of every sample (k, n, h', w'), and the number of items drawn.
    """
    samples = caller.setting.samples
    result, known = np.repeat(x[None], samples, axis=0), known.copy()
    jobs = list(_jobs(plan, known, wanted))
    total, done = samples * sum(len(frames) for _, frames in jobs), 0
    if report is not None and total:
        report(0, total)
    for tile, frames in jobs:
        rows, columns = plan.area(tile)
        items = [(k, int(frame)) for k in range(samples) for frame in frames]
        while items:
            part, items = items[: caller.batch], items[caller.batch :]
            given = np.stack([result[k, frame, rows, columns] for k, frame in part])
            seen = np.stack([known[frame, rows, columns] for _, frame in part])
            drawn = caller.draw(_items(plan, caller.setting, tile, part, given, seen))
            for (k, frame), values in zip(part, np.where(seen, given, drawn), strict=True):
                result[k, frame, rows, columns] = values
            done += len(part)
            if report is not None:
                report(done, total)
        known[frames, rows, columns] = True
    return result, total


def _items(plan: Plan, setting: Setting, tile: Tile, part: Sequence[Item], given: Floats, seen: Bools) -> Items:
    """Return the items of a tile with their streams and conditions."""
    keys: list[Key] = [(setting.first + k, *plan.place(frame), *tile) for k, frame in part]
    condition = plan.condition([frame for _, frame in part], tile, setting.condition or {})
    return Items(given, seen, keys, condition)


def _jobs(plan: Plan, known: Bools, wanted: Bools) -> Iterator[tuple[Tile, NDArray[np.int64]]]:
    """Yield the frames that each tile has to draw: those with a wanted pixel that no earlier tile draws.

    A frame takes its tiles where most is known first, so that a large hole is filled from its edge, in evidence, and
    not from its middle, in the void.
    """
    known, wanted = known.copy(), wanted.copy()
    while (rest := np.flatnonzero(wanted.any(axis=(1, 2)))).size:
        choice = np.array([_next_tile(plan, known[frame], wanted[frame]) for frame in rest])
        for number in np.unique(choice):
            tile, frames = plan.window.tiles[number], rest[choice == number]
            rows, columns = plan.area(tile)
            known[frames, rows, columns], wanted[frames, rows, columns] = True, False
            yield tile, frames


def _next_tile(plan: Plan, known: Bools, wanted: Bools) -> int:
    """Return the number of the tile with a wanted pixel that knows most, in quarters; of equal ones the first."""
    areas = [plan.area(tile) for tile in plan.window.tiles]
    shares = [int(4 * known[area].mean()) if wanted[area].any() else -1 for area in areas]
    return int(np.argmax(shares))
