"""What models are compared with: baselines, bounds, controls, and the real frames themselves."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cmrgz.evaluation.competitors import Bools, Draws, Floats, Kind, Method, in_unit, own, planes_of
from cmrgz.evaluation.crops import Crop
from cmrgz.evaluation.frames import Frame, Key, stacked, units


class RoundTrip(Method):
    """The tokenizer's reconstruction of the truth: what no model on it can pass."""

    kind: ClassVar[Kind] = "bound"
    sees_truth: ClassVar[bool] = True

    def __init__(self, chosen: Any) -> None:
        link = chosen.meta.tokenizer
        super().__init__(f"round-trip {link.name}", {"tokenizer": link.sha256, "version": link.version})
        self.chosen = chosen
        self._tokenizer: Any = None

    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Encode and decode the whole frames."""
        import torch

        if self._tokenizer is None:
            self._tokenizer = self.chosen.open().tokenizer
        device = next((p.device for p in self._tokenizer.parameters()), torch.device("cpu"))
        with torch.inference_mode():
            parts = [self._tokenizer.reconstruct(torch.from_numpy(x[None, None]).to(device)) for x in stacked(frames)]
            y = torch.cat(parts).clamp(-1, 1).cpu().numpy()
        return Draws.of(frames, in_unit(y.transpose(1, 0, 2, 3)), items=len(frames))

    def close(self) -> None:
        """Let go of the tokenizer."""
        self._tokenizer = None


class Fill(Method):
    """A fill from the known pixels of the frame, and perhaps from training frames."""

    kind: ClassVar[Kind] = "baseline"

    def __init__(self, name: str, fill: Callable[[Floats, Bools], Floats], bank: str = "") -> None:
        super().__init__(name, {"baseline": name, "bank": bank})
        self.fill = fill

    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Fill the frames."""
        seen = own(frames, known)
        return Draws.of(frames, _one(self.fill(np.where(seen, units(frames), 0), seen)), items=len(frames))


class CropFill(Method):
    """A fill from the known voxels of the crop, its other phases and slices among them."""

    kind: ClassVar[Kind] = "baseline"

    def __init__(self, name: str, fill: Callable[[Crop, NDArray[np.float32], Bools], NDArray[np.float32]]) -> None:
        super().__init__(name, {"baseline": name})
        self.fill = fill

    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Fill the crops of the frames."""
        crops = {frame.crop.id: (frame.crop, seen) for frame, seen in zip(frames, known, strict=True)}
        planes: dict[Key, NDArray[np.float32]] = {}
        for id_, (crop, seen) in crops.items():
            planes |= planes_of(id_, self.fill(crop, np.where(seen, crop.unit, np.float32(0)), seen).clip(0, 1)[None])
        return Draws(planes, items=len(crops), pasted=True)


class GaussianSample(Method):
    """Draws from the conditional normal distribution of `Gaussian`."""

    kind: ClassVar[Kind] = "baseline"
    random: ClassVar[bool] = True

    def __init__(self, gaussian: Any, bank: str) -> None:
        super().__init__("gaussian-sample", {"baseline": "gaussian-sample", "bank": bank})
        self.gaussian = gaussian

    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Draw samples."""
        seen = own(frames, known)
        given = np.where(seen, units(frames), 0)
        drawn = self.gaussian.samples(given, seen, [frame.id for frame in frames], samples, seed)
        return Draws.of(frames, np.clip(drawn, 0, 1).astype(np.float32), items=samples * len(frames))


class Real(Method):
    """The frames themselves: what generated ones are compared with, and how reals compare with reals."""

    kind: ClassVar[Kind] = "real"
    sees_truth: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        super().__init__(name, {})

    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Return the frames."""
        return Draws.of(frames, _one(units(frames)), items=len(frames))


class TemporalCopy(Method):
    """The same slice one phase earlier: what a neighbour in time is worth. It is given more than the others."""

    kind: ClassVar[Kind] = "bound"

    def __init__(self) -> None:
        super().__init__("temporal-copy", {"bound": "temporal-copy"})

    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Copy; a frame without an earlier one is all grey."""
        grey = np.zeros_like(frames[0].x)
        before = np.stack([grey if frame.before is None else frame.before for frame in frames])
        return Draws.of(frames, _one((before + 1) / 2), items=len(frames))


class BlurredTruth(Method):
    """The truth, blurred: near in error, far in looks. A measure of looks must say so."""

    kind: ClassVar[Kind] = "control"
    sees_truth: ClassVar[bool] = True
    SIGMA = 2.0
    """Pixels."""

    def __init__(self) -> None:
        super().__init__("control: blurred truth", {"control": "blurred", "sigma": self.SIGMA})

    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Blur."""
        from scipy.ndimage import gaussian_filter

        return Draws.of(frames, _one(gaussian_filter(units(frames), self.SIGMA, axes=(1, 2))), items=len(frames))


class OtherPatient(Method):
    """A training frame of another patient, pasted: good looks, great error. A measure of error must say so."""

    kind: ClassVar[Kind] = "control"

    def __init__(self, frames: NDArray[Any], bank: str) -> None:
        super().__init__("control: other patient", {"control": "pasted", "bank": bank})
        self.bank = frames

    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Paste a frame that depends on the frame's name alone."""
        index = [int(frame.id, 16) % len(self.bank) for frame in frames]
        return Draws.of(frames, _one(self.bank[index]), items=len(frames))


def _one(frames: Floats) -> NDArray[np.float32]:
    return np.clip(frames, 0, 1)[None].astype(np.float32)
