"""In which order the blocks of a scan are drawn, and what all of them are told of the whole scan."""

from collections.abc import Iterable, Iterator
from itertools import pairwise, product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cmrgz.adaptive import COEFFICIENTS, adaptive_continuation, reach
from cmrgz.continuation import Links
from cmrgz.data.planes import Cine, Planes
from cmrgz.grid import Block, Floats, Grid
from cmrgz.hints import Hints
from cmrgz.model import Model
from cmrgz.sending import device_of, sent

SLAB = 7 << 20
"""Voxels of which the continuation is computed at once, at most where it can be: larger arrays are mapped anew each
time by the allocator, which takes longer than the sums."""
# Without it the fill of three slices of 40 phases of 512 x 512 took 3.6 GB for a hole of 32 x 32 pixels.
MARGIN = 32
"""Pixels around what is to be drawn that its continuation sees: a small hole in a large plane costs little."""
HALO = 1
"""Slices beside a slab that its continuation sees."""


def blocks_in_turn(grid: Grid, known: Cine, wanted: Cine) -> Iterator[list[Block]]:
    """Yield the blocks that are to be drawn, round by round; those of a round share no frame.

    Each wanted pixel is drawn once, by the first block that covers it. Blocks of frames take their tiles where most is
    known first, so that a large hole is filled from its edge, in evidence, and not from its middle, in the void.

    Args:
        grid: Of the scan.
        known: (t, z, h', w') bool.
        wanted: (t, z, h', w') bool, pixels that are to be drawn.
    """
    turns = _Turns(grid, known, wanted)
    while blocks := turns.next_round():
        yield blocks
        turns.drawn(blocks)


class _Turn(NamedTuple):
    """A block that could be drawn next: how many quarters of it are known, and whether anything is."""

    quarters: int
    knows: bool
    block: Block


class _Turns:
    """What is known and wanted while blocks are drawn, counted by frame and tile."""

    def __init__(self, grid: Grid, known: Cine, wanted: Cine) -> None:
        self.grid, self.known, self.wanted = grid, known, wanted
        self.areas: dict[tuple[int, int], list[tuple[slice, slice]]] = {}
        self.tiles = grid.window.tiles
        shape = (*known.shape[:2], len(self.tiles))
        self.share, self.asks = np.zeros(shape), np.zeros(shape, dtype=bool)
        for t, z in np.ndindex(shape[:2]):
            self._count(t, z)

    def _count(self, t: int, z: int) -> None:
        """Count a frame anew: the known share of each tile, and whether it has a wanted pixel."""
        known, wanted = self.known[t, z].copy(), self.wanted[t, z].copy()
        for area in self.areas.get((t, z), ()):
            # What was drawn counts as known here: a later block is given it.
            known[area], wanted[area] = True, False
        for number, tile in enumerate(self.tiles):
            area = self.grid.area(Block(t, z, *tile))
            self.share[t, z, number] = known[area].mean()
            self.asks[t, z, number] = wanted[area].any()

    def next_round(self) -> list[Block]:
        """Return blocks that share no frame, those that know most first, in quarters; of equal ones the first.

        Where nothing is known one block begins, and the others wait until they see something of it: drawn side by side
        they would be parts of different hearts. Its phases are spread over the cycle, so that it beats once: a motion
        drawn bit by bit ends anywhere.
        """
        found = [self._best(t, z) for t in self.grid.starts[0] for z in self.grid.starts[1]]
        turns = sorted((turn for turn in found if turn is not None), key=lambda turn: -turn.quarters)
        taken = np.zeros(self.known.shape[:2], dtype=bool)
        begun = {self._together(turn.block) for turn in turns if turn.knows}
        blocks = []
        for turn in turns:
            block = turn.block if turn.knows else self.grid.spread(turn.block)
            frames, together = self._frames(block), self._together(block)
            # Blocks of a round go in one batch and do not see each other: on one frame they would draw over each
            # other.
            if taken[frames].any() or (together in begun and not turn.knows):
                continue
            begun.add(together)
            taken[frames] = True
            blocks.append(block)
        return blocks

    def _frames(self, block: Block) -> tuple[NDArray[np.int64], ...]:
        """Return an index of the phases and slices of a block."""
        return np.ix_(self.grid.phases_of(block), self.grid.slices_of(block))

    def _together(self, block: Block) -> tuple[int, int]:
        """Return what is the same for blocks that could come to see each other: where they lie on the axes not seen."""
        axes = self.grid.extent.axes
        # A model that does not see an axis can join nothing along it: there every phase or slice begins by itself.
        return (0 if "t" in axes else block.t, 0 if "z" in axes else block.z)

    def _best(self, t: int, z: int) -> _Turn | None:
        """Return the tile that knows most of those that are asked for."""
        frames = self._frames(Block(t, z, 0, 0))
        share, asks = self.share[frames].mean((0, 1)), self.asks[frames].any((0, 1))
        if not asks.any():
            return None
        # A tile of which nothing is asked must not win, however much of it is known.
        quarters = np.where(asks, np.floor(4 * share).astype(int), -1)
        best = int(np.argmax(quarters))
        return _Turn(int(quarters[best]), bool(share[best] > 0), Block(t, z, *self.tiles[best]))

    def drawn(self, blocks: list[Block]) -> None:
        """Take note of blocks that were drawn."""
        for block in blocks:
            for t in self.grid.phases_of(block).tolist():
                for z in self.grid.slices_of(block).tolist():
                    self.areas.setdefault((t, z), []).append(self.grid.area(block))
                    self._count(t, z)


