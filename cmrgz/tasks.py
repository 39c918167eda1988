"""inpaint and generate: a scan in, a scan out.

The two invariants are kept here. Hidden values never reach a model: they are replaced before anything is computed
from a scan. Known voxels never change: a result holds the hidden ones alone, see `cmrgz.drawn`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from cmrgz.blocks import Box, blocks_in_turn, whole_fill
from cmrgz.calls import CallCounter, Caller, Items, Setting
from cmrgz.canvas import CACHE, SHARE, Canvas
from cmrgz.data.intensity import Scale
from cmrgz.data.planes import Planes
from cmrgz.data.scan import Scan
from cmrgz.drawn import Drawn
from cmrgz.errors import DataError
from cmrgz.grid import Block, Bools, Floats, Grid
from cmrgz.model import Model
from cmrgz.plugin import Progress
from cmrgz.rng import Key

__all__ = ["Drawn", "Progress", "Setting", "generate", "inpaint"]

_ZERO = np.float32(0)
# Short-axis stacks are recorded at 8 to 10 mm; a model of blocks is told the distance as `height`.
SLICE_STEP = 10.0
"""mm between the slices of a generated scan."""


def inpaint(model: Model, scan: Scan, known: Bools, setting: Setting, report: Progress | None = None) -> Drawn:
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
    # A choice and not a product: a hidden voxel may be NaN, and 0 * NaN is NaN.
    given = Planes(scan.shape, np.dtype(np.float32), lambda t, z: np.where(known[t, z], scan.plane(t, z), _ZERO))
    scale = Scale.fit(given, known)
    grid = Grid.of(scan, given, known, model.extent, model.patch)
    canvas = Canvas(grid, given, known, scale, setting.samples, max(CACHE, scan.stored.nbytes // SHARE))
    caller = Caller(model, setting, prod(grid.lengths))
    with CallCounter(model) as calls:
        items = setting.samples * sum(map(len, fill(caller, canvas, report)))
    hidden = canvas.finish()
    return Drawn(scan, known, hidden, setting.samples, items, calls.count, scale, caller.size, setting.pairs)


def generate(
    model: Model, shape: Sequence[int], setting: Setting, frame_time: float = 0.04, report: Progress | None = None
) -> tuple[Scan, Drawn]:
    """Draw a scan of shape (t, z, y, x) given nothing: `inpaint` with nothing known.

    Returns:
        An empty scan that carries the geometry, and what was drawn for it.
    """
    t, z, y, x = shape
    spacing = model.extent.spacing
    scan = Scan.blank((t, z, y, x), (SLICE_STEP, spacing, spacing), frame_time)
    return scan, inpaint(model, scan, np.zeros(scan.shape, dtype=bool), setting, report)


def fill(caller: Caller, canvas: Canvas, report: Progress | None = None) -> list[list[Block]]:
    """Draw the wanted pixels, block after block, each given what earlier ones drew; return the blocks of each round."""
    samples, grid = caller.setting.samples, canvas.grid
    rounds = list(blocks_in_turn(grid, canvas.seen, canvas.wanted))
    # Made of what is given alone: what was drawn is no evidence, and its errors would add up from block to block.
    whole = _Fill.of(caller.model, canvas, rounds)
    total, done = samples * sum(map(len, rounds)), 0
    caller.plan(samples * max(map(len, rounds), default=0))
    if report is not None and total:
        report(0, total)
    for blocks in rounds:
        # None of these sees another, and each has its own stream: how they fall into batches changes nothing.
        items = [(k, block) for k in range(samples) for block in blocks]
        while items:
            part, items = items[: caller.batch], items[caller.batch :]
            cuts = [canvas.cut(k, block) for k, block in part]
            given, seen = (np.stack(parts) for parts in zip(*cuts, strict=True))
            drawn = caller.draw(_items(grid, caller.setting, part, given, seen, whole))
            for (k, block), values in zip(part, drawn, strict=True):
                canvas.put(k, block, values)
            done += len(part)
            if report is not None:
                report(done, total)
        canvas.end_round()
    return rounds


@dataclass(frozen=True)
class _Fill:
    """What all blocks are told of the whole scan: its continuation and the reach of that, where there are blocks."""

    grid: Grid
    box: Box
    smooth: Floats

    @classmethod
    def of(cls, model: Model, canvas: Canvas, rounds: Sequence[Sequence[Block]]) -> "_Fill | None":
        """Return the fill of blocks; None for a model of frames."""
        grid = canvas.grid
        # A model of frames continues each frame by itself, in the plane, as it does in training.
        if not rounds or len(grid.extent.axes) == 2:
            return None
        box = Box.around(grid, [block for blocks in rounds for block in blocks])
        return cls(grid, box, whole_fill(model, grid, canvas.given, canvas.seen, box))

    def cut(self, block: Block) -> Floats:
        """Return the fill (2, *item) of a block."""
        return np.stack([self.grid.cut(own, self.box.shifted(block)) for own in self.smooth])


def _items(
    grid: Grid, setting: Setting, part: Sequence[tuple[int, Block]], given: Floats, seen: Bools, fill: _Fill | None
) -> Items:
    """Return blocks of samples with their streams and conditions."""
    keys: list[Key] = [(setting.first + k, *block.key) for k, block in part]
    asked = {
        name: value if isinstance(value, int | float) else [value[k] for k, _ in part]
        for name, value in (setting.condition or {}).items()
    }
    condition = grid.condition([block for _, block in part], asked)
    if fill is not None:
        condition["fill"] = np.stack([fill.cut(block) for _, block in part])
    # Without the phase: blocks at one place of the plane, wherever they begin in the cycle, draw one field around it.
    around: list[Key] = [(setting.first + k, "around", *block[1:4]) for k, block in part]
    return Items(given, seen, keys, condition, around)
