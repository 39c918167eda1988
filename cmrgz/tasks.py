"""inpaint and generate: the only callers of `Model.sample`.

The two invariants are kept here. Hidden values never reach a model: they are replaced before anything is computed
from a scan. Known voxels never change: they are pasted back into the result.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrgz.data.intensity import Scale
from cmrgz.data.scan import Scan
from cmrgz.errors import CmrgzError, DataError, PluginError, ResourceError, warn
from cmrgz.items import Bools, Floats, Plan, Tile
from cmrgz.model import Model
from cmrgz.rng import Key, Streams

Report = Callable[[int, int], None]
"""Called with (done, total) items; may raise to cancel."""

COMPUTE_BATCH = {"cpu": 16, "cuda": 128}
"""Items per model call by device type. A call always sees this many (short ones are padded), so that an item's bits do
not depend on how many others there are. Only where memory runs out are there fewer."""
SLICE_STEP = 10.0
"""mm between the slices of a generated scan."""


@dataclass(frozen=True)
class Setting:
    """How to draw.

    Attributes:
        seed: What is drawn is a function of it, of the sample's number and of the place in the scan alone.
        samples: Draws from p(x | known).
        options: Keywords of the model's `sample`.
        condition: Values that replace those that a scan has, by name.
        item: Shape (h, w) of the model's items.
        spacing: Pixel size in mm that the model was trained on.
        batch_size: Items in flight; None picks what suits the device. Does not change the result.
        first: Number of the first sample: samples 0 .. 4 are those of 0 .. 1 and of 2 .. 4.
    """

    seed: int = 0
    samples: int = 1
    options: Mapping[str, Any] | None = None
    condition: Mapping[str, float] | None = None
    item: tuple[int, int] = (128, 128)
    spacing: float = 1.4
    batch_size: int | None = None
    first: int = 0


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        samples: (k, t, z, y, x) float32 in the scan's intensities, known voxels as given.
        items: Items drawn.
        network_calls: Calls of the model's network, each on a batch of items.
        scale: The intensities that the model saw as -1 and 1.
        compute_batch: Items per model call.
    """

    samples: Floats
    items: int
    network_calls: int
    scale: Scale
    compute_batch: int

    @property
    def mean(self) -> Floats:
        """The posterior mean (t, z, y, x), as far as k samples tell; known voxels as given."""
        return np.stack([part[0] + (part - part[0]).mean(0) for part in self._frames()])

    @property
    def std(self) -> Floats:
        """The posterior standard deviation (t, z, y, x); 0 at known voxels and for one sample."""
        if len(self.samples) == 1:
            return np.zeros_like(self.samples[0])
        return np.stack([(part - part[0]).std(0, ddof=1) for part in self._frames()])

    def _frames(self) -> Iterator[Floats]:
        return (self.samples[:, t] for t in range(self.samples.shape[1]))


def inpaint(model: Model, scan: Scan, known: Bools, setting: Setting, report: Report | None = None) -> Drawn:
    """Draw the hidden part of a scan given the known part.

    Args:
        model: On the device to compute on.
        scan: The scan; voxels outside of `known` are not used, be they NaN.
        known: (t, z, y, x) bool, True = given. All False generates; all True calls no model.
        setting: How to draw.
        report: Told the items done.

    Raises:
        DataError: `shape-mismatch`.
        PluginError: `plugin-output` for a result of wrong shape or type, or that is not finite; `plugin-broken` where
            the model fails.
        ResourceError: `too-large`: the memory does not hold one item.
    """
    if known.shape != scan.shape or known.dtype != np.bool_:
        raise DataError("shape-mismatch", "known", "must be bool of the scan's shape", f"{known.shape}, {scan.shape}")
    voxels = np.where(known, scan.voxels, np.float32(0))
    scale = Scale.fit(voxels, known)
    plan = Plan.of(scan, voxels, known, setting.item, setting.spacing)
    caller = _Caller(model, plan, setting)
    with CallCounter(model) as calls:
        x, items = _fill(caller, *plan.to_model(scale.to_unit(voxels), known), report)
    samples = np.stack([scale.from_unit(plan.to_scan(part)) for part in x])
    return Drawn(np.where(known, voxels, samples), items, calls.count, scale, caller.size)


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


Item = tuple[int, int]
"""(sample, frame)."""


def _fill(caller: "_Caller", x: Floats, known: Bools, wanted: Bools, report: Report | None) -> tuple[Floats, int]:
    """Draw the wanted pixels of frames (n, h', w'), tile after tile, each given what earlier ones drew.

    Returns:
        The frames of every sample (k, n, h', w'), and the number of items drawn.
    """
    samples = caller.setting.samples
    result, known = np.repeat(x[None], samples, axis=0), known.copy()
    jobs = list(_jobs(caller.plan, known, wanted))
    total, done = samples * sum(len(frames) for _, frames in jobs), 0
    if report is not None and total:
        report(0, total)
    for tile, frames in jobs:
        rows, columns = caller.plan.area(tile)
        items = [(k, int(frame)) for k in range(samples) for frame in frames]
        while items:
            part, items = items[: caller.batch], items[caller.batch :]
            given = np.stack([result[k, frame, rows, columns] for k, frame in part])
            seen = np.stack([known[frame, rows, columns] for _, frame in part])
            drawn = caller.draw(tile, part, given, seen)
            for (k, frame), values in zip(part, np.where(seen, given, drawn), strict=True):
                result[k, frame, rows, columns] = values
            done += len(part)
            if report is not None:
                report(done, total)
        known[frames, rows, columns] = True
    return result, total


