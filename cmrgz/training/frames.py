"""Training items: random crops of the frames of scans, held in memory, each a function of (seed, step, index)."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

import numpy as np
import torch
from numpy.random import Generator, default_rng
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from cmrgz.data.cases import Case
from cmrgz.data.clips import Clip, crop, read_clip
from cmrgz.errors import DataError, UsageError
from cmrgz.rng import derive

DROP = 0.15
"""Share of the items that miss a condition, drawn for each: every model also works without."""


@dataclass(frozen=True)
class Batch:
    """Items (b, 1, h, w) in [-1, 1] and their conditions, one (b,) tensor a name, NaN where unknown."""

    x: Tensor
    condition: dict[str, Tensor]


class Frames:
    """The frames of one or more data sets, each data set an equal share of the items.

    Hearts have a side, so nothing is ever mirrored; items are shifted, and half of them turned, scaled, and changed in
    brightness and contrast a little.

    Args:
        sources: The cases of each data set.
        item: Shape (h, w) of an item.
        shares: Weight of each data set; equal if empty.
        quiet: No progress bar.
        augment: How strongly, 1 being the usual amount.

    Raises:
        DataError: `empty-dataset`.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[Case]],
        item: tuple[int, int],
        shares: Sequence[float] = (),
        quiet: bool = True,
        augment: float = 1.0,
    ) -> None:
        if not sources or not all(sources):
            raise DataError("empty-dataset", "data", "no scans to train on", hint="check with: cmrgz data check DIR")
        if shares and (len(shares) != len(sources) or min(shares) < 0 or sum(shares) <= 0):
            raise UsageError("range", "option --share", "expected one positive number a data set", f"got {shares}")
        self.item, self.augment = item, augment
        weights = np.array(shares or [1.0] * len(sources))
        self.shares = weights / weights.sum()
        total = sum(map(len, sources))
        with tqdm(total=total, desc="reading scans", disable=quiet, leave=False) as bar:
            self.sources = [[self._read(case, bar) for case in cases] for cases in sources]

    @staticmethod
    def _read(case: Case, bar: "tqdm[NoReturn]") -> Clip:
        bar.update()
        return read_clip(case)

    def batch(self, seed: int, step: int, size: int) -> Batch:
        """Return the items of training step `step`, a function of the arguments alone."""
        return collate([self._item(default_rng(derive(seed, "item", step, i))) for i in range(size)])

    def batches(self, seed: int, steps: Iterable[int], size: int, workers: int = 0) -> Iterator[Batch]:
        """Yield the batches of `steps`, the next ones made by `workers` threads while one is in use."""
        if not workers:
            yield from (self.batch(seed, step, size) for step in steps)
            return
        with ThreadPoolExecutor(workers) as pool:
            remaining = iter(steps)
            ahead = deque(pool.submit(self.batch, seed, step, size) for step in islice(remaining, 2 * workers))
            try:
                while ahead:
                    yield ahead.popleft().result()
                    ahead.extend(pool.submit(self.batch, seed, step, size) for step in islice(remaining, 1))
            finally:
                pool.shutdown(cancel_futures=True)

    def _item(self, rng: Generator) -> tuple[Tensor, dict[str, float]]:
        clips = self.sources[rng.choice(len(self.sources), p=self.shares)]
        clip = clips[rng.integers(len(clips))]
        t, z = (int(rng.integers(n)) for n in clip.frames.shape[:2])
        corner = self._corner(clip, rng)
        x = self._crop(torch.from_numpy(clip.frames[t, z]).float(), corner, rng)
        condition = clip.place(t, z, corner, self.item)
        jitter = rng.normal(0, 0.03, 2)  # at inference the heart is found in what is known, a few pixels off
        condition["row"] += jitter[0]
        condition["column"] += jitter[1]
        return x, {name: math.nan if rng.random() < DROP else value for name, value in condition.items()}

    def _corner(self, clip: Clip, rng: Generator) -> tuple[float, float]:
        """Return the (row, column) of a crop's corner: half near the heart, half anywhere in the plane."""
        room = [max(n - m, 0) for n, m in zip(clip.frames.shape[2:], self.item, strict=True)]
        if rng.random() < 0.5:
            corner = [c - m / 2 + rng.normal(0, 8) for c, m in zip(clip.centre, self.item, strict=True)]
        else:
            corner = [rng.uniform(0, r) for r in room]
        row, column = (float(np.clip(round(c), 0, r)) for c, r in zip(corner, room, strict=True))
        return row, column

    def _crop(self, frame: Tensor, corner: tuple[float, float], rng: Generator) -> Tensor:
        """Return the item (1, h, w) at `corner`; half of them exact pixels, half resampled."""
        if rng.random() < 0.5:
            return exact_crop(frame, corner, self.item)
        angle, zoom, gain, gamma = rng.uniform(-1, 1, 4) * self.augment
        x = turned_crop(frame, corner, self.item, math.radians(9 * angle), math.exp(0.15 * zoom))
        shade = ((x + 1) / 2).clamp(min=0) ** math.exp(0.15 * gamma)
        return (2 * shade * math.exp(0.15 * gain) - 1).clamp(-1, 1)


def exact_crop(frame: Tensor, corner: tuple[float, float], item: tuple[int, int]) -> Tensor:
    """Return (1, h, w) pixels of a frame (H, W) as they are, padded with -1 where the frame is too small."""
    return torch.from_numpy(crop(frame.numpy(), corner, item, -1.0))[None]


def turned_crop(frame: Tensor, corner: tuple[float, float], item: tuple[int, int], angle: float, zoom: float) -> Tensor:
    """Return (1, h, w) pixels of a frame (H, W), turned by `angle` and scaled by `zoom` about the crop's centre."""
    size = torch.tensor([frame.shape[1], frame.shape[0]]).float()
    y, x = (torch.arange(n) - (n - 1) / 2 for n in item)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    middle = [c + (n - 1) / 2 for c, n in zip(corner, item, strict=True)]
    points = torch.stack([cos * columns - sin * rows + middle[1], sin * columns + cos * rows + middle[0]], -1)
    grid = (points + 0.5) / size * 2 - 1
    zero_is_air = F.grid_sample(frame[None, None] + 1, grid[None], padding_mode="zeros", align_corners=False)
    return zero_is_air[0] - 1


def collate(items: Sequence[tuple[Tensor, dict[str, float]]]) -> Batch:
    """Stack items (1, h, w) and their conditions."""
    names = items[0][1]
    condition = {name: torch.tensor([float(c[name]) for _, c in items]) for name in names}
    return Batch(torch.stack([x for x, _ in items]), condition)


def held_out(clip: Clip, item: tuple[int, int], most: int) -> Batch:
    """Return up to `most` heart-centred items of a clip, evenly spread over frames and slices, never changed."""
    t, z = clip.frames.shape[:2]
    picks = np.unique(np.linspace(0, t * z - 1, min(most, t * z)).round().astype(int))
    corner = clip.corner(item)
    frames = [(divmod(int(p), z)) for p in picks]
    crops = [exact_crop(torch.from_numpy(clip.frames[i, j]).float(), corner, item) for i, j in frames]
    return collate([(x, clip.place(i, j, corner, item)) for x, (i, j) in zip(crops, frames, strict=True)])
