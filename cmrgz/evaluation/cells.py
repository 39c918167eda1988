"""Cells: what a sweep is made of, each with an address that is a function of all that its result depends on."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from cmrgz.evaluation.frames import Frame, digest
from cmrgz.evaluation.methods import Method

PLAIN_UNIT = 64
"""Frames a unit for methods that need no network."""


@dataclass(frozen=True)
class Unit:
    """Cells that are computed together: one method, mask and seed, several frames.

    Which cells share a unit changes no result: each is drawn from its own stream.

    Attributes:
        method: What fills.
        mask: What hides, as its canonical text.
        seed: Of the mask and the draws.
        samples: Draws of each frame; 1 for a method without chance.
        frames: The frames.
        cells: Their addresses.
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


def address(revision: str, method: Method, mask: str, seed: int, samples: int, frame: Frame) -> str:
    """Return the address of a cell: another result, another address.

    Args:
        revision: Of the code and of the networks that measure.
        method: What fills; its fingerprint holds the hash of its weights and its options.
        mask: What hides.
        seed: Of the mask and the draws.
        samples: Draws.
        frame: The frame; its id is a hash of its pixels.
    """
    return digest([revision, method.key, mask, seed, samples, frame.id])


@dataclass(frozen=True)
class Grid:
    """The product of a sweep.

    Attributes:
        revision: Of the code and of the networks that measure.
        frames: The frames.
        methods: The methods.
        masks: The masks, as their canonical texts.
        seeds: The seeds.
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
        """Return the number of cells."""
        return len(self.frames) * len(self.methods) * len(self.masks) * len(self.seeds)

    def units(self, done: Collection[str] = ()) -> Iterator[Unit]:
        """Yield the cells that are not done, in units; method by method, so that one model is held at a time."""
        for method, mask, seed in product(self.methods, self.masks, self.seeds):
            samples = self.samples if method.random else 1
            named = [(frame, address(self.revision, method, mask, seed, samples, frame)) for frame in self.frames]
            todo = [(frame, cell) for frame, cell in named if cell not in done]
            size = self._size(method, samples)
            for start in range(0, len(todo), size):
                part = todo[start : start + size]
                yield Unit(method, mask, seed, samples, [f for f, _ in part], [c for _, c in part])

    def _size(self, method: Method, samples: int) -> int:
        """Return the frames a unit: as many as fill network calls to the last item."""
        return self.batch // math.gcd(self.batch, samples) if method.kind in ("model", "probe") else PLAIN_UNIT