class Box(NamedTuple):
    """A part of a cine: slices, rows and columns of all phases."""

    z: slice
    rows: slice
    columns: slice

    @classmethod
    def around(cls, grid: Grid, blocks: Iterable[Block]) -> "Box":
        """Return the least box that has all of some blocks, at least one."""
        z, rows, columns = zip(*((block.z, *grid.area(block)) for block in blocks), strict=True)
        first, last = min(z), max(z) + grid.lengths[1]
        return cls(slice(first, last), *(slice(min(s.start for s in part), max(s.stop for s in part))
                                         for part in (rows, columns)))  # fmt: skip

    @classmethod
    def hull(cls, cine: Cine, box: "Box") -> "Box | None":
        """Return the least box that has all that is True in a part of a bool cine (t, z, y, x), if anything is."""
        found = [np.zeros(part.stop - part.start, dtype=bool) for part in box]
        for t, z in product(range(cine.shape[0]), range(box.z.start, box.z.stop)):
            plane = cine[t, z][box.rows, box.columns]
            for axis, there in enumerate((plane.any(), plane.any(1), plane.any(0))):
                found[axis][z - box.z.start if axis == 0 else slice(None)] |= there
        ends = [np.flatnonzero(axis)[[0, -1]] + (0, 1) if axis.any() else None for axis in found]
        places = [slice(*(end + part.start).tolist()) for end, part in zip(ends, box, strict=True) if end is not None]
        return cls(*places) if len(places) == len(box) else None

    def widened(self, shape: tuple[int, ...]) -> "Box":
        """Return the box with what is around it, in a cine of a shape (t, z, y, x)."""
        sides = zip(self, (HALO, MARGIN, MARGIN), shape[1:], strict=True)
        return Box(*(slice(max(0, part.start - n), min(length, part.stop + n)) for part, n, length in sides))

    def within(self, outer: "Box") -> "Box":
        """Return where the box lies in another."""
        return Box(*(slice(a.start - b.start, a.stop - b.start) for a, b in zip(self, outer, strict=True)))

    def cut(self, cine: Cine) -> Planes:
        """Return the part of a cine, plane by plane."""
        shape = (cine.shape[0], *(part.stop - part.start for part in self))
        return Planes(shape, cine.dtype, lambda t, z: cine[t, self.z.start + z][self.rows, self.columns])

    def shifted(self, block: Block) -> Block:
        """Return where a block lies in the box."""
        start = (self.z.start, self.rows.start, self.columns.start)
        z, row, column = (at - first for at, first in zip((block.z, block.row, block.column), start, strict=True))
        return block._replace(z=z, row=row, column=column)


