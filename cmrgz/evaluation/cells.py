"""Cells: what a sweep is made of, each with an address that is a function of all that its result depends on."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product

from cmrgz.evaluation.competitors import Method
from cmrgz.evaluation.frames import Frame, digest

PLAIN_UNIT = 64
"""Frames a unit for methods that need no network."""

Named = tuple[Frame, str]
"""A frame and the address of its cell."""


@dataclass(frozen=True)
class Unit:
    """Cells that are computed together: one method, mask and seed, the scored frames of one crop or several.

    Which crops share a unit changes no result: each frame is drawn from its own stream. The frames of a crop stay
    together, since the motion from one to the next is measured.

    Attributes:
        mask: What hides, as its canonical text.
        seed: Of the mask and the draws.
        samples: Draws of each frame; 1 for a method without chance.
        cells: The addresses of the frames' cells.
    """

    method: Method
    mask: str
    seed: int
    samples: int
    frames: Sequence[Frame]
    cells: Sequence[str]

    @property
    def id(self) -> str:
        """Hash of its cells."""
        return digest(list(self.cells))

    def crop_of(self, index: int) -> tuple["Unit", int]:
        """Return the part of the unit that is of the crop of a cell, and which cell it is there."""
        id_ = self.frames[index].crop.id
        rows = [i for i, frame in enumerate(self.frames) if frame.crop.id == id_]
        part = replace(self, frames=[self.frames[i] for i in rows], cells=[self.cells[i] for i in rows])
        return part, rows.index(index)


def address(revision: str, method: Method, mask: str, seed: int, samples: int, frame: Frame) -> str:
    """Return the address of a cell: another result, another address.

    Method, frame and crop stand there by hashes: of weights and options, of pixels, and of what is drawn with them.
    """
    # The order is part of what is hashed: finished sweeps are found by it.
    return digest([revision, method.key, mask, frame.crop.mask_key(mask), seed, samples, frame.id, frame.crop.id])


@dataclass(frozen=True)
class Grid:
    """The product of a sweep: frames, methods, masks (as their canonical texts) and seeds.

    Attributes:
        revision: Of the code and of the networks that measure.
        samples: Draws of each frame.
        batch: Items a network call takes.
    """

    revision: str
    frames: Sequence[Frame]
    methods: Sequence[Method]
    masks: Sequence[str]
    seeds: Sequence[int]
    samples: int
    batch: int = 16

    def __len__(self) -> int:
        """Return the number of cells: a frame has none under a mask that its crop cannot take."""
        return len(self.methods) * len(self.seeds) * sum(f.crop.takes(mask) for f in self.frames for mask in self.masks)

    def units(self, done: Collection[str] = ()) -> Iterator[Unit]:
        """Yield the cells that are not done, in units; method by method, so that one model is held at a time."""
        for method, mask, seed in product(self.methods, self.masks, self.seeds):
            samples = self.samples if method.random else 1  # a rule gives one result, however often it is asked
            frames = [frame for frame in self.frames if frame.crop.takes(mask)]
            named = [(frame, address(self.revision, method, mask, seed, samples, frame)) for frame in frames]
            todo = [(frame, cell) for frame, cell in named if cell not in done]
            for part in self._parts(method, samples, todo):
                yield Unit(method, mask, seed, samples, [f for f, _ in part], [c for _, c in part])

    def _parts(self, method: Method, samples: int, todo: Sequence[Named]) -> Iterator[Sequence[Named]]:
        """Yield the cells of each unit: of whole crops, as many as fill network calls to the last item."""
        # Calls have one size, padded where items are missing, since bits depend on it: idle places are lost time.
        network = method.kind in ("model", "probe")
        size = self.batch // math.gcd(self.batch, samples) if network else PLAIN_UNIT
        part: list[Named] = []
        for _, group in groupby(todo, key=lambda named: named[0].crop.id):
            cells = list(group)
            if part and len(part) + len(cells) > size:
                yield part
                part = []
            part += cells
        if part:
            yield part
