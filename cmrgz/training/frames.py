"""Training items: random crops of the frames of scans, each a function of (seed, step, index)."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from cmrgz.data.cases import Case
from cmrgz.data.cines import Cine, read_cine
from cmrgz.data.planes import Planes
from cmrgz.errors import DataError, UsageError
from cmrgz.parts import MARGINS
from cmrgz.plugin import Extent
from cmrgz.rng import derive
from cmrgz.training.ahead import by_processes, by_threads
from cmrgz.training.blocks import Shape, draw_phases, draw_shape, draw_slices, is_ring, shapes, spread_starts
from cmrgz.training.crops import Cut, Turn
from cmrgz.training.patients import Patients

DROP = 0.15
"""Share of the items that miss a condition, drawn for each: every model also works without."""
UNTOLD = 0.3
"""Share of the items that miss all conditions of their patient: most scans are filled without any."""
KEPT = ("time", "height")
"""Conditions that no item misses: the places of its frames."""
FEWEST = 4
"""Blocks of a held-out patient, so that each sees other masks, where as many items are asked for."""


@dataclass(frozen=True)
class Batch:
    """Items (b, 1, *item) in [-1, 1] and their conditions, (b,) or (b, t, z) a name, NaN where unknown."""

    x: Tensor
    condition: dict[str, Tensor]


Told = Mapping[str, Any]
"""The conditions of an item, numbers or arrays (t, z)."""
Sent = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]


def _received(sent: Sent) -> Batch:
    return Batch(torch.from_numpy(sent[0]), {name: torch.from_numpy(value) for name, value in sent[1].items()})


class Frames:
    """The frames of one or more data sets, each data set an equal share of the items, alone or in blocks.

    Hearts have a side, so nothing is ever mirrored; items are shifted, and half of them turned, scaled, and changed in
    brightness and contrast a little, all frames of a block alike. All items of a step have as many phases and slices;
    cines that have fewer get steps of their own. Scans of files are held in memory; those of banks are read item by
    item, see `cmrgz.data.banked`.

    Args:
        sources: The cases of each data set.
        extent: What an item is; of its phases and slices there may be fewer, or more of one and fewer of the other.
        shares: Weight of each data set; equal if empty.
        quiet: No progress bar.
        augment: How strongly, 1 being the usual amount.
        patients: What items are told of their patients.

    Raises:
        DataError: `empty-dataset`.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[Case]],
        extent: Extent,
        shares: Sequence[float] = (),
        quiet: bool = True,
        augment: float = 1.0,
        patients: Patients | None = None,
    ) -> None:
        if not sources or not all(sources):
            raise DataError("empty-dataset", "data", "no scans to train on", hint="check with: cmrgz data check DIR")
        if shares and (len(shares) != len(sources) or min(shares) < 0 or sum(shares) <= 0):
            raise UsageError("range", "option --share", "expected one positive number a data set", f"got {shares}")
        self.extent, self.item, self.augment, self.patients = extent, extent.plane, augment, patients or Patients()
        weights = np.array(shares or [1.0] * len(sources))
        self.shares = weights / weights.sum()
        total = sum(map(len, sources))
        with tqdm(total=total, desc="reading scans", disable=quiet, leave=False) as bar:
            self.sources = [[self._read(case, bar) for case in cases] for cases in sources]
        # Asked once: of scans of files it takes a pass over all their frames.
        self._rings = [["t" in extent.axes and is_ring(cine) for cine in cines] for cines in self.sources]
        self._enough: dict[Shape, tuple[list[list[int]], NDArray[np.float64]]] = {}

    def _read(self, case: Case, bar: "tqdm[NoReturn]") -> Cine:
        bar.update()
        return replace(read_cine(case, spacing=self.extent.spacing), patient=self.patients.of(case))

    def batch(self, seed: int, step: int, items: int | Sequence[int]) -> Batch:
        """Return the items of training step `step`, a function of the arguments alone; of some their numbers."""
        return self.of_shape(seed, step, items, self._shape(seed, step))

    def of_shape(self, seed: int, step: int, items: int | Sequence[int], shape: Shape, strides: bool = True) -> Batch:
        """Return items of one shape, a function of the arguments alone.

        Args:
            seed: Of the run.
            step: Of the training.
            items: How many, or their numbers in the step.
            shape: Phases and slices of the items.
            strides: Take every second or third phase or slice too, and not neighbours alone.
        """
        plans = self._plans(seed, step, items, shape, strides)
        return collate([(as_item(cut.pixels(self.cine(cut), self.item), self.extent), told) for cut, told in plans])

    def planned(self, seed: int, step: int, items: int | Sequence[int]) -> list[tuple[Cut, Told]]:
        """Return what the items of `batch` are cut from, and their conditions."""
        return self._plans(seed, step, items, self._shape(seed, step), strides=True)

    def cine(self, cut: Cut) -> Cine:
        """Return what an item is cut from."""
        source, number = cut.source
        return self.sources[source][number]

    def _plans(
        self, seed: int, step: int, items: int | Sequence[int], shape: Shape, strides: bool
    ) -> list[tuple[Cut, Told]]:
        numbers = range(items) if isinstance(items, int) else items
        # A generator for each item, none for the batch: an item must not depend on which others are made beside it, or
        # a resumed run, another number of workers or of processes would train on other items.
        rngs = (default_rng(derive(seed, "item", step, i)) for i in numbers)
        return [self._plan(shape, rng, strides) for rng in rngs]

    def batches(self, seed: int, steps: Iterable[int], items: int | Sequence[int], workers: int = 0) -> Iterator[Batch]:
        """Yield the batches of `steps`, the next ones made by `workers` while one is in use; they do not depend on it.

        Workers are processes where all scans are in banks, so that each can read them, and else threads.
        """
        make = partial(self._sent, seed, items)
        if not workers:
            yield from (self.batch(seed, step, items) for step in steps)
        elif all(isinstance(cine.frames, Planes) for cines in self.sources for cine in cines):
            yield from (_received(sent) for sent in by_processes(make, steps, workers))
        else:
            yield from (_received(sent) for sent in by_threads(make, steps, workers))

    def _sent(self, seed: int, items: int | Sequence[int], step: int) -> Sent:
        """Return a batch as arrays, which are sent to another process through a pipe: tensors take shared memory."""
        batch = self.batch(seed, step, items)
        return batch.x.numpy(), {name: value.numpy() for name, value in batch.condition.items()}

    @property
    def surroundings(self) -> Shape:
        """Phases and slices of the largest block of the model's with `MARGINS` along the axes it has, as a cine has."""
        t, z = (n + margin * (n > 1) for n, margin in zip(shapes(self.extent)[0], MARGINS, strict=True))
        drawn = (cines for cines, share in zip(self.sources, self.shares, strict=True) if share > 0)
        return max((_shortened((t, z), cine) for cines in drawn for cine in cines), key=math.prod)

    # ---------------------------------------------------------------------- what an item is cut from
    def _shape(self, seed: int, step: int) -> Shape:
        """Return phases and slices of the items of a step: of a shape of the model's, as far as some cine has them."""
        rng = default_rng(derive(seed, "shape", step))
        shape = draw_shape(self.extent, rng)
        # One shape for the step, since its items are stacked. A random cine says how far it is shortened, so that short
        # ones are trained on as often as there are such.
        source, number = self._draw_cine((1, 1), rng)
        return _shortened(shape, self.sources[source][number])

    def _draw_cine(self, shape: Shape, rng: Generator) -> tuple[int, int]:
        """Return the data set of a cine that has so many phases and slices, and its number there."""
        if shape not in self._enough:
            self._enough[shape] = self._with_enough(shape)
        numbers, shares = self._enough[shape]
        source = int(rng.choice(len(numbers), p=shares))
        return source, numbers[source][rng.integers(len(numbers[source]))]

    def _with_enough(self, shape: Shape) -> tuple[list[list[int]], NDArray[np.float64]]:
        """Return the numbers of the cines that have so many phases and slices, and the shares of the data sets."""
        numbers = [[i for i, cine in enumerate(part) if _shortened(shape, cine) == shape] for part in self.sources]
        if all(numbers):
            return numbers, self.shares
        # A data set without such cines leaves its share to the others, for this shape.
        weights = np.where([bool(part) for part in numbers], self.shares, 0)
        return numbers, weights / weights.sum()

    def _plan(self, shape: Shape, rng: Generator, strides: bool) -> tuple[Cut, Told]:
        """Return what an item is cut from and its conditions: all random numbers of it are drawn here."""
        source, number = self._draw_cine(shape, rng)
        cine, ring = self.sources[source][number], self._rings[source][number]
        n, m = cine.frames.shape[:2]
        t, z = draw_phases(n, shape[0], ring, rng, strides), draw_slices(m, shape[1], rng, strides)
        corner = self._corner(cine, rng)
        turn = self._turn(rng)
        condition = self._place(cine, t, z, corner)
        jitter = rng.normal(0, 0.03, 2)  # at inference the heart is found in what is known, a few pixels off
        condition["row"] += jitter[0]
        condition["column"] += jitter[1]
        # Each by itself, so that a model meets every subset of what it may be told in use.
        dropped = {name for name in condition if name not in KEPT and rng.random() < DROP}
        if cine.patient and rng.random() < UNTOLD:
            dropped |= set(cine.patient)
        # Time runs backwards: a motion of its own kind, where no phase says otherwise.
        backwards = "phase" in dropped and shape[0] > 1 and rng.random() < 0.5
        told = {name: np.full_like(value, np.nan) if name in dropped else value for name, value in condition.items()}
        return Cut((source, number), t[::-1] if backwards else t, z, corner, turn), told

    def _place(self, cine: Cine, t: NDArray[np.int64], z: NDArray[np.int64], corner: tuple[float, float]) -> Any:
        if len(self.extent.axes) == 2:
            return cine.place(int(t[0]), int(z[0]), corner, self.item)
        return cine.places(t, z, corner, self.item)

    def _corner(self, cine: Cine, rng: Generator) -> tuple[float, float]:
        """Return the (row, column) of a crop's corner: half near the heart, half anywhere in the plane."""
        room = [max(n - m, 0) for n, m in zip(cine.frames.shape[2:], self.item, strict=True)]
        if rng.random() < 0.5:
            corner = [c - m / 2 + rng.normal(0, 8) for c, m in zip(cine.centre, self.item, strict=True)]
        else:
            corner = [rng.uniform(0, r) for r in room]
        row, column = (float(np.clip(round(c), 0, r)) for c, r in zip(corner, room, strict=True))
        return row, column

    def _turn(self, rng: Generator) -> Turn | None:
        """Return how an item is changed, all its frames alike; half of the items keep their exact pixels."""
        if rng.random() < 0.5:
            return None
        # Resampling blurs: the other half keeps its pixels, lest a model learns that all images are smooth.
        angle, zoom, gain, gamma = rng.uniform(-1, 1, 4) * self.augment
        return Turn(math.radians(9 * angle), math.exp(0.15 * zoom), math.exp(0.15 * gain), math.exp(0.15 * gamma))


