"""What is compared, behind one method `draw`: models here, baselines, bounds and controls in `references`.

A method is given frames, with the crops that they are of, of which it may look at the known pixels only;
bounds and controls alone see the truth, and are marked as such in every table.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cmrgz import registry
from cmrgz.evaluation.crops import Crop
from cmrgz.evaluation.frames import Frame, Key, digest

Kind = Literal["model", "baseline", "bound", "control", "real", "probe"]
Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Draws:
    """What a method drew.

    Attributes:
        planes: (k, h, w) in [0, 1] of each frame that was drawn, by crop, phase and slice; k is 1 for what has no
            chance in it. As drawn: known pixels are not pasted, unless `pasted` says so.
        calls: Network calls a draw.
        items: Items drawn, for the time a draw.
        pasted: Known pixels are as they were given, so that they tell nothing of the method.
        blocks: Of frames that a model of blocks drew, in which block, by the same keys.
    """

    planes: Mapping[Key, NDArray[np.float32]]
    calls: float = 0.0
    items: int = 1
    pasted: bool = False
    blocks: Mapping[Key, int] = field(default_factory=dict)

    @classmethod
    def of(cls, frames: Sequence[Frame], samples: NDArray[np.float32], calls: float = 0.0, items: int = 1) -> "Draws":
        """Return what was drawn of scored frames alone, (k, n, h, w)."""
        return cls({frame.key: samples[:, i] for i, frame in enumerate(frames)}, calls, items)

    def samples(self, frames: Sequence[Frame]) -> NDArray[np.float32]:
        """Return what was drawn of scored frames, (k, n, h, w)."""
        return np.stack([self.planes[frame.key] for frame in frames], axis=1)


def known_of(frames: Sequence[Frame], mask: str, seed: int) -> list[Bools]:
    """Return what is known of the crop (t, z, h, w) of each frame, one array for all frames of a crop."""
    crops = {frame.crop.id: frame.crop for frame in frames}
    known = {id_: crop.known(mask, seed) for id_, crop in crops.items()}
    return [known[frame.crop.id] for frame in frames]


def own(frames: Sequence[Frame], known: Sequence[Bools]) -> Bools:
    """Return what is known of the frames themselves, (n, h, w)."""
    return np.stack([seen[frame.place] for frame, seen in zip(frames, known, strict=True)])


class Method(ABC):
    """A method.

    Attributes:
        name: As it stands in tables.
        kind: What it is.
        family: `ar`, `ldm`, ... of a model; else its kind.
        tokenizer: Name of a model's tokenizer, or "".
        trained_on: Keyed hashes of the patients that it was trained on, or None where nothing tells.
        fingerprint: What its result depends on, beside frame, mask, seed and samples: part of a cell's address.
        sees_truth: Whether hidden pixels reach it, as they may those of a bound or a control.
        random: Whether it draws samples; else every draw is the same and one is made.
    """

    kind: Kind
    family: str
    tokenizer: str = ""
    trained_on: frozenset[str] | None = frozenset()
    sees_truth: bool = False
    random: ClassVar[bool] = False

    def __init__(self, name: str, fingerprint: Mapping[str, Any]) -> None:
        self.name, self.fingerprint = name, {"name": name, **fingerprint}
        self.family = self.kind

    @cached_property
    def key(self) -> str:
        """Hash of the fingerprint."""
        return digest(self.fingerprint)

    @abstractmethod
    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Draw the hidden pixels of frames given the known voxels (t, z, h, w) of the crop of each."""

    def close(self) -> None:
        """Let go of what is held in memory, which a method reads as `loaded` when it first needs it."""
        vars(self).pop("loaded", None)


class ModelMethod(Method):
    """A model with its sampling options; its weights are loaded when they are first needed."""

    kind: Kind = "model"
    random: ClassVar[bool] = True

    def __init__(self, name: str, chosen: Any) -> None:
        meta, link = chosen.meta, chosen.meta.tokenizer
        fingerprint = {
            "model": meta.name,
            "distribution": meta.package,
            "version": meta.version,
            # By content, not by path: a checkpoint that was trained on is another competitor.
            "weights": meta.sha256,
            "tokenizer": link.sha256 if link else None,
            "options": dict(chosen.options),
        }
        super().__init__(name, fingerprint)
        self.chosen = chosen
        self.family, self.tokenizer = registry.get_model(meta.qualified).family, link.name if link else ""
        # Older checkpoints do not say it: that is unknown, not nobody.
        told = meta.training.get("trained_on")
        self.trained_on = None if told is None else frozenset(told)

    @cached_property
    def loaded(self) -> Any:
        """The model."""
        return self.chosen.open()

    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Draw samples, as `drawing.draw` does."""
        from cmrgz.evaluation.drawing import draw  # torch, which a report is made without

        return draw(self.loaded, self.chosen.setting(seed, samples), frames, known)


class Probe(ModelMethod):
    """A model on training frames: it fills them no better than others, unless it remembers them."""

    kind = "probe"
    SUFFIX = ", training frames"

    def __init__(self, method: ModelMethod) -> None:
        # Another name, which is in the fingerprint: a frame that is in both sets must not be found under one address.
        super().__init__(method.name + self.SUFFIX, method.chosen)
        # Whom it was trained on is the question here, and no fault of the comparison.
        self.tokenizer, self.trained_on = "", frozenset()


def by_crop(
    frames: Sequence[Frame], known: Sequence[Bools], draw: Callable[[Crop, Bools], NDArray[np.float32]]
) -> dict[Key, NDArray[np.float32]]:
    """Return all frames (k, h, w) of the crops of some, each crop drawn once, (k, t, z, h, w)."""
    crops = {frame.crop.id: (frame.crop, seen) for frame, seen in zip(frames, known, strict=True)}
    drawn = {id_: draw(*part) for id_, part in crops.items()}
    return {(id_, t, z): of[:, t, z] for id_, of in drawn.items() for t, z in np.ndindex(of.shape[1:3])}