def whole_fill(model: Model, grid: Grid, x: Cine, known: Cine, box: Box | None = None) -> Floats:
    """Return the continuation of all that is known of a scan, and its reach, (2, t, z, h, w); see `cmrgz.adaptive`.

    Slab by slab. A block alone would not see the phases and slices beyond its ends.

    Args:
        model: With hints or without.
        grid: Of the scan.
        x: (t, z, h', w') in [-1, 1].
        known: (t, z, h', w') bool.
        box: What to return and hold of it; everything if None. What lies far from its hole is not looked at.
    """
    whole = Box(*(slice(0, length) for length in x.shape[1:]))
    box = box or whole
    out = _given(box.cut(x), box.cut(known))
    hole = Box.hull(Planes(known.shape, known.dtype, lambda t, z: ~known[t, z]), box) if _any(known) else None
    if hole is None:
        return out
    near = hole.widened(x.shape)
    # Where nothing within the margin is known, what lies farther away still says more than nothing.
    near = near if _any(near.cut(known)) else whole
    x, known, inner, place = near.cut(x), near.cut(known), hole.within(near), hole.within(box)
    filled = out[:, :, place.z, place.rows, place.columns]
    for part, seen in _slabs(x.shape, inner.z):
        slab = _continued(model, grid, x, known, seen)
        filled[:, :, part.start - inner.z.start : part.stop - inner.z.start] = slab[
            :, :, part.start - seen.start : part.stop - seen.start, inner.rows, inner.columns
        ]
    return out


def _any(known: Cine) -> bool:
    return any(known[place].any() for place in np.ndindex(known.shape[:2]))


def _given(x: Cine, known: Cine) -> Floats:
    """Return what is known, 0 elsewhere, and where that is, (2, t, z, h, w)."""
    out = np.zeros((2, *x.shape), np.float32)
    for place in np.ndindex(x.shape[:2]):
        out[1][place] = known[place]
        out[0][place][known[place]] = x[place][known[place]]
    return out


def _slabs(shape: tuple[int, ...], z: slice) -> list[tuple[slice, slice]]:
    """Return the slabs in which slices `z` of a cine (t, z, y, x) are continued, and which slices each is told of."""
    if prod(shape) <= SLAB:
        return [(z, slice(0, shape[1]))]
    n = z.stop - z.start
    # The slices of the halo count too, so that a slab with its halo stays below the limit where it can.
    number = -(-n // max(1, SLAB // (shape[0] * shape[2] * shape[3]) - 2 * HALO))
    ends = pairwise(z.start + n * i // number for i in range(number + 1))
    return [(slice(a, b), slice(max(0, a - HALO), min(shape[1], b + HALO))) for a, b in ends]


def _continued(model: Model, grid: Grid, x: Cine, known: Cine, slices: slice) -> NDArray[np.float32]:
    """Return the continuation of some slices of a cine, told of these alone, and its reach, (2, t, z, y, x).

    It is worked out where the model is: thousands of small operations on all voxels, and one answer to wait for.
    """
    device = device_of(model)
    t, z = x.shape[0], slices.stop - slices.start
    time = grid.tempo * torch.arange(t)[:, None].expand(t, z)
    links = Links.of(time[None], (grid.step * torch.arange(z)).expand(1, t, z))
    # `Links.of` closes the ring by the distances of phases alone; the grid has compared their voxels.
    if not grid.ring:
        links = links._replace(wrap=torch.zeros_like(links.wrap))
    links = Links(*(sent(part, device) for part in links))
    given, seen = (sent(torch.from_numpy(_slices(cine, slices))[None, None], device) for cine in (x, known))
    # The coefficients that the model's hints were fitted with: in use the fill must be the one that they describe.
    hints = next((module for module in model.modules() if isinstance(module, Hints)), None)
    weights = sent(torch.tensor(COEFFICIENTS), device) if hints is None else hints.weights
    with torch.inference_mode():
        filled = adaptive_continuation(given, seen, links, weights)
        return np.asarray(torch.cat([filled, reach(filled, seen, links, weights)], 1)[0].cpu())


def _slices(cine: Cine, slices: slice) -> NDArray[Any]:
    """Return some slices (t, z, h', w')."""
    t, _, h, w = cine.shape
    out = np.empty((t, slices.stop - slices.start, h, w), cine.dtype)
    for i, j in np.ndindex(out.shape[:2]):
        out[i, j] = cine[i, slices.start + j]
    return out