def _shortened(shape: Shape, cine: Cine) -> Shape:
    """Return a shape with no more phases and slices than a cine has."""
    return min(shape[0], cine.frames.shape[0]), min(shape[1], cine.frames.shape[1])


def as_item(blocks: Tensor, extent: Extent) -> Tensor:
    """Return blocks (n, t, z, h, w) as items (n, *item) of the axes of an extent."""
    t, z = blocks.shape[1:3]
    lengths = [n for axis, n in (("t", t), ("z", z)) if axis in extent.axes]
    return blocks.reshape(len(blocks), *lengths, *blocks.shape[-2:])


def collate(items: Sequence[tuple[Tensor, Told]]) -> Batch:
    """Stack items (1, *item) and their conditions."""
    return Batch(torch.stack([x for x, _ in items]), stacked([told for _, told in items]))


def stacked(told: Sequence[Told]) -> dict[str, Tensor]:
    """Stack the conditions of items."""
    return {name: torch.stack([torch.as_tensor(one[name], dtype=torch.float32) for one in told]) for name in told[0]}


def held_out(cine: Cine, extent: Extent, most: int) -> Batch:
    """Return heart-centred items of a cine, evenly spread over its frames and slices, never changed.

    Args:
        cine: The cine; with fewer phases or slices than the extent the items have so many.
        extent: What an item is.
        most: Frames in all; of blocks at least four, where so many items are asked for.
    """
    shape = _shortened(shapes(extent)[0], cine)
    number = max(-(-most // math.prod(shape)), min(most, FEWEST))
    corner = cine.corner(extent.plane)
    ring = shape[0] > 1 and is_ring(cine)
    items: list[tuple[Tensor, Told]] = []
    for t, z in spread_starts((cine.frames.shape[0], cine.frames.shape[1]), shape, ring, number):
        x = torch.from_numpy(cine.block(t, z, corner, extent.plane)).float()
        told = cine.place(int(t[0]), int(z[0]), corner, extent.plane)
        blocks = len(extent.axes) > 2
        items.append((as_item(x[None], extent), cine.places(t, z, corner, extent.plane) if blocks else told))
    return collate(items)
