"""What a model makes of the phases and slices beside a hole, beside what needs no model.

Every voxel of a crop is scored. `cmrgz evaluate --context 5x3` scores chosen frames of crops, of many patients with
intervals, beside all other baselines.

    python examples/context_table.py SCAN... PHANTOMS... --models ar-vq ldm-unet --draws 4

Of each scan the middle slices and the first phases are taken, 128 x 128 pixels about the heart. One row a method for
every mask, in Markdown, as soon as it is ready, and at the end the means over the scans: PSNR of the mean of the draws
in the hole, and in the moving part of it (the 15 % of the pixels that vary most over time, blurred by 2 pixels); the
energy score of the draws, alone and relative to that of the smoothest continuation in all four axes; and how successive
frames correlate, in the draws and in truth. Intensities are 0 .. 1 on the crop's own scale. With `--antithetic` draws
come in opposite pairs, whose mean errs less; how far draws lie apart, in the energy score, is then told by those of
different pairs alone: they are independent, so that the score has no bias.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cmrgz import checkpoint, options, registry, tasks
from cmrgz.adaptive import COEFFICIENTS, adaptive_continuation
from cmrgz.continuation import WEIGHTS, Links, continuation
from cmrgz.data import cases, masks
from cmrgz.data.cines import read_cine
from cmrgz.data.intensity import Scale
from cmrgz.data.scan import Scan
from cmrgz.evaluation import regions
from cmrgz.evaluation.fills import SLICE, TIME, along
from cmrgz.model import Model

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
MASKS = ("0.7", "box:0.3", "slices:every=2", "frames:every=2", "0.7,hold=t")
SIDE, BLUR, MOVING = 128, 2.0, 85
HEADS = ("mask", "scan", "method", "hole, dB", "moving, dB", "energy", "of the fill's", "correlation", "truth's", "s")


@dataclass(frozen=True)
class Crop:
    """The middle of a scan.

    Attributes:
        name: Of the scan.
        scan: The crop as a scan of its own; its values are 0 .. 1 of the whole scan's scale.
        scale: Of the crop.
        truth: (t, z, y, x) in [0, 1], the crop's own scale.
        moving: Bool (t, z, y, x): where it varies most over time.
    """

    name: str
    scan: Scan
    scale: Scale
    truth: Floats
    moving: Bools

    def unit(self, voxels: NDArray[Any]) -> Floats:
        """Return values of the scan (..., t, z, y, x) in [0, 1]."""
        return (self.scale.to_unit(voxels) + 1) / 2


@dataclass(frozen=True)
class Row:
    """What a method makes of a hole: its figures, in the order of `HEADS`."""

    mask: str
    scan: str
    method: str
    figures: tuple[float, ...]

    @property
    def text(self) -> str:
        """In Markdown."""
        digits = (2, 2, 4, 2, 3, 3, 1)
        cells = [f"{value:.{n}f}" for value, n in zip(self.figures, digits, strict=True)]
        return "| " + " | ".join([f"`{self.mask}`", self.scan, self.method, *cells]) + " |"


@dataclass(frozen=True)
class Entrant:
    """A model with its sampling options."""

    name: str
    model: Model
    options: dict[str, Any]

    @classmethod
    def of(cls, name: str, assignments: Sequence[str]) -> "Entrant":
        """Open a model by name or checkpoint."""
        model, _ = checkpoint.open_model(name)
        return cls(name, model, options.parse(list(assignments), registry.sample_schema(model), "--set"))


def crop(case: cases.Case, phases: int, slices: int) -> Crop:
    """Return the first phases and middle slices of a case about the heart."""
    cine = read_cine(case)
    first = max(0, (cine.frames.shape[1] - slices) // 2)
    row, column = (int(c) for c in cine.corner((SIDE, SIDE)))
    part = cine.frames[:phases, first : first + slices, row : row + SIDE, column : column + SIDE]
    stored = (part.astype(np.float32) + 1) / 2
    scale = Scale.fit(stored, np.ones(stored.shape, dtype=bool))
    truth = (scale.to_unit(stored) + 1) / 2
    scan = replace(Scan.blank(stored.shape, cine.spacing, 0.04), stored=stored)
    return Crop(case.subject, scan, scale, truth, most_moving(truth))


def most_moving(truth: Floats) -> Bools:
    """Return where (t, z, y, x) a cine varies most over time."""
    change = gaussian_filter(truth.std(0), (0, BLUR, BLUR))
    return np.broadcast_to(change > np.percentile(change, MOVING), truth.shape)


def smoothest(x: Floats, known: Bools) -> Floats:
    """Return the smoothest continuation in all four axes."""
    links = Links(*(torch.tensor([weight]) for weight in (*WEIGHTS, 0.0)))
    given, seen = (torch.from_numpy(np.ascontiguousarray(part))[None, None] for part in (x, known))
    return continuation(given, seen, links)[0, 0].numpy()


def adaptive(x: Floats, known: Bools) -> Floats:
    """Return the continuation that models of blocks start from."""
    links = Links(*(torch.tensor([weight]) for weight in (*WEIGHTS, 0.0)))
    given, seen = (torch.from_numpy(np.ascontiguousarray(part))[None, None] for part in (2 * x - 1, known))
    filled = adaptive_continuation(torch.where(seen, given, 0.0), seen, links, torch.tensor(COEFFICIENTS))
    return ((filled[0, 0].clamp(-1, 1) + 1) / 2).numpy()


def psnr(x: Floats, truth: Floats, where: Bools) -> float:
    """Return the peak signal-to-noise ratio in dB, of a peak of 1."""
    return float(-10 * np.log10(np.square(x - truth)[where].mean())) if where.any() else float("nan")


def energy(samples: Floats, truth: Floats, hidden: Bools, pairs: Sequence[int] | None = None) -> float:
    """Return the energy score of samples (k, t, z, y, x), the mean over frames; of one sample its plain error.

    Of antithetic draws `pairs` says which belong together: how far draws lie apart is told by the others.
    """
    frames = samples.reshape(len(samples), -1, *samples.shape[3:])
    flat, hole = (part.reshape(-1, *part.shape[2:]) for part in (truth, hidden))
    if len(samples) > 1:
        return float(np.nanmean(regions.energy_score_frames(frames, flat, hole, pairs)))
    error = [np.sqrt(np.square(a - b)[h].mean()) for a, b, h in zip(frames[0], flat, hole, strict=True) if h.any()]
    return float(np.mean(error))


def correlation(x: Floats) -> float:
    """Return how successive frames of a cine (t, z, y, x) correlate, the mean over all pairs."""
    pairs = [(x[t, z].ravel(), x[t + 1, z].ravel()) for t in range(len(x) - 1) for z in range(x.shape[1])]
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant frame has none
        return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])) if pairs else float("nan")


def figures(
    part: Crop, known: Bools, samples: Floats, floor: float, seconds: float, pairs: Sequence[int] | None = None
) -> tuple[float, ...]:
    """Return the figures of a row; known voxels of samples (k, t, z, y, x) are as given."""
    hidden, mean = ~known, samples.mean(0)
    score = energy(samples, part.truth, hidden, pairs)
    own = float(np.mean([correlation(sample) for sample in samples]))
    quality = psnr(mean, part.truth, hidden), psnr(mean, part.truth, hidden & part.moving)
    return *quality, score, score / floor, own, correlation(part.truth), seconds


def fills(part: Crop, known: Bools) -> Iterator[tuple[str, Floats]]:
    """Yield what needs no model, the smoothest continuation first."""
    given = np.where(known, part.truth, np.float32(0))
    yield "4-D harmonic fill", smoothest(given, known)
    yield "adaptive fill", adaptive(given, known)
    yield "linear over time", along(given, known, TIME)
    yield "linear over slices", along(given, known, SLICE)


def rows(part: Crop, mask: str, models: Sequence[Entrant], draws: int, antithetic: bool = False) -> Iterator[Row]:
    """Yield the rows of a mask on a crop."""
    known, floor = masks.parse(mask).draw(part.scan.shape, seed=0), float("nan")
    for name, filled in fills(part, known):
        samples = np.where(known, part.truth, filled)[None]
        floor = energy(samples, part.truth, ~known) if np.isnan(floor) else floor
        yield Row(mask, part.name, name, figures(part, known, samples, floor, 0.0))
    for entrant in models:
        start = time.perf_counter()
        setting = tasks.Setting(seed=0, samples=draws, options=entrant.options, antithetic=antithetic)
        samples = part.unit(tasks.inpaint(entrant.model, part.scan, known, setting).samples)
        seconds = time.perf_counter() - start
        yield Row(mask, part.name, entrant.name, figures(part, known, samples, floor, seconds, setting.pairs))


def means(found: Sequence[Row]) -> Iterator[Row]:
    """Yield the mean over the scans of each mask and method."""
    number = len({row.scan for row in found})
    for mask, method in dict.fromkeys((row.mask, row.method) for row in found):
        own = [row.figures for row in found if (row.mask, row.method) == (mask, method)]
        yield Row(mask, f"mean of {number}", method, tuple(float(value) for value in np.mean(own, axis=0)))


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scans", nargs="+", help="cines, and folders of them")
    parser.add_argument("--models", nargs="*", default=["ar-vq"], help="names and checkpoints")
    parser.add_argument("--masks", nargs="*", default=list(MASKS))
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="sampling options of all models")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--antithetic", action="store_true", help="draw in pairs of opposite random numbers")
    parser.add_argument("--cases", type=int, default=1000, help="at most so many of a folder")
    parser.add_argument("--phases", type=int, default=10)
    parser.add_argument("--slices", type=int, default=5)
    told = parser.parse_args()
    if told.antithetic and told.draws == 2:
        parser.error("--antithetic: one pair does not tell how far draws lie apart: use --draws 4")
    return told


def main() -> None:
    """Draw, print."""
    told = arguments()
    models = [Entrant.of(name, told.set) for name in told.models]
    print("| " + " | ".join(HEADS) + " |\n" + "|---" * len(HEADS) + "|")
    found: list[Row] = []
    for case in (case for path in told.scans for case in cases.find(path)[: told.cases]):
        part = crop(case, told.phases, told.slices)
        for mask in told.masks:
            for row in rows(part, mask, models, told.draws, told.antithetic):
                print(row.text, flush=True)
                found.append(row)
    if len({row.scan for row in found}) > 1:
        print("\n".join(row.text for row in means(found)))


if __name__ == "__main__":
    main()
