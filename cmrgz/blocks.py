"""In which order the blocks of a scan are drawn, and what all of them are told of the whole scan."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cmrgz.adaptive import COEFFICIENTS, adaptive_continuation, reach
from cmrgz.continuation import Links
from cmrgz.grid import Block, Bools, Floats, Grid
from cmrgz.hints import Hints
from cmrgz.model import Model

SLAB = 7 << 20
"""Voxels of which the continuation is computed at once, at most where it can be: larger arrays are mapped anew each
time by the allocator, which takes longer than the sums."""
HALO = 1
"""Slices beside a slab that its continuation sees."""


def blocks_in_turn(grid: Grid, known: Bools, wanted: Bools) -> Iterator[list[Block]]:
    """Yield the blocks that are to be drawn, round by round; those of a round share no frame.

    Each wanted pixel is drawn once, by the first block that covers it. Blocks of frames take their tiles where most is
    known first, so that a large hole is filled from its edge, in evidence, and not from its middle, in the void.

    Args:
        grid: Of the scan.
        known: (t, z, h', w') bool.
        wanted: (t, z, h', w') bool, pixels that are to be drawn.
    """
    turns = _Turns(grid, known.copy(), wanted.copy())
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

    def __init__(self, grid: Grid, known: Bools, wanted: Bools) -> None:
        self.grid, self.known, self.wanted = grid, known, wanted
        self.tiles = grid.window.tiles
        shape = (*known.shape[:2], len(self.tiles))
        self.share, self.asks = np.zeros(shape), np.zeros(shape, dtype=bool)
        for t, z in np.ndindex(shape[:2]):
            self._count(t, z)

    def _count(self, t: int, z: int) -> None:
        """Count a frame anew: the known share of each tile, and whether it has a wanted pixel."""
        for number, tile in enumerate(self.tiles):
            rows, columns = self.grid.area(Block(t, z, *tile))
            self.share[t, z, number] = self.known[t, z, rows, columns].mean()
            self.asks[t, z, number] = self.wanted[t, z, rows, columns].any()

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
        return (0 if "t" in axes else block.t, 0 if "z" in axes else block.z)

    def _best(self, t: int, z: int) -> _Turn | None:
        """Return the tile that knows most of those that are asked for."""
        frames = self._frames(Block(t, z, 0, 0))
        share, asks = self.share[frames].mean((0, 1)), self.asks[frames].any((0, 1))
        if not asks.any():
            return None
        quarters = np.where(asks, np.floor(4 * share).astype(int), -1)
        best = int(np.argmax(quarters))
        return _Turn(int(quarters[best]), bool(share[best] > 0), Block(t, z, *self.tiles[best]))

    def drawn(self, blocks: list[Block]) -> None:
        """Take note of blocks that were drawn."""
        for block in blocks:
            rows, columns = self.grid.area(block)
            for t in self.grid.phases_of(block):
                for z in self.grid.slices_of(block):
                    self.known[t, z, rows, columns], self.wanted[t, z, rows, columns] = True, False
                    self._count(int(t), int(z))


def whole_fill(model: Model, grid: Grid, x: Floats, known: Bools) -> Floats:
    """Return the continuation of all that is known of a scan, and its reach, (2, t, z, h', w'); see `cmrgz.adaptive`.

    Slab by slab. A block alone would not see the phases and slices beyond its ends.
    """
    if not known.any():
        return np.zeros((2, *x.shape), np.float32)
    n = x.shape[1]
    number = 1 if x.size <= SLAB else -(-n // max(1, SLAB // x[:, 0].size - 2 * HALO))
    ends = [n * i // number for i in range(number + 1)]
    return np.concatenate([_slab(model, grid, x, known, *span) for span in pairwise(ends)], axis=2)


def _slab(model: Model, grid: Grid, x: Floats, known: Bools, start: int, end: int) -> NDArray[np.float32]:
    """Return the continuation of the slices from `start` to before `end`, and its reach."""
    low, high = max(0, start - HALO), min(x.shape[1], end + HALO)
    t, z = x.shape[0], high - low
    time = grid.tempo * torch.arange(t)[:, None].expand(t, z)
    links = Links.of(time[None], (grid.step * torch.arange(z)).expand(1, t, z))
    if not grid.ring:
        links = links._replace(wrap=torch.zeros_like(links.wrap))
    given, seen = (torch.from_numpy(np.ascontiguousarray(part[:, low:high]))[None, None] for part in (x, known))
    hints = next((part for part in model.modules() if isinstance(part, Hints)), None)
    weights = torch.tensor(COEFFICIENTS) if hints is None else hints.weights.cpu()
    with torch.inference_mode():
        filled = adaptive_continuation(given, seen, links, weights)
        both = torch.cat([filled, reach(filled, seen, links, weights)], 1)[0]
    return np.asarray(both[:, :, start - low : end - low])
