"""The judge: from what a method drew for some frames to numbers, features and pictures of each."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz import __version__
from cmrgz.errors import PluginError
from cmrgz.evaluation.cells import Unit
from cmrgz.evaluation.extractors import Extractor
from cmrgz.evaluation.frames import Frame, digest, units
from cmrgz.evaluation.methods import Draws
from cmrgz.evaluation.metrics import FRAME_METRICS, measure
from cmrgz.evaluation.metrics.base import Sampled

AVERAGES = (2, 4, 8, 16)
"""Averages of this many samples are looked at too: from one sample to the mean a method traces its own curve."""
FORMAT = 1
"""Of what is stored of a cell, and of how its numbers are computed: to be raised when either changes."""
PICTURES = ("truth", "known", "sample", "other sample", "mean", "std")
"""What is kept of a frame that is shown, each (h, w) uint8."""
SPREAD = 4.0
"""A standard deviation of 1 / SPREAD is white in a picture."""

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


@dataclass
class Judge:
    """What measures: a segmenter and extractors of features.

    Attributes:
        segmenter: Labels frames, or None.
        extractors: By name.
        shown: Ids of the frames whose pictures are kept.
    """

    segmenter: Any = None
    extractors: Mapping[str, Extractor] = field(default_factory=dict)
    shown: frozenset[str] = frozenset()
    _known_segments: dict[str, NDArray[np.uint8]] = field(default_factory=dict, repr=False)

    @property
    def revision(self) -> str:
        """What a number depends on beside method, mask, seed and frame: code, metrics and the networks that measure."""
        segmenter = None if self.segmenter is None else self.segmenter.sha256
        networks = [segmenter, sorted((name, extract.identity) for name, extract in self.extractors.items())]
        return digest([__version__, FORMAT, sorted(FRAME_METRICS), networks])

    def run(self, unit: Unit, leak: bool = False) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
        """Compute a unit.

        Args:
            unit: What to compute.
            leak: Test first that hidden pixels do not matter; of a method that may see the truth nothing is asked.

        Returns:
            Its arrays, one row a cell, and what it cost: `seconds` a draw, network `calls` a draw.

        Raises:
            PluginError: `leak`, or what the method raises.
        """
        known = np.stack([frame.known(unit.mask, unit.seed) for frame in unit.frames])
        start = time.perf_counter()
        draws = unit.method.draw(unit.frames, known, unit.seed, unit.samples)
        seconds = (time.perf_counter() - start) / draws.items
        if leak and not unit.method.sees_truth:
            check_leak(unit, known, draws)
        return self.judged(unit, known, draws), {"seconds": seconds, "calls": draws.calls}

    def judged(self, unit: Unit, known: Bools, draws: Draws) -> dict[str, NDArray[Any]]:
        """Return the arrays of a unit whose draws are made."""
        truth = units(unit.frames)
        samples = np.where(known, truth, draws.samples)
        segments = self._segments(samples)
        own = self._true_segments(unit.frames)
        rows = []
        for i, frame in enumerate(unit.frames):
            label = frame.label
            parts = (None if own is None else own[i], None if segments is None else segments[:, i])
            rows.append(measure(Sampled(truth[i], known[i], draws.samples[:, i], frame.spacing, label, *parts)))
        names = list(rows[0])
        arrays = {
            "names": np.array(names),
            "metrics": np.array([[row[name] for name in names] for row in rows]),
            "known_sha1": np.array([sha1(np.packbits(k).tobytes()).hexdigest()[:16] for k in known]),
            "hidden": 1 - known.mean((1, 2)),
            "low": samples.min((0, 2, 3)),
            "high": samples.max((0, 2, 3)),
            "exact": (~known | (samples == truth)).all((0, 2, 3)),
        }
        return (
            arrays
            | _places(unit.frames)
            | self._features(samples)
            | self._pictures(unit, known, samples)
            | _whole(unit, known, samples)
        )

    def _true_segments(self, frames: Sequence[Frame]) -> NDArray[np.uint8] | None:
        """Return the labels (n, h, w) of real frames, each segmented once: every method and mask asks for them."""
        if self.segmenter is None:
            return None
        new = [frame for frame in frames if frame.id not in self._known_segments]
        if new:
            labels = self.segmenter.segment(units(new), clean=False)
            self._known_segments |= {frame.id: own for frame, own in zip(new, labels, strict=True)}
        return np.stack([self._known_segments[frame.id] for frame in frames])

    def _segments(self, samples: Floats) -> NDArray[np.uint8] | None:
        """Return labels (k, n, h, w)."""
        if self.segmenter is None:
            return None
        flat = samples.reshape(-1, *samples.shape[2:])
        return np.asarray(self.segmenter.segment(flat, clean=False)).reshape(samples.shape)

    def _features(self, samples: Floats) -> dict[str, NDArray[Any]]:
        """Return features (n, k, d) of the samples, and (n, d) of the averages of the first 2, 4, ... of them."""
        averages = {f"-mean-{m}": samples[:m].mean(0, keepdims=True) for m in AVERAGES if m <= len(samples)}
        found = {}
        for name, extract in self.extractors.items():
            for suffix, stack in ({"": samples} | averages).items():
                features = np.asarray(extract(stack.reshape(-1, *stack.shape[2:])), dtype=np.float32)
                found[f"features-{name}{suffix}"] = features.reshape(*stack.shape[:2], -1).swapaxes(0, 1)
        return found

    def _pictures(self, unit: Unit, known: Bools, samples: Floats) -> dict[str, NDArray[Any]]:
        """Return pictures (p, 6, h, w) uint8 and the rows (p,) that they belong to."""
        rows = [i for i, frame in enumerate(unit.frames) if frame.id in self.shown]
        spread = samples.std(0, ddof=1) if len(samples) > 1 else np.zeros_like(samples[0])
        truth = units(unit.frames)
        layers = (truth, known, samples[0], samples[-1], samples.mean(0), spread * SPREAD)
        pictures = np.stack([layer[rows] for layer in layers], axis=1)
        return {"pictures": _bytes(pictures), "picture_rows": np.array(rows, dtype=np.int64)}


def _whole(unit: Unit, known: Bools, samples: Floats) -> dict[str, NDArray[Any]]:
    """Return the first sample of each frame (n, h, w) uint8 where nothing was known, and of real frames."""
    return {"images": _bytes(samples[0])} if unit.method.kind == "real" or not known.any() else {}


def check_leak(unit: Unit, known: Bools, draws: Draws) -> None:
    """Draw the first sample of the first frame again with its hidden pixels changed, and compare to the bit.

    Args:
        unit: What was drawn.
        known: (n, h, w) what was known.
        draws: What came of it.

    Raises:
        PluginError: `leak`.
    """
    changed = _changed(unit.frames[0], known[0])
    again = unit.method.draw([changed], known[:1], unit.seed, 1).samples
    if not np.array_equal(again[0, 0], draws.samples[0, 0]):
        what = "its result depends on hidden pixels"
        raise PluginError("leak", unit.method.name, what, hint="report it to its authors")


def _changed(frame: Frame, known: Bools) -> Frame:
    """Return a frame whose hidden pixels are others, and all else is the same."""
    noise = np.random.default_rng(0).uniform(-1, 1, frame.x.shape).astype(np.float32)
    return dataclasses.replace(frame, x=np.where(known, frame.x, noise))


def _places(frames: Sequence[Frame]) -> dict[str, NDArray[Any]]:
    """Return where each row is from."""
    return {
        "frame": np.array([frame.id for frame in frames]),
        "subject": np.array([frame.subject for frame in frames]),
        "scan": np.array([frame.scan for frame in frames]),
        "role": np.array([frame.role for frame in frames]),
        "t": np.array([frame.t for frame in frames]),
        "z": np.array([frame.z for frame in frames]),
        "spacing": np.array([frame.spacing for frame in frames]),
        "step": np.array([frame.step for frame in frames]),
    }


def _bytes(x: Floats) -> NDArray[np.uint8]:
    return np.clip(np.round(x * 255), 0, 255).astype(np.uint8)
