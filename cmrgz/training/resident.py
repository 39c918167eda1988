"""Frames that live on a device: few enough to be sent there once, and the items of a step are cut in one piece of work.

A step sends the numbers of its plan, about a hundred bytes an item, and no pixels.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrgz.data.cines import Pair
from cmrgz.errors import format_line
from cmrgz.sending import sent
from cmrgz.training.ahead import by_threads
from cmrgz.training.crops import Cut, Turn
from cmrgz.training.frames import Batch, Frames, as_item, stacked

LOG = logging.getLogger("cmrgz.training")
SHARE = 0.25
"""Of the memory that a device has free when training begins, for frames: the rest is for what a step computes."""
_FRAME = torch.float16.itemsize
_EXACT = Turn(0.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Numbers:
    """The plan of a step in numbers.

    Attributes:
        whole: (b, 2 + t z) int64: rows and columns of the planes of an item, and where each of its planes begins.
        real: (b, 9) float32: how far (rows, columns) a column and a row of the item go, where its middle is, twice the
            gain, gamma, and whether it is turned at all.
        shape: (t, z).
        condition: Of the items.
    """

    whole: Tensor
    real: Tensor
    shape: tuple[int, int]
    condition: dict[str, Tensor]


class ResidentFrames:
    """Frames on a device. Batches are those of `Frames`: exact crops to the bit, turned ones within 1e-5.

    Args:
        frames: Whose batches these are; all are sent.
        device: Where they live.
    """

    def __init__(self, frames: Frames, device: torch.device) -> None:
        self.frames, self.device = frames, device
        cines = [cine for part in frames.sources for cine in part]
        ends = np.cumsum([0, *(math.prod(cine.frames.shape) for cine in cines)]).tolist()
        self.flat = torch.empty(ends[-1], dtype=torch.float16, device=device)
        # One by one: those of a bank are never together in the memory of the host.
        for cine, first, end in zip(cines, ends, ends[1:], strict=False):
            self.flat[first:end].copy_(torch.from_numpy(cine.whole.astype(np.float16).ravel()))
        starts = iter(ends)
        self._first = [[next(starts) for _ in part] for part in frames.sources]
        rows, columns = (torch.arange(n, device=device) - (n - 1) / 2 for n in frames.item)
        self._rows, self._columns = rows[:, None], columns[None]

    def batches(self, seed: int, steps: Iterable[int], items: int | Sequence[int], workers: int = 0) -> Iterator[Batch]:
        """Yield the batches of `steps`, planned by threads where there are workers; they do not depend on it."""
        plan = partial(self._planned, seed, items)
        for numbers in by_threads(plan, steps, workers) if workers else map(plan, steps):
            yield self._batch(numbers)

    def _planned(self, seed: int, items: int | Sequence[int], step: int) -> Numbers:
        cuts, told = zip(*self.frames.planned(seed, step, items), strict=True)
        shape = (len(cuts[0].t), len(cuts[0].z))
        whole = torch.from_numpy(np.stack([self._whole(cut) for cut in cuts]))
        real = torch.tensor([_real(cut, self.frames.item) for cut in cuts], dtype=torch.float32)
        return Numbers(whole, real, shape, stacked(told))

    def _whole(self, cut: Cut) -> NDArray[np.int64]:
        """Return rows and columns of a plane, and where the planes of an item begin."""
        source, number = cut.source
        _, slices, *plane = self.frames.cine(cut).frames.shape
        planes = cut.t[:, None] * slices + cut.z
        return np.concatenate([plane, self._first[source][number] + planes.ravel() * math.prod(plane)])

    def _batch(self, numbers: Numbers) -> Batch:
        x = self._cut(sent(numbers.whole, self.device), sent(numbers.real, self.device))
        condition = {name: sent(value, self.device) for name, value in numbers.condition.items()}
        return Batch(as_item(x.unflatten(1, numbers.shape), self.frames.extent)[:, None], condition)

    def _cut(self, whole: Tensor, real: Tensor) -> Tensor:
        """Return (b, t z, h, w) of the numbers of a plan."""
        size, planes = whole[:, :2, None, None], whole[:, 2:, None, None]
        gain, gamma, changed = (part[:, None, None, None] for part in real[:, 6:].unbind(1))
        turned = changed > 0
        places = self._places(size, real[:, :6], turned)
        low = places.floor()
        index, weight, inside = _neighbours(low.long(), places - low, size)
        exact = self.flat[planes + index[0, 0]].float()
        total = (exact + 1) * weight[0, 0]
        # Air is -1 and what lies outside has no weight: shifted by one, it is air.
        for place in ((0, 1), (1, 0), (1, 1)):
            total = torch.addcmul(total, self.flat[planes + index[place]].float() + 1, weight[place])
        shaded = ((total / 2).clamp(min=0) ** gamma * gain - 1).clamp(-1, 1)
        return torch.where(turned, shaded, torch.where(inside, exact, -1.0))

    def _places(self, size: Tensor, real: Tensor, turned: Tensor) -> Tensor:
        """Return the places (b, 2, h, w) of pixels in the planes, rows and columns; whole numbers where not turned."""
        along_columns, along_rows, middle = real.view(-1, 3, 2, 1, 1).unbind(1)
        points = along_columns * self._columns + along_rows * self._rows + middle
        # Counted from the edges, -1 and 1, and back: rounded as `grid_sample` does, which the last bits depend on.
        half = size / 2
        rounded = ((points + 0.5) / half - 1 + 1) * half - 0.5
        return torch.where(turned, rounded, points)


def _real(cut: Cut, item: Pair) -> list[float]:
    turn = cut.turn or _EXACT
    sin, cos = math.sin(turn.angle) / turn.zoom, math.cos(turn.angle) / turn.zoom
    middle = [c + (n - 1) / 2 for c, n in zip(cut.corner, item, strict=True)]
    return [sin, cos, cos, -sin, *middle, 2 * turn.gain, turn.gamma, float(cut.turn is not None)]


def _neighbours(low: Tensor, part: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the four pixels about each place, the weight of each, and whether the first is in the plane.

    Args:
        low: (b, 2, h, w) row and column of the first.
        part: (b, 2, h, w) how far the place is beyond it, in [0, 1).
        size: (b, 2, 1, 1) rows and columns of the planes.

    Returns:
        Places in a flat plane and weights (2, 2, b, 1, h, w), the next row and the next column second; (b, 1, h, w).
    """
    at = torch.stack([low, low + 1])
    inside = (at >= 0) & (at < size)
    weight = torch.stack([1 - part, part]) * inside
    at = at.clamp(min=0).minimum(size - 1)
    (y, x), (v, w) = (both.split(1, 2) for both in (at, weight))
    return y[:, None] * size[:, 1:] + x[None], v[:, None] * w[None], inside[0].all(1, keepdim=True)


def on_device(frames: Frames, device: torch.device, quiet: bool = True) -> "Frames | ResidentFrames":
    """Return frames as training on a device reads them: from its memory where they fit, or else from the host.

    Args:
        frames: Of the run.
        device: Of the training.
        quiet: Do not say which.
    """
    if device.type == "cpu":
        return frames
    size = sum(_FRAME * math.prod(cine.frames.shape) for part in frames.sources for cine in part)
    fits = size <= SHARE * free_memory(device)
    if not quiet:
        what = f"are held in the memory of {device}" if fits else "stay in the memory of the host or in their bank"
        LOG.info(format_line("info", "frames", "data", what, f"{size / 1e6:.1f} MB"))
    return ResidentFrames(frames, device) if fits else frames


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a device, 0 where they are not known."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
