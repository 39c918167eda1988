"""What models are compared with: baselines, bounds, controls, and the real frames themselves."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cmrgz.evaluation import fills
from cmrgz.evaluation.baselines import FILLS, RETRIEVALS
from cmrgz.evaluation.competitors import Bools, Draws, Floats, Kind, Method, ModelMethod, by_crop, own
from cmrgz.evaluation.crops import Crop, in_unit
from cmrgz.evaluation.frames import Frame, digest, intensities, stacked
from cmrgz.evaluation.gaussian import LEAST, Gaussian

BLUR = 2.0
"""Pixels by which the truth is blurred to look worse than it errs."""

Rule = Callable[[Sequence[Frame], Bools], Floats]
"""From frames and what is known of them (n, h, w) to what stands in their place, (n, h, w) in [0, 1]."""


class Reference(Method):
    """What gives each frame one result, by a rule without chance."""

    def __init__(
        self, name: str, kind: Kind, fingerprint: Mapping[str, Any], rule: Rule, sees_truth: bool = False
    ) -> None:
        self.kind, self.sees_truth, self.rule = kind, sees_truth, rule
        super().__init__(name, fingerprint)

    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Apply the rule."""
        # Linear models overshoot; what leaves the range would be scored for what no picture can show.
        found = np.clip(self.rule(frames, own(frames, known)), 0, 1)
        return Draws.of(frames, found[None].astype(np.float32), items=len(frames))


def filled(name: str, fill: Callable[[Floats, Bools], Floats], bank: str = "") -> Reference:
    """Return a fill from the known pixels of the frame, and perhaps from training frames, whose hash is `bank`."""
    fingerprint = {"baseline": name, "bank": bank}
    return Reference(name, "baseline", fingerprint, lambda f, seen: fill(np.where(seen, intensities(f), 0), seen))


def real(name: str) -> Reference:
    """Return the frames themselves: what generated ones are compared with, and how reals compare with reals."""
    return Reference(name, "real", {}, lambda frames, _: intensities(frames), sees_truth=True)


def temporal_copy(frames: Sequence[Frame], _: Bools) -> Floats:
    """Return the same slice one phase earlier: what a neighbour in time is worth. It is given more than the others.

    A frame without an earlier one is all grey.
    """
    return np.stack([np.zeros_like(f.x) if f.before is None else f.before for f in frames]) / 2 + 0.5


def blurred_truth(frames: Sequence[Frame], _: Bools) -> Floats:
    """Return the truth, blurred: near in error, far in looks. A measure of looks must say so."""
    return np.asarray(gaussian_filter(intensities(frames), BLUR, axes=(1, 2)))


def other_patient(bank: NDArray[Any], key: str) -> Reference:
    """Return training frames (m, h, w) of other patients: good looks, great error. A measure of error must say so."""

    def rule(frames: Sequence[Frame], _: Bools) -> Floats:
        # By the frame's name alone, so that its result is the same whatever it is drawn with.
        return np.asarray(bank[[int(frame.id, 16) % len(bank) for frame in frames]])

    return Reference("control: other patient", "control", {"control": "pasted", "bank": key}, rule)


class RoundTrip(Method):
    """The tokenizer's reconstruction of the truth: what no model on it can pass."""

    kind = "bound"
    sees_truth = True

    def __init__(self, chosen: Any) -> None:
        link = chosen.meta.tokenizer
        super().__init__(f"round-trip {link.name}", {"tokenizer": link.sha256, "version": link.version})
        self.chosen = chosen

    @cached_property
    def loaded(self) -> Any:
        """The tokenizer."""
        return self.chosen.open().tokenizer

    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Encode and decode the whole frames."""
        import torch

        from cmrgz.sending import device_of

        device = device_of(self.loaded)
        with torch.inference_mode():
            # One by one: the bits of a frame must not depend on how many come together.
            parts = [self.loaded.reconstruct(torch.from_numpy(x[None, None]).to(device)) for x in stacked(frames)]
            y = torch.cat(parts).clamp(-1, 1).cpu().numpy()
        return Draws.of(frames, in_unit(y.transpose(1, 0, 2, 3)), items=len(frames))


class CropFill(Method):
    """A fill from the known voxels of the crop, its other phases and slices among them."""

    kind = "baseline"

    def __init__(self, name: str, fill: Callable[[Crop, NDArray[np.float32], Bools], NDArray[np.float32]]) -> None:
        super().__init__(name, {"baseline": name})
        self.fill = fill

    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Fill the crops of the frames."""

        def filled(crop: Crop, seen: Bools) -> NDArray[np.float32]:
            return self.fill(crop, np.where(seen, crop.unit, np.float32(0)), seen).clip(0, 1)[None]

        planes = by_crop(frames, known, filled)
        return Draws(planes, items=len({frame.crop.id for frame in frames}), pasted=True)


class GaussianSample(Method):
    """Draws from the conditional normal distribution of `Gaussian`."""

    kind = "baseline"
    random: ClassVar[bool] = True

    def __init__(self, gaussian: Gaussian, bank: str) -> None:
        super().__init__("gaussian-sample", {"baseline": "gaussian-sample", "bank": bank})
        self.gaussian = gaussian

    def draw(self, frames: Sequence[Frame], known: Sequence[Bools], seed: int, samples: int) -> Draws:
        """Draw samples."""
        seen = own(frames, known)
        given = np.where(seen, intensities(frames), 0)
        drawn = self.gaussian.samples(given, seen, [frame.id for frame in frames], samples, seed)
        return Draws.of(frames, np.clip(drawn, 0, 1).astype(np.float32), items=samples * len(frames))


def context_fills(frames: Sequence[Frame]) -> list[Method]:
    """Return the fills from neighbours in time and through the plane, where crops have some."""
    lengths = [max(frame.crop.shape[axis] for frame in frames) for axis in (0, 1)] if frames else [1, 1]
    return [CropFill(name, fill) for name, (fill, axes) in fills.FILLS.items() if max(lengths[a] for a in axes) > 1]


def references(models: Sequence[ModelMethod], bank: Sequence[Frame]) -> list[Method]:
    """Return baselines, bounds and controls; what needs training frames is left out without them."""
    found: list[Method] = [filled(name, fill) for name, fill in FILLS.items()]
    if bank:
        found += _learned(intensities(bank), digest([frame.id for frame in bank]))
    trips: dict[str, Method] = {}  # models that share a tokenizer share its round trip
    for method in models:
        if (link := method.chosen.meta.tokenizer) is not None:
            trips.setdefault(link.sha256, RoundTrip(method.chosen))
    copy = Reference("temporal-copy", "bound", {"bound": "temporal-copy"}, temporal_copy)
    # Controls, not baselines: they see what is hidden, and tables say so.
    told = {"control": "blurred", "sigma": BLUR}
    blurred = Reference("control: blurred truth", "control", told, blurred_truth, sees_truth=True)
    return [*found, copy, *trips.values(), blurred]


def _learned(frames: NDArray[Any], key: str) -> list[Method]:
    """Return the baselines that learn from training frames (m, h, w) in [0, 1]."""
    found: list[Method] = [filled(name, partial(fill, bank=frames), key) for name, fill in RETRIEVALS.items()]
    if len(frames) >= LEAST:
        gaussian = Gaussian(frames)
        found += [filled("gaussian-mean", gaussian.posterior_mean, key), GaussianSample(gaussian, key)]
    return [*found, other_patient(frames, key)]
