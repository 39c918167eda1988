"""What is compared: models, baselines, bounds and controls, behind one method `draw`.

A method is given frames of which it may look at the known pixels only; bounds and controls alone see the truth, and are
marked as such in every table.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cmrgz.evaluation.frames import Frame, digest, stacked, units

Kind = Literal["model", "baseline", "bound", "control", "real", "probe"]
Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Draws:
    """What a method drew.

    Attributes:
        samples: (k, n, h, w) in [0, 1], as drawn: known pixels are not pasted. k is 1 for what has no chance in it.
        calls: Network calls a draw.
        items: Items drawn, for the time a draw.
    """

    samples: NDArray[np.float32]
    calls: float = 0.0
    items: int = 1


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

    kind: ClassVar[Kind]
    family: str
    tokenizer: str = ""
    trained_on: frozenset[str] | None = frozenset()
    sees_truth: ClassVar[bool] = False
    random: ClassVar[bool] = False

    def __init__(self, name: str, fingerprint: Mapping[str, Any]) -> None:
        self.name, self.fingerprint = name, {"name": name, **fingerprint}
        self.family = self.kind

    @cached_property
    def key(self) -> str:
        """Hash of the fingerprint."""
        return digest(self.fingerprint)

    @abstractmethod
    def draw(self, frames: Sequence[Frame], known: Bools, seed: int, samples: int) -> Draws:
        """Draw the hidden pixels of frames given the known ones (n, h, w)."""

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Let go of what is held in memory."""


class ModelMethod(Method):
    """A model with its sampling options; its weights are loaded when they are first needed."""

    kind: ClassVar[Kind] = "model"
    random: ClassVar[bool] = True

    def __init__(self, name: str, chosen: Any) -> None:
        meta = chosen.meta
        super().__init__(
            name,
            {
                "model": meta.name,
                "distribution": meta.distribution,
                "version": meta.version,
                "weights": meta.sha256,
                "tokenizer": meta.tokenizer.sha256 if meta.tokenizer else None,
                "options": dict(chosen.options),
            },
        )
        self.chosen = chosen
        self._model: Any = None
        self.family, self.tokenizer = _family(meta.qualified), meta.tokenizer.name if meta.tokenizer else ""
        told = meta.training.get("trained_on")
        self.trained_on = None if told is None else frozenset(told)

    @property
    def model(self) -> Any:
        """The model, loaded."""
        if self._model is None:
            self._model = self.chosen.open()
        return self._model

    def draw(self, frames: Sequence[Frame], known: Bools, seed: int, samples: int) -> Draws:
        """Draw samples; the stream of each is keyed by (seed, sample, frame)."""
        from cmrgz.calls import CallCounter, Caller
        from cmrgz.evaluation.shown import items_of

        caller = Caller(self.model, self.chosen.setting(seed, samples))
        with CallCounter(self.model) as calls:
            drawn = caller.draw_all(items_of(frames, known, samples, self.model.extent.axes))
        batches = math.ceil(samples * len(frames) / caller.size)
        result = drawn.reshape(samples, *known.shape)
        return Draws(_in_unit(result), calls.count / batches, samples * len(frames))

    def close(self) -> None:
        """Let go of the model."""
        self._model = None


class Probe(Method):
    """A model on training frames: it fills them no better than others, unless it remembers them."""

    kind: ClassVar[Kind] = "probe"
    random: ClassVar[bool] = True
    SUFFIX = ", training frames"

    def __init__(self, method: ModelMethod) -> None:
        super().__init__(method.name + self.SUFFIX, method.fingerprint)
        self.fingerprint["name"], self.method, self.family = self.name, method, method.family

    def draw(self, frames: Sequence[Frame], known: Bools, seed: int, samples: int) -> Draws:
        """Draw as the model does."""
        return self.method.draw(frames, known, seed, samples)

    def close(self) -> None:
        """Let go of the model."""
        self.method.close()


def _family(name: str) -> str:
    from cmrgz import registry

    return registry.get_model(name).family


class RoundTrip(Method):
    """The tokenizer's reconstruction of the truth: what no model on it can pass."""

    kind: ClassVar[Kind] = "bound"
    sees_truth: ClassVar[bool] = True

    def __init__(self, chosen: Any) -> None:
        link = chosen.meta.tokenizer
        super().__init__(f"round-trip {link.name}", {"tokenizer": link.sha256, "version": link.version})
        self.chosen = chosen
        self._tokenizer: Any = None

    def draw(self, frames: Sequence[Frame], known: Bools, seed: int, samples: int) -> Draws:
        """Encode and decode the whole frames."""
        import torch

        if self._tokenizer is None:
            self._tokenizer = self.chosen.open().tokenizer
        device = next((p.device for p in self._tokenizer.parameters()), torch.device("cpu"))
        with torch.inference_mode():
            parts = [self._tokenizer.reconstruct(torch.from_numpy(x[None, None]).to(device)) for x in stacked(frames)]
            y = torch.cat(parts).clamp(-1, 1).cpu().numpy()
        return Draws(_in_unit(y.transpose(1, 0, 2, 3)), items=len(frames))

    def close(self) -> None:
        """Let go of the tokenizer."""
        self._tokenizer = None


