"""Extractors: from images to features. Each image by itself, bits that no other image moves, nothing is downloaded.

Three of frames need no file and are the default, with one of the differences between frames. Others are networks of
ImageNet or radiology whose weights the user has: `dinov2=FILE`, `resnet50=FILE`, `inception=FILE`. Features are raw
here; `sets.Space` brings them to one unit.

They see different things: the segmenter does not mind noise, radiomics do not know where things are, a random network
knows no anatomy. So no conclusion rests on one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmrgz.errors import DataError, UsageError, did_you_mean

__all__ = ["DEFAULT", "EXTRACTORS", "LOCAL", "MOTION", "Extractor", "open_extractor"]

Images = NDArray[np.floating[Any]]
Features = NDArray[np.float32]
MOTION = "motion"
SMALLEST = 32  # pixels each way that every extractor needs


@dataclass(frozen=True)
class Extractor:
    """A function from images to features, and what identifies it.

    Attributes:
        name: For example `radiomics`.
        identity: The sha256 of its weights, or its version: results of two identities do not compare.
        of: From (n, h, w) in [0, 1] to (n, d).
        on: What its images are: frames, or half the difference to the frame before, about 0.5.
    """

    name: str
    identity: str
    of: Callable[[Images], Features]
    on: Literal["frames", "motion"] = "frames"

    def __call__(self, images: Images) -> Features:
        """Return the features (n, d) float32 of images (n, h, w) in [0, 1], at least 32 pixels each way.

        Raises:
            DataError: `shape-mismatch`, `nonfinite` or `range`.
        """
        if images.ndim != 3 or not len(images) or min(images.shape[1:]) < SMALLEST:
            facts = f"got {images.shape}"
            raise DataError("shape-mismatch", self.name, f"expected (n, h, w) of {SMALLEST} pixels or more", facts)
        if not np.isfinite(images).all():
            raise DataError("nonfinite", self.name, "an image has a value that is NaN or infinite")
        # a picture of bytes would be far from all reals and score as a very bad model
        if images.min() < 0 or images.max() > 1:
            facts = f"from {images.min():.3g} to {images.max():.3g}"
            raise DataError("range", self.name, "images must be in [0, 1]", facts)
        return self.of(images)


def open_extractor(text: str, device: str = "cpu") -> Extractor:
    """Return an extractor by its name, or `name=FILE` for one of a local weights file.

    Args:
        text: The name.
        device: Where its network runs; what has none is computed on the CPU.

    Raises:
        UsageError: `unknown-extractor`, or `missing-value` for a name that needs a file and has none.
        CheckpointError: The file is missing, damaged, not safetensors, or holds other weights.
    """
    name, equals, path = text.partition("=")
    if name in LOCAL:
        if not path:
            what = f"'{name}' needs a safetensors file of its weights, nothing is downloaded"
            raise UsageError("missing-value", "extractor", what, hint=f"write {name}=FILE")
        from cmrgz.evaluation.extractors.local import load

        features, sha256 = load(name, Path(path), device)
        return Extractor(name, sha256, features)
    if name not in EXTRACTORS or equals:
        hint = did_you_mean(name, [*EXTRACTORS, *(f"{local}=FILE" for local in LOCAL)])
        raise UsageError("unknown-extractor", "extractor", f"there is no '{text}'", hint=hint)
    return EXTRACTORS[name](device)


def _radiomics(_: str) -> Extractor:
    from cmrgz.evaluation.extractors.radiomics import VERSION, radiomics

    return Extractor("radiomics", VERSION, radiomics)


def _random(device: str, name: str = "random", on: Literal["frames", "motion"] = "frames") -> Extractor:
    from cmrgz.evaluation.extractors.random_network import RandomNetwork

    network = RandomNetwork().to(device)
    return Extractor(name, network.sha256, network.features, on)


def _segmenter(device: str) -> Extractor:
    from cmrgz.anatomy.segmenter import Segmenter

    segmenter = Segmenter.open(device=device)
    return Extractor("segmenter", segmenter.sha256, segmenter.features)


EXTRACTORS: dict[str, Callable[[str], Extractor]] = {
    "segmenter": _segmenter,
    "radiomics": _radiomics,
    "random": _random,
    MOTION: partial(_random, name=MOTION, on="motion"),  # it needs no motion that it was trained on
}
"""Those that need no file, by name, made for a device; torch is imported when one that needs it is opened."""

LOCAL = ("dinov2", "resnet50", "inception")
"""Those of a local weights file."""

DEFAULT = ("segmenter", "radiomics", "random", MOTION)
"""A ranking of looks counts only if two of the three of frames agree."""
