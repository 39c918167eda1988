"""Scoring: from what a method drew for some frames to numbers, features and pictures of each."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz import __version__
from cmrgz.anatomy.function import cavity_radii
from cmrgz.errors import PluginError
from cmrgz.evaluation.cells import Unit
from cmrgz.evaluation.competitors import Bools, Draws, Floats, known_of, own
from cmrgz.evaluation.crops import Crop
from cmrgz.evaluation.extractors import DEFAULT, Extractor, open_extractor
from cmrgz.evaluation.frames import Frame, Key, digest, intensities
from cmrgz.evaluation.metrics import FRAME_METRICS, measure
from cmrgz.evaluation.metrics.base import AVERAGES, Cine, Labels, Sampled

FORMAT = 2
"""Of what is stored of a cell, and of how its numbers are computed: to be raised when either changes."""
PICTURES = ("truth", "known", "sample", "other sample", "mean", "std")
"""What is kept of a frame that is shown, each (h, w) uint8."""
SPREAD = 4.0
"""A standard deviation of 1 / SPREAD is white in a picture."""


@dataclass
class Scorer:
    """What measures: a segmenter and extractors of features.

    Attributes:
        segmenter: Labels frames, or None.
        extractors: By name.
        shown: Ids of the frames whose pictures are kept.
    """

    segmenter: Any = None
    extractors: Mapping[str, Extractor] = field(default_factory=dict)
    shown: frozenset[str] = frozenset()
    _known_segments: dict[str, Labels] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, device: str = "cpu", extractors: Sequence[str] = DEFAULT) -> "Scorer":
        """Return what measures: the bundled segmenter and extractors, as `open_extractor` takes them."""
        from cmrgz.anatomy.segmenter import Segmenter  # torch, which a report is made without

        opened = [open_extractor(name, device) for name in extractors]
        return cls(Segmenter.open(device=device), {extractor.name: extractor for extractor in opened})

    @property
    def revision(self) -> str:
        """What a number depends on beside method, mask, seed and frame: code, metrics and the networks that measure."""
        segmenter = None if self.segmenter is None else self.segmenter.sha256
        networks = [segmenter, sorted((name, extract.identity) for name, extract in self.extractors.items())]
        # The names of the metrics, not their code: whoever changes how one is computed raises FORMAT.
        return digest([__version__, FORMAT, sorted(FRAME_METRICS), networks])

    def run(self, unit: Unit, leak: bool = False) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
        """Compute a unit; `leak` tests that hidden pixels do not matter, but to what may see the truth.

        Returns:
            Its arrays, one row a cell, and what it cost: `seconds` a draw, network `calls` a draw.

        Raises:
            PluginError: `leak`, or what the method raises.
        """
        known = known_of(unit.frames, unit.mask, unit.seed)
        start = time.perf_counter()
        draws = unit.method.draw(unit.frames, known, unit.seed, unit.samples)
        seconds = (time.perf_counter() - start) / draws.items
        if leak and not unit.method.sees_truth:
            check_leak(unit, known, draws)
        return self.scored(unit, known, draws), {"seconds": seconds, "calls": draws.calls}

    def scored(self, unit: Unit, known: Sequence[Bools], draws: Draws) -> dict[str, NDArray[Any]]:
        """Return the arrays of a unit whose draws are made, given what was known of the crop of each frame."""
        truth, seen = intensities(unit.frames), own(unit.frames, known)
        drawn = draws.samples(unit.frames)
        # Known pixels are pasted here, for all methods alike; what one makes of them is scored by metrics of `drawn`.
        samples = np.where(seen, truth, drawn)
        true, segments = self._labels(unit.frames, samples)
        cines = cines_of(unit.frames, known, draws)
        rows = []
        for i, frame in enumerate(unit.frames):
            sampled = Sampled(
                truth=truth[i],
                known=seen[i],
                drawn=drawn[:, i],
                spacing=frame.crop.spacing,
                label=frame.label,
                truth_segment=None if true is None else true[i],
                segments=None if segments is None else segments[:, i],
                moving=frame.moving,
                cine=cines[i],
                pasted=draws.pasted,
                certain=not unit.method.random,
            )
            rows.append(measure(sampled))
        names = list(rows[0])
        arrays: dict[str, NDArray[Any]] = {
            "names": np.array(names),
            "metrics": np.array([[row[name] for name in names] for row in rows]),
            # What gates compare: all methods must have been given the same pixels, and kept them to the bit.
            "known_sha1": np.array([sha1(np.packbits(k).tobytes()).hexdigest()[:16] for k in known]),
            "hidden": np.array([1 - k.mean() for k in known]),
            "low": samples.min((0, 2, 3)),
            "high": samples.max((0, 2, 3)),
            "exact": (~seen | (samples == truth)).all((0, 2, 3)),
        }
        arrays |= _places(unit.frames) | _radii(unit.frames, true, segments)
        arrays |= self._features(samples, _motions(samples, cines)) | self._pictures(unit, truth, seen, samples)
        # Whole images are what sets are compared by: of real frames, and where nothing was known.
        if unit.method.kind == "real" or not any(given.any() for given in known):
            arrays["images"] = _bytes(samples[0])
        return arrays

    def _labels(self, frames: Sequence[Frame], samples: Floats) -> tuple[Labels | None, Labels | None]:
        """Return the labels of real frames (n, h, w) and of samples (k, n, h, w), None without a segmenter."""
        if self.segmenter is None:
            return None, None
        # Real ones once: every method and mask asks for them.
        new = [frame for frame in frames if frame.id not in self._known_segments]
        if new:
            labels = self.segmenter.segment(intensities(new), clean=False)
            self._known_segments |= {frame.id: own for frame, own in zip(new, labels, strict=True)}
        # Not cleaned: a second left ventricle is what the metrics of topology look for.
        found = np.asarray(self.segmenter.segment(samples.reshape(-1, *samples.shape[2:]), clean=False))
        return np.stack([self._known_segments[frame.id] for frame in frames]), found.reshape(samples.shape)

    def _features(self, samples: Floats, motions: Floats) -> dict[str, NDArray[Any]]:
        """Return features (n, k, d) of the samples, and (n, d) of the averages of the first 2, 4, ... of them.

        Those of motion are NaN for frames of which the frame before was not drawn.
        """
        found = {}
        for name, extract in self.extractors.items():
            of = motions if extract.on == "motion" else samples
            averages = {f"-mean-{m}": of[:m].mean(0, keepdims=True) for m in AVERAGES if 1 < m <= len(of)}
            for suffix, stack in ({"": of} | averages).items():
                defined = ~np.isnan(stack).any((0, 2, 3))
                # Extractors refuse NaN, and the batch must be the same whoever is in it: grey goes in, NaN comes out.
                images = np.where(defined[None, :, None, None], stack, 0.5)
                features = np.asarray(extract(images.reshape(-1, *stack.shape[2:])), dtype=np.float32)
                features = features.reshape(*stack.shape[:2], -1).swapaxes(0, 1)
                found[f"features-{name}{suffix}"] = np.where(defined[:, None, None], features, np.float32(np.nan))
        return found

    def _pictures(self, unit: Unit, truth: Floats, known: Bools, samples: Floats) -> dict[str, NDArray[Any]]:
        """Return pictures (p, 6, h, w) uint8 and the rows (p,) that they belong to."""
        rows = [i for i, frame in enumerate(unit.frames) if frame.id in self.shown]
        spread = samples.std(0, ddof=1) if len(samples) > 1 else np.zeros_like(samples[0])
        layers = (truth, known, samples[0], samples[-1], samples.mean(0), spread * SPREAD)
        pictures = np.stack([layer[rows] for layer in layers], axis=1)
        return {"pictures": _bytes(pictures), "picture_rows": np.array(rows, dtype=np.int64)}


def cines_of(frames: Sequence[Frame], known: Sequence[Bools], draws: Draws) -> list[Cine | None]:
    """Return the slice of each frame in all phases of its crop; none of crops of one phase."""
    found: dict[tuple[str, int], Cine] = {}
    for frame, seen in zip(frames, known, strict=True):
        (_, z), place = frame.place, (frame.crop.id, frame.place[1])
        if frame.crop.shape[0] > 1 and place not in found:
            phases = range(len(seen))
            blocks = tuple(draws.blocks.get((frame.crop.id, t, z), -1) for t in phases)
            samples = np.stack([_over_time(frame.crop, seen, draws, t, z, frame.key) for t in phases], axis=1)
            found[place] = Cine(frame.crop.unit[:, z], seen[:, z], samples, 0, frame.crop.ring, blocks)
    places = [(frame.place[0], (frame.crop.id, frame.place[1])) for frame in frames]
    return [dataclasses.replace(found[place], t=t) if place in found else None for t, place in places]


def _over_time(crop: Crop, known: Bools, draws: Draws, t: int, z: int, like: Key) -> Floats:
    """Return the samples (k, h, w) of a phase, known pixels as given; NaN where it was to be drawn and was not."""
    truth, shape = crop.unit[t, z], draws.planes[like].shape
    if known[t, z].all():
        return np.broadcast_to(truth, shape)
    drawn = draws.planes.get((crop.id, t, z))
    return np.full(shape, np.nan, np.float32) if drawn is None else np.where(known[t, z], truth, drawn)


def _motions(samples: Floats, cines: Sequence[Cine | None]) -> Floats:
    """Return half the difference to the frame before, about 0.5, of samples (k, n, h, w); NaN where there is none."""
    out = np.full(samples.shape, np.nan, np.float32)
    for i, cine in enumerate(cines):
        if cine is not None and cine.before is not None:
            out[:, i] = 0.5 + (samples[:, i] - cine.samples[:, cine.before]) / 2
    return out


def _radii(frames: Sequence[Frame], true: Labels | None, segments: Labels | None) -> dict[str, NDArray[Any]]:
    """Return the radii (n, 2, sectors) of the left ventricle in mm, of the truth and the mean over the samples."""
    if true is None or segments is None:
        return {}
    found = []
    for i, frame in enumerate(frames):
        of_truth, *of_samples = (cavity_radii(labels, frame.crop.spacing) for labels in (true[i], *segments[:, i]))
        found.append([of_truth, np.mean(of_samples, 0)])
    return {"radii": np.array(found, dtype=np.float32)}


def check_leak(unit: Unit, known: Sequence[Bools], draws: Draws) -> None:
    """Draw the first sample of the first frame again with hidden voxels of its crop changed, and compare to the bit.

    Raises:
        PluginError: `leak`.
    """
    frame, seen = unit.frames[0], known[0]
    noise = np.random.default_rng(0).uniform(-1, 1, seen.shape).astype(np.float16)
    # The ids stay, though the content is another: they key the streams of the draws.
    changed = dataclasses.replace(frame.crop, x=np.where(seen, frame.crop.x, noise))
    again = unit.method.draw([dataclasses.replace(frame, crop=changed)], known[:1], unit.seed, 1)
    drawn = {key: plane[0] for key, plane in again.planes.items() if not seen[key[1:]].all()}
    if not all(np.array_equal(plane, draws.planes[key][0]) for key, plane in drawn.items()):
        what = "its result depends on hidden pixels"
        raise PluginError("leak", unit.method.name, what, hint="report it to its authors")


def _places(frames: Sequence[Frame]) -> dict[str, NDArray[Any]]:
    """Return where each row is from."""
    own = {name: np.array([getattr(f, name) for f in frames]) for name in ("subject", "scan", "role", "t", "z")}
    of_crop = {name: np.array([getattr(f.crop, name) for f in frames]) for name in ("spacing", "step")}
    return {"frame": np.array([frame.id for frame in frames]), **own, **of_crop}


def _bytes(x: Floats) -> NDArray[np.uint8]:
    return np.clip(np.round(x * 255), 0, 255).astype(np.uint8)