class Fill(Method):
    """A fill from the known pixels of the frame, and perhaps from training frames."""

    kind: ClassVar[Kind] = "baseline"

    def __init__(self, name: str, fill: Callable[[Floats, Bools], Floats], bank: str = "") -> None:
        super().__init__(name, {"baseline": name, "bank": bank})
        self.fill = fill

    def draw(self, frames: Sequence[Frame], known: Bools, seed: int, samples: int) -> Draws:
        """Fill the frames."""
        given = np.where(known, units(frames), 0)
        return Draws(_one(self.fill(given, known)), items=len(frames))


class GaussianSample(Method):
    """Draws from the conditional normal distribution of `Gaussian`."""

    kind: ClassVar[Kind] = "baseline"
    random: ClassVar[bool] = True

    def __init__(self, gaussian: Any, bank: str) -> None:
        super().__init__("gaussian-sample", {"baseline": "gaussian-sample", "bank": bank})
        self.gaussian = gaussian

    def draw(self, frames: Sequence[Frame], known: Bools, seed: int, samples: int) -> Draws:
        """Draw samples."""
        given = np.where(known, units(frames), 0)
        drawn = self.gaussian.samples(given, known, [frame.id for frame in frames], samples, seed)
        return Draws(np.clip(drawn, 0, 1).astype(np.float32), items=samples * len(frames))


class Real(Method):
    """The frames themselves: what generated ones are compared with, and how reals compare with reals."""

    kind: ClassVar[Kind] = "real"
    sees_truth: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        super().__init__(name, {})

    def draw(self, frames: Sequence[Frame], known: Bools, seed: int, samples: int) -> Draws:
        """Return the frames."""
        return Draws(_one(units(frames)), items=len(frames))


class TemporalCopy(Method):
    """The same slice one phase earlier: what a neighbour in time is worth. It is given more than the others."""

    kind: ClassVar[Kind] = "bound"

    def __init__(self) -> None:
        super().__init__("temporal-copy", {"bound": "temporal-copy"})

    def draw(self, frames: Sequence[Frame], known: Bools, seed: int, samples: int) -> Draws:
        """Copy; a frame without an earlier one is all grey."""
        grey = np.zeros_like(frames[0].x)
        before = np.stack([grey if frame.before is None else frame.before for frame in frames])
        return Draws(_one((before + 1) / 2), items=len(frames))


class BlurredTruth(Method):
    """The truth, blurred: near in error, far in looks. A measure of looks must say so."""

    kind: ClassVar[Kind] = "control"
    sees_truth: ClassVar[bool] = True
    SIGMA = 2.0
    """Pixels."""

    def __init__(self) -> None:
        super().__init__("control: blurred truth", {"control": "blurred", "sigma": self.SIGMA})

    def draw(self, frames: Sequence[Frame], known: Bools, seed: int, samples: int) -> Draws:
        """Blur."""
        from scipy.ndimage import gaussian_filter

        return Draws(_one(gaussian_filter(units(frames), self.SIGMA, axes=(1, 2))), items=len(frames))


class OtherPatient(Method):
    """A training frame of another patient, pasted: good looks, great error. A measure of error must say so."""

    kind: ClassVar[Kind] = "control"

    def __init__(self, frames: NDArray[Any], bank: str) -> None:
        super().__init__("control: other patient", {"control": "pasted", "bank": bank})
        self.bank = frames

    def draw(self, frames: Sequence[Frame], known: Bools, seed: int, samples: int) -> Draws:
        """Paste a frame that depends on the frame's name alone."""
        index = [int(frame.id, 16) % len(self.bank) for frame in frames]
        return Draws(_one(self.bank[index]), items=len(frames))


def _in_unit(x: Floats) -> NDArray[np.float32]:
    """Return values in [0, 1] of values in [-1, 1]."""
    return np.asarray((x + 1) / 2, dtype=np.float32)


def _one(frames: Floats) -> NDArray[np.float32]:
    return np.clip(frames, 0, 1)[None].astype(np.float32)