def _jobs(plan: Plan, known: Bools, wanted: Bools) -> Iterator[tuple[Tile, NDArray[np.int64]]]:
    """Yield the frames that each tile has to draw: those with a wanted pixel that no earlier tile draws.

    A frame takes its tiles where most is known first, so that a large hole is filled from its edge, in evidence, and
    not from its middle, in the void.
    """
    known, wanted = known.copy(), wanted.copy()
    while (rest := np.flatnonzero(wanted.any(axis=(1, 2)))).size:
        choice = np.array([_next_tile(plan, known[frame], wanted[frame]) for frame in rest])
        for number in np.unique(choice):
            tile, frames = plan.window.tiles[number], rest[choice == number]
            rows, columns = plan.area(tile)
            known[frames, rows, columns], wanted[frames, rows, columns] = True, False
            yield tile, frames


def _next_tile(plan: Plan, known: Bools, wanted: Bools) -> int:
    """Return the number of the tile with a wanted pixel that knows most, in quarters; of equal ones the first."""
    areas = [plan.area(tile) for tile in plan.window.tiles]
    shares = [int(4 * known[area].mean()) if wanted[area].any() else -1 for area in areas]
    return int(np.argmax(shares))


class _Caller:
    """Calls the model on batches of one fixed size.

    Attributes:
        size: Items per call; halved where the memory does not hold them.
    """

    def __init__(self, model: Model, plan: Plan, setting: Setting) -> None:
        self.model, self.plan, self.setting = model, plan, setting
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.size = COMPUTE_BATCH.get(self.device.type, COMPUTE_BATCH["cpu"])

    @property
    def batch(self) -> int:
        """Items in flight."""
        return min(self.setting.batch_size or self.size, self.size)

    def draw(self, tile: Tile, part: Sequence[Item], given: Floats, seen: Bools) -> Floats:
        """Draw items (n, h, w), in smaller calls where the memory asks for them."""
        try:
            return self._call(tile, part, given, seen)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            self._halve()
        cuts = [slice(i, i + self.size) for i in range(0, len(part), self.size)]
        return np.concatenate([self.draw(tile, part[cut], given[cut], seen[cut]) for cut in cuts])

    def _halve(self) -> None:
        if self.size == 1:
            hint = "use --device cpu" if self.device.type != "cpu" else "free some memory"
            raise ResourceError("too-large", "model", f"one item does not fit the memory of {self.device}", "", hint)
        self.size //= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        warn("memory", "model", f"out of memory on {self.device}", f"goes on with {self.size} items a call")

    def _call(self, tile: Tile, part: Sequence[Item], given: Floats, seen: Bools) -> Floats:
        """Draw the items of one model call, padded to its size by repeating the last."""
        index = np.minimum(np.arange(self.size), len(part) - 1)
        padded, first = [part[i] for i in index], self.setting.first
        keys: list[Key] = [(first + k, *self.plan.place(frame), *tile) for k, frame in padded]
        x = torch.from_numpy(np.where(seen, given, np.float32(0))[index, None]).to(self.device)
        known = torch.from_numpy(seen[index, None]).to(self.device)
        condition = self.plan.condition([frame for _, frame in padded], tile, self.setting.condition or {})
        condition = {name: value.to(self.device) for name, value in condition.items()}
        drawn = self._sample(x, known, condition, Streams(self.setting.seed, keys))
        return _checked(drawn, x)[: len(part), 0]

    def _sample(self, x: Tensor, known: Tensor, condition: Mapping[str, Tensor], rng: Streams) -> Any:
        """Call the model; what it raises is told as its fault."""
        try:
            with torch.inference_mode():
                return self.model.sample(x, known, condition=condition, rng=rng, **(self.setting.options or {}))
        except CmrgzError:
            raise
        except Exception as error:
            if _is_out_of_memory(error):
                raise
            raise PluginError("plugin-broken", "model", f"sample failed: {type(error).__name__}: {error}") from error


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the host is out of memory; on the CPU torch says so in words alone."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _checked(drawn: object, x: Tensor) -> Floats:
    """Return a model's result as an array, clipped to [-1, 1].

    Raises:
        PluginError: `plugin-output`.
    """
    if not isinstance(drawn, Tensor):
        raise PluginError("plugin-output", "model", f"sample returned no tensor but {type(drawn).__name__}")
    if drawn.shape != x.shape or not drawn.is_floating_point():
        facts = f"{tuple(drawn.shape)} {drawn.dtype}, expected {tuple(x.shape)} float32"
        raise PluginError("plugin-output", "model", "sample returned a wrong shape or type", facts)
    if not bool(drawn.isfinite().all()):
        raise PluginError("plugin-output", "model", "sample returned values that are not finite")
    return drawn.float().clamp(-1, 1).cpu().numpy()


class CallCounter:
    """Counts the calls of a model's networks by hooks: its attributes `network` and `guide`, or else its children."""

    def __init__(self, model: Model) -> None:
        named = [getattr(model, name, None) for name in ("network", "guide")]
        networks = [network for network in named if isinstance(network, torch.nn.Module)]
        self.count, self._modules = 0, networks or list(model.children())
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def _hook(self, *_: object) -> None:
        self.count += 1

    def __enter__(self) -> "CallCounter":
        self._hooks = [module.register_forward_pre_hook(self._hook) for module in self._modules]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
