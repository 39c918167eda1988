"""inpaint and generate: the only callers of `Model.sample`.

The two invariants are kept here. Hidden values never reach a model: they are replaced before anything is computed
from a scan. Known voxels never change: they are pasted back into the result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrgz.data.intensity import Scale
from cmrgz.data.orientation import Orientation
from cmrgz.data.scan import Scan
from cmrgz.data.window import Window, heart_centre
from cmrgz.errors import DataError, PluginError
from cmrgz.model import Model
from cmrgz.rng import Key, Streams

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Report = Callable[[int, int], None]
"""Called with (done, total) items; may raise to cancel."""

COMPUTE_BATCH = {"cpu": 16, "cuda": 128}
"""Items per model call by device type. A call always sees this many (short ones are padded), so that an item's bits do
not depend on how many others there are."""
SLICE_STEP = 10.0
"""mm between the slices of a generated scan."""
EDGE = 8
"""Planes are padded to multiples of this before they are turned, so that patches stay whole."""


@dataclass(frozen=True)
class Setting:
    """How to draw.

    Attributes:
        seed: What is drawn is a function of it and of the place in the scan alone.
        samples: Draws from p(x | known).
        options: Keywords of the model's `sample`.
        condition: Values that replace those that a scan has, by name.
        item: Shape (h, w) of the model's items.
        spacing: Pixel size in mm that the model was trained on.
        batch_size: Items in flight; None picks what suits the device. Does not change the result.
    """

    seed: int = 0
    samples: int = 1
    options: Mapping[str, Any] | None = None
    condition: Mapping[str, float] | None = None
    item: tuple[int, int] = (128, 128)
    spacing: float = 1.4
    batch_size: int | None = None


@dataclass(frozen=True)
class Drawn:
    """What was drawn: `samples` (k, t, z, y, x) float32 in the scan's intensities, known voxels as given."""

    samples: Floats
    items: int
    network_calls: int

    @property
    def mean(self) -> Floats:
        """The posterior mean (t, z, y, x), as far as k samples tell."""
        return self.samples.mean(0)

    @property
    def std(self) -> Floats:
        """The posterior standard deviation (t, z, y, x); 0 at known voxels and for one sample."""
        return self.samples.std(0, ddof=1) if len(self.samples) > 1 else np.zeros_like(self.samples[0])


def inpaint(model: Model, scan: Scan, known: Bools, setting: Setting, report: Report | None = None) -> Drawn:
    """Draw the hidden part of a scan given the known part.

    Args:
        model: On the device to compute on.
        scan: The scan; voxels outside of `known` are not used, be they NaN.
        known: (t, z, y, x) bool, True = given. All False generates.
        setting: How to draw.
        report: Told the items done.

    Raises:
        DataError: `shape-mismatch`.
        PluginError: `plugin-output` for a result of wrong shape or type, or that is not finite.
    """
    if known.shape != scan.shape or known.dtype != np.bool_:
        raise DataError("shape-mismatch", "known", "must be bool of the scan's shape", f"{known.shape}, {scan.shape}")
    voxels = np.where(known, scan.voxels, np.float32(0))
    scale = Scale.fit(voxels, known)
    plan = _Plan.of(scan, voxels, known, setting)
    x, seen = plan.to_model(scale.to_unit(voxels), known)
    calls = _CallCounter(model)
    with calls:
        x, items = _fill(model, plan, x, seen, setting, report)
    samples = np.stack([scale.from_unit(plan.to_scan(part)) for part in x])
    return Drawn(np.where(known, voxels, samples), items, calls.count)


def generate(
    model: Model, shape: Sequence[int], setting: Setting, frame_time: float = 0.04, report: Report | None = None
) -> tuple[Scan, Drawn]:
    """Draw a scan of shape (t, z, y, x) given nothing: `inpaint` with nothing known.

    Returns:
        An empty scan that carries the geometry, and what was drawn for it.
    """
    t, z, y, x = shape
    scan = Scan.blank((t, z, y, x), (SLICE_STEP, setting.spacing, setting.spacing), frame_time)
    return scan, inpaint(model, scan, np.zeros(scan.shape, dtype=bool), setting, report)


