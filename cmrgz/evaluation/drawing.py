"""What models draw of crops: of frames, as they see them, or of all phases and slices in blocks."""

import math
from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from cmrgz.calls import CallCounter, Caller, Items, Setting
from cmrgz.canvas import Canvas
from cmrgz.data.intensity import Scale
from cmrgz.data.planes import Planes
from cmrgz.data.scan import Scan
from cmrgz.evaluation.competitors import Draws, by_crop, own
from cmrgz.evaluation.crops import Bools, Crop, Floats, in_unit
from cmrgz.evaluation.frames import Frame, Key, stacked
from cmrgz.grid import Grid
from cmrgz.model import Model
from cmrgz.rng import derive
from cmrgz.tasks import fill

UNIT = Scale(-1.0, 1.0)
"""Crops are scaled once per scan, and that scale is given to all methods alike."""


def draw(model: Model, setting: Setting, frames: Sequence[Frame], known: Sequence[Bools]) -> Draws:
    """Draw samples; the stream of each is keyed by (seed, sample, frame), or of blocks by crop and place."""
    # A model of frames is not asked for neighbours that nobody scores; one of blocks draws them in any case.
    if len(model.extent.axes) == 2:
        return draw_frames(model, setting, frames, own(frames, known))
    calls: list[float] = []
    blocks: dict[Key, int] = {}

    def drawn_of(crop: Crop, seen: Bools) -> Floats:
        drawn, made, number = draw_crop(model, setting, crop, seen)
        calls.append(made)
        blocks.update({(crop.id, t, z): int(number[t, z]) for t, z in np.argwhere(number >= 0).tolist()})
        return in_unit(drawn)

    planes = by_crop(frames, known, drawn_of)
    return Draws(planes, float(np.mean(calls)), setting.samples * len(calls), True, blocks)


def draw_frames(model: Model, setting: Setting, frames: Sequence[Frame], known: Bools) -> Draws:
    """Return what a model of frames draws of frames given the known pixels (n, h, w)."""
    caller, samples = Caller(model, setting), setting.samples
    with CallCounter(model) as calls:
        drawn = caller.draw_all(items_of(frames, known, samples)).reshape(samples, *known.shape)
    # Calls a batch, so that the number does not depend on how many frames share a unit.
    batches = math.ceil(samples * len(frames) / caller.size)
    return Draws.of(frames, in_unit(drawn), calls.count / batches, samples * len(frames))


def items_of(frames: Sequence[Frame], known: Bools, samples: int) -> Items:
    """Return the items of all samples, sample by sample."""
    names = sorted({name for frame in frames for name in frame.condition})
    condition = {
        name: np.tile(np.array([f.condition.get(name, math.nan) for f in frames], dtype=np.float32), samples)
        for name in names
    }
    # One stream for each sample of each frame: what is drawn together changes no bit of it.
    keys = [(k, frame.id) for k in range(samples) for frame in frames]
    return Items(np.tile(stacked(frames), (samples, 1, 1)), np.tile(known, (samples, 1, 1)), keys, condition)


def draw_crop(model: Model, setting: Setting, crop: Crop, known: Bools) -> tuple[Floats, float, NDArray[np.int64]]:
    """Return what a model of blocks draws of a crop given the known voxels (t, z, h, w), which stay as given.

    As `cmrgz.tasks.inpaint` draws a scan, but that its scale, its phases and its heart are those of the whole scan.

    Returns:
        The samples (k, t, z, h, w) in [-1, 1], the calls of networks, and (t, z) the number of the round in which each
        frame was drawn, -1 for none.
    """
    # Blocks are keyed by their places, which are the same in every crop: the seed must tell crops apart.
    setting = replace(setting, seed=derive(setting.seed, "crop", crop.id))
    given = np.where(known, crop.x, np.float16(0)).astype(np.float32)
    planes = Planes(crop.shape, np.dtype(np.float32), lambda t, z: given[t, z])
    grid = _grid(crop, planes, known, model)
    canvas = Canvas(grid, planes, known, UNIT, setting.samples)
    caller = Caller(model, setting, prod(grid.lengths))
    with CallCounter(model) as calls:
        rounds = fill(caller, canvas)
    result = np.broadcast_to(crop.x.astype(np.float32), (setting.samples, *crop.shape)).copy()
    for place, values in canvas.finish().items():
        result[:, *place, ~known[place]] = values
    number = np.full(crop.shape[:2], -1)
    for i, block in enumerate(block for blocks in rounds for block in blocks):
        frames = np.ix_(grid.phases_of(block), grid.slices_of(block))
        number[frames] = np.where(number[frames] < 0, i, number[frames])  # later blocks are given it
    batches = math.ceil(setting.samples / caller.batch)
    return result.clip(-1, 1), calls.count / batches, number


def _grid(crop: Crop, planes: Planes, known: Bools, model: Model) -> Grid:
    """Return the grid of a crop, which knows where in its scan it lies."""
    scan = Scan.blank(crop.shape, (crop.step, crop.spacing, crop.spacing))
    grid = Grid.of(scan, planes, known, model.extent, model.patch)
    # A crop cannot tell these of itself: its heart may lie off its middle, and 3 of 20 phases are no cycle.
    window, ring = replace(grid.window, centre=crop.centre), crop.ring and "t" in model.extent.axes
    return replace(grid, window=window, phases=crop.phases, slices=crop.slices, ring=ring, tempo=crop.tempo)
