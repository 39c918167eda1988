"""inpaint and generate: a scan in, a scan out.

The two invariants are kept here. Hidden values never reach a model: they are replaced before anything is computed
from a scan. Known voxels never change: they are pasted back into the result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from cmrgz.blocks import blocks_in_turn, whole_fill
from cmrgz.calls import CallCounter, Caller, Items, Report, Setting
from cmrgz.data.intensity import Scale
from cmrgz.data.scan import Scan
from cmrgz.errors import DataError
from cmrgz.grid import Block, Bools, Floats, Grid
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
        pairs: To which antithetic pair each sample belongs, see `Setting.pairs`; empty where all are independent.
    """

    samples: Floats
    items: int
    network_calls: int
    scale: Scale
    compute_batch: int
    pairs: tuple[int, ...] = ()

    @property
    def mean(self) -> Floats:
        """The posterior mean (t, z, y, x), as far as k samples tell; known voxels as given."""
        return np.stack([part[0] + (part - part[0]).mean(0) for part in self._frames()])

    @property
    def std(self) -> Floats:
        """The posterior standard deviation (t, z, y, x); 0 at known voxels and for one sample.

        Of antithetic pairs it is the root of half the mean squared difference of two samples of different pairs: those
        are independent, so that the variance has no bias, as it has none where all samples are. Of one pair alone it is
        half the difference: exact where the two are opposite about the mean, else too small, at worst by a root of two
        as long as they do not agree more than independent ones.
        """
        if len(self.samples) == 1:
            return np.zeros_like(self.samples[0])
        if len(set(self.pairs)) == 1:
            return np.stack([(part - part[0]).std(0) for part in self._frames()])
        if len(set(self.pairs)) == len(self.pairs):
            return np.stack([(part - part[0]).std(0, ddof=1) for part in self._frames()])
        return np.stack([_std_across(part, self.pairs) for part in self._frames()])

    def _frames(self) -> Iterator[Floats]:
        return (self.samples[:, t] for t in range(self.samples.shape[1]))


def _std_across(samples: Floats, pairs: Sequence[int]) -> Floats:
    """Return the root of half the mean squared difference (...) of samples (k, ...) of different pairs.

    All differences less those within pairs: the work grows with k, not with its square.
    """
    k, number = len(samples), np.asarray(pairs)
    twice = [(i, i + 1) for i in np.flatnonzero(number[1:] == number[:-1])]
    every = k * np.square(samples - samples.mean(0)).sum(0)
    within = np.sum([np.square(samples[i] - samples[j]) for i, j in twice], axis=0)
    across = k * (k - 1) // 2 - len(twice)
    return np.asarray(np.sqrt(np.maximum(every - within, 0) / (2 * across)), dtype=np.float32)


def inpaint(model: Model, scan: Scan, known: Bools, setting: Setting, report: Report | None = None) -> Drawn:
    """Draw the hidden part of a scan given the known part.

    Args:
        model: On the device to compute on; its extent says what a call sees.
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
    grid = Grid.of(scan, voxels, known, model.extent, model.patch)
    caller = Caller(model, setting, prod(grid.lengths))
    with CallCounter(model) as calls:
        x, items = _fill(caller, grid, *grid.to_model(scale.to_unit(voxels), known), report)
    samples = np.stack([scale.from_unit(grid.to_scan(part)) for part in x])
    return Drawn(np.where(known, voxels, samples), items, calls.count, scale, caller.size, setting.pairs)


def generate(
    model: Model, shape: Sequence[int], setting: Setting, frame_time: float = 0.04, report: Report | None = None
) -> tuple[Scan, Drawn]:
    """Draw a scan of shape (t, z, y, x) given nothing: `inpaint` with nothing known.

    Returns:
        An empty scan that carries the geometry, and what was drawn for it.
    """
    t, z, y, x = shape
    spacing = model.extent.spacing
    scan = Scan.blank((t, z, y, x), (SLICE_STEP, spacing, spacing), frame_time)
    return scan, inpaint(model, scan, np.zeros(scan.shape, dtype=bool), setting, report)


def _fill(
    caller: Caller, grid: Grid, x: Floats, known: Bools, wanted: Bools, report: Report | None
) -> tuple[Floats, int]:
    """Draw the wanted pixels of frames (t, z, h', w'), block after block, each given what earlier ones drew.

    Returns:
        The frames of every sample (k, t, z, h', w'), and the number of items drawn.
    """
    samples = caller.setting.samples
    result, known = np.repeat(x[None], samples, axis=0), known.copy()
    rounds = list(blocks_in_turn(grid, known, wanted))
    smooth = whole_fill(caller.model, grid, x, known) if rounds and len(grid.extent.axes) > 2 else None
    total, done = samples * sum(map(len, rounds)), 0
    if report is not None and total:
        report(0, total)
    for blocks in rounds:
        items = [(k, block) for k in range(samples) for block in blocks]
        while items:
            part, items = items[: caller.batch], items[caller.batch :]
            given = np.stack([grid.cut(result[k], block) for k, block in part])
            seen = np.stack([grid.cut(known, block) for _, block in part])
            drawn = caller.draw(_items(grid, caller.setting, part, given, seen, smooth))
            for (k, block), values in zip(part, np.where(seen, given, drawn), strict=True):
                grid.put(result[k], block, values)
            done += len(part)
            if report is not None:
                report(done, total)
        for block in blocks:
            grid.put(known, block, np.ones(grid.item, dtype=bool))
    return result, total


def _items(
    grid: Grid, setting: Setting, part: Sequence[tuple[int, Block]], given: Floats, seen: Bools, smooth: Floats | None
) -> Items:
    """Return blocks of samples with their streams and conditions."""
    keys: list[Key] = [(setting.first + k, *block.key) for k, block in part]
    condition = grid.condition([block for _, block in part], setting.condition or {})
    if smooth is not None:
        condition["fill"] = np.stack([[grid.cut(own, block) for own in smooth] for _, block in part])
    around: list[Key] = [(setting.first + k, "around", *block[1:4]) for k, block in part]
    return Items(given, seen, keys, condition, around)