@dataclass(frozen=True)
class _Plan:
    """How the frames of a scan become items: padded, turned to the reader's view, windowed and tiled."""

    shape: tuple[int, ...]
    padded: tuple[int, int]
    orientation: Orientation
    window: Window
    phases: NDArray[Any]
    slices: NDArray[Any]

    @classmethod
    def of(cls, scan: Scan, voxels: Floats, known: Bools, setting: Setting) -> "_Plan":
        t, z, h, w = scan.shape
        padded = (-(-h // EDGE) * EDGE, -(-w // EDGE) * EDGE)
        turn = Orientation.of_geometry(scan.geometry)
        _, dy, dx = scan.spacing
        window = Window.plan(
            padded[::-1] if turn.swap else padded,
            (dx, dy) if turn.swap else (dy, dx),
            setting.item,
            setting.spacing,
            turn.point(heart_centre(voxels, known), padded),
            EDGE,
        )
        return cls(scan.shape, padded, turn, window, scan.phases, scan.slice_positions)

    def to_model(self, unit: Floats, known: Bools) -> tuple[Floats, Bools]:
        """Return the frames (t * z, h', w') in the model's plane and which pixels are known."""
        margin = [(0, 0), (0, 0), *((0, p - n) for p, n in zip(self.padded, self.shape[2:], strict=True))]
        x = self.orientation.apply(np.pad(unit, margin))
        seen = self.orientation.apply(np.pad(known, margin))
        return self.window.to_model(x.reshape(-1, *x.shape[2:]), seen.reshape(-1, *seen.shape[2:]))

    def to_scan(self, frames: Floats) -> Floats:
        """Return frames (t * z, h', w') on the scan's grid (t, z, y, x)."""
        planes = self.orientation.undo(self.window.to_native(frames))
        return planes[:, : self.shape[2], : self.shape[3]].reshape(self.shape)

    def place(self, frame: int) -> tuple[int, int]:
        """Return (t, z) of a frame."""
        return divmod(frame, self.shape[1])

    def condition(self, frames: Sequence[int], tile: tuple[int, int], given: Mapping[str, float]) -> dict[str, Tensor]:
        """Return what is known of the items of a tile beside their pixels, one tensor (b,) a name."""
        row, column = self.window.offset(tile)
        places = [self.place(frame) for frame in frames]
        values: dict[str, list[float]] = {
            "phase": [float(self.phases[t]) for t, _ in places],
            "slice": [float(self.slices[z]) for _, z in places],
            "row": [row] * len(places),
            "column": [column] * len(places),
        }
        values |= {name: [value] * len(places) for name, value in given.items()}
        return {name: torch.tensor(value) for name, value in values.items()}


def _fill(
    model: Model, plan: _Plan, x: Floats, known: Bools, setting: Setting, report: Report | None
) -> tuple[Floats, int]:
    """Draw all hidden pixels of frames (n, h', w'), tile after tile, each given what earlier ones drew.

    Returns:
        The frames of every sample (k, n, h', w'), and the number of items drawn.
    """
    result = np.repeat(x[None], setting.samples, axis=0)
    known = known.copy()
    jobs = list(_jobs(plan, known, setting.samples))
    total, done = sum(len(items) for _, items in jobs), 0
    h, w = plan.window.item
    for tile, items in jobs:
        area = (slice(tile[0], tile[0] + h), slice(tile[1], tile[1] + w))
        for start in range(0, len(items), _batch(model, setting)):
            part = items[start : start + _batch(model, setting)]
            given = np.stack([result[k, frame][area] for k, frame in part])
            seen = np.stack([known[frame][area] for _, frame in part])
            drawn = _call(model, plan, tile, part, given, seen, setting)
            for (k, frame), values, mask in zip(part, drawn, seen, strict=True):
                result[k, frame][area] = np.where(mask, result[k, frame][area], values)
            done += len(part)
            if report is not None:
                report(done, total)
        known[:, area[0], area[1]] = True
    return result, total


def _jobs(plan: _Plan, known: Bools, samples: int) -> list[tuple[tuple[int, int], list[tuple[int, int]]]]:
    """Return the items (sample, frame) that each tile has to draw: those with a pixel hidden when its turn comes."""
    known, (h, w), jobs = known.copy(), plan.window.item, []
    for tile in plan.window.tiles:
        area = known[:, tile[0] : tile[0] + h, tile[1] : tile[1] + w]
        frames = np.flatnonzero(~area.all(axis=(1, 2)))
        jobs.append((tile, [(k, int(frame)) for k in range(samples) for frame in frames]))
        area[:] = True
    return jobs


def _device(model: Model) -> torch.device:
    return next(model.parameters()).device


def _batch(model: Model, setting: Setting) -> int:
    compute = COMPUTE_BATCH.get(_device(model).type, 16)
    return min(setting.batch_size or compute, compute)


def _call(
    model: Model,
    plan: _Plan,
    tile: tuple[int, int],
    part: Sequence[tuple[int, int]],
    given: Floats,
    seen: Bools,
    setting: Setting,
) -> Floats:
    """Draw the items of one model call, padded to the compute batch by repeating the last."""
    size = COMPUTE_BATCH.get(_device(model).type, 16)
    index = np.minimum(np.arange(size), len(part) - 1)
    padded = [part[i] for i in index]
    keys: list[Key] = [(k, *plan.place(frame), *tile) for k, frame in padded]
    device = _device(model)
    x = torch.from_numpy(np.where(seen, given, np.float32(0))[index, None]).to(device)
    known = torch.from_numpy(seen[index, None]).to(device)
    condition = plan.condition([frame for _, frame in padded], tile, setting.condition or {})
    condition = {name: value.to(device) for name, value in condition.items()}
    rng = Streams(setting.seed, keys)
    with torch.inference_mode():
        drawn = model.sample(x, known, condition=condition, rng=rng, **(setting.options or {}))
    return _checked(drawn, x)[: len(part), 0]


def _checked(drawn: Tensor, x: Tensor) -> Floats:
    """Return a model's result as an array, clipped to [-1, 1].

    Raises:
        PluginError: `plugin-output`.
    """
    if drawn.shape != x.shape or not drawn.is_floating_point():
        facts = f"{tuple(drawn.shape)} {drawn.dtype}, expected {tuple(x.shape)} float32"
        raise PluginError("plugin-output", "model", "sample returned a wrong shape or type", facts)
    if not bool(drawn.isfinite().all()):
        raise PluginError("plugin-output", "model", "sample returned values that are not finite")
    return drawn.float().clamp(-1, 1).cpu().numpy()


class _CallCounter:
    """Counts the calls of a model's network (its attribute `network`, or else the model's own children) by a hook."""

    def __init__(self, model: Model) -> None:
        network = getattr(model, "network", None)
        self.count, self._modules = 0, [network] if isinstance(network, torch.nn.Module) else list(model.children())
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def _hook(self, *_: object) -> None:
        self.count += 1

    def __enter__(self) -> None:
        self._hooks = [module.register_forward_pre_hook(self._hook) for module in self._modules]

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
