"""The only caller of `Model.sample`: items in, items out, on batches of one fixed size."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmrgz.arithmetic import Precision, autocast, exact
from cmrgz.errors import PluginError, ResourceError, is_out_of_memory, of_a_plugin, warn
from cmrgz.model import Model, Tokenizer
from cmrgz.rng import Key, Streams
from cmrgz.sending import device_of

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

SIZES = {"cpu": (16,), "cuda": (8, 32, 128)}
"""Frames per model call by device type. All calls of a run see as many items as have so many frames, at least one
(short calls are padded): an item's bits do not depend on the others of its call. Of several sizes a run has the first
that holds all items which it can draw together, so that on a GPU a single frame does not pay for 128; there the bits
of runs of different sizes differ in the last places. Only where memory runs out are there fewer."""
COMPUTE_BATCH = {kind: sizes[-1] for kind, sizes in SIZES.items()}
"""The largest of them."""


def call_size(kind: str, frames: int = 1, items: int | None = None) -> int:
    """Return the items of a call, of so many frames each, on a type of device; `items` are all that go together."""
    sizes = [max(1, size // frames) for size in SIZES.get(kind, SIZES["cpu"])]
    return next((size for size in sizes if items is not None and size >= items), sizes[-1])


@dataclass(frozen=True)
class Setting:
    """How to draw.

    Attributes:
        seed: What is drawn is a function of it, of the sample's number and of the place in the scan alone.
        samples: Draws from p(x | known).
        options: Keywords of the model's `sample`.
        condition: Values that replace those that a scan has, by name, and what is asked of patients; one for all
            samples, or one a sample.
        batch_size: Items in flight; None picks what suits the device. Does not change the result.
        first: Number of the first sample: samples 0 .. 4 are those of 0 .. 1 and of 2 .. 4.
        antithetic: Samples 2j and 2j + 1 are drawn with opposite random numbers, see `cmrgz.rng`. Each is a draw as
            ever, the even ones to the bit; two of a pair are not independent, so that the mean of few errs less.
        precision: Of the products in the networks: `fp32`, or `bf16`, in which a GPU is many times faster.
    """

    seed: int = 0
    samples: int = 1
    options: Mapping[str, Any] | None = None
    condition: Mapping[str, float | Sequence[float]] | None = None
    batch_size: int | None = None
    first: int = 0
    antithetic: bool = False
    precision: Precision = "fp32"

    @property
    def pairs(self) -> tuple[int, ...]:
        """To which pair each sample belongs: samples of different pairs are independent. Else each is its own."""
        return tuple(n // 2 if self.antithetic else n for n in range(self.first, self.first + self.samples))


@dataclass(frozen=True)
class Items:
    """Items that a model is asked for.

    Attributes:
        x: (n, *item) in [-1, 1]; values outside of `known` are not used.
        known: (n, *item) bool, True = given.
        keys: The random stream of each; the number of the sample comes first.
        around: Keys of what blocks around a cycle draw alike, see `Streams`.
        condition: What is known of each beside its pixels, one array (n, ...) a name, NaN where unknown; see
            `cmrgz.model`.
    """

    x: Floats
    known: Bools
    keys: Sequence[Key]
    condition: Mapping[str, NDArray[np.float32]]
    around: Sequence[Key] = ()

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: NDArray[np.integer[Any]]) -> "Items":
        """Return those at an index (m,)."""
        condition = {name: values[index] for name, values in self.condition.items()}
        keys, around = ([part[i] for i in index] if part else [] for part in (self.keys, self.around))
        return Items(self.x[index], self.known[index], keys, condition, around)


class Caller:
    """Calls the model on batches of one fixed size.

    Args:
        model: On the device to compute on.
        setting: How to draw.
        frames: Frames of an item.

    Attributes:
        size: Items per call; halved where the memory does not hold them.
    """

    def __init__(self, model: Model, setting: Setting, frames: int = 1) -> None:
        self.model, self.setting = model, setting
        self.device = device_of(model)
        self.frames, self.size = frames, call_size(self.device.type, frames)

    def plan(self, items: int) -> None:
        """Choose the size of calls for a run that draws at most so many items together."""
        self.size = min(self.size, call_size(self.device.type, self.frames, items))

    @property
    def batch(self) -> int:
        """Items in flight."""
        return min(self.setting.batch_size or self.size, self.size)

    def draw(self, items: Items) -> Floats:
        """Draw one item each (n, *item) in [-1, 1], at most `size` of them; fewer a call where the memory asks for it.

        Raises:
            PluginError: `plugin-output` for a result of wrong shape or type, or that is not finite; `plugin-broken`
                where the model fails.
            ResourceError: `too-large`: the memory does not hold one item.
        """
        try:
            return self._call(items)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the except clause, whose traceback holds the tensors of the failed call.
        self._halve()
        return self.draw_all(items)

    def draw_all(self, items: Items) -> Floats:
        """Draw one item each (n, *item), however many they are; raises as `draw`."""
        result, start = [np.empty((0, *items.x.shape[1:]), dtype=np.float32)], 0
        while start < len(items):
            part = items.take(np.arange(start, min(start + self.size, len(items))))
            result.append(self.draw(part))
            start += len(part)
        return np.concatenate(result)

    def _halve(self) -> None:
        if self.size == 1:
            hint = "free some memory, or use --device cpu" if self.device.type != "cpu" else "free some memory"
            raise ResourceError("too-large", "model", f"one item does not fit the memory of {self.device}", "", hint)
        self.size //= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        # Smaller calls may change last bits, see `SIZES`: it is told.
        warn("memory", "model", f"out of memory on {self.device}", f"goes on with {self.size} items a call")

    def _call(self, items: Items) -> Floats:
        """Draw the items of one model call, padded to its size by repeating the last."""
        # Even on one thread of a CPU a convolution gives other last bits (4e-7) in batches of another size.
        full = items.take(np.minimum(np.arange(self.size), len(items) - 1))
        # The last door before a model: whatever callers put in the place of hidden values, it sees 0.
        x = torch.from_numpy(np.where(full.known, full.x, np.float32(0))[:, None]).to(self.device)
        known = torch.from_numpy(full.known[:, None]).to(self.device)
        condition = {name: torch.from_numpy(values).to(self.device) for name, values in full.condition.items()}
        rng = Streams(self.setting.seed, full.keys, self.setting.antithetic, full.around)
        drawn = self._sample(x, known, condition, rng)
        return _checked(drawn, x)[: len(items), 0]

    def _sample(self, x: Tensor, known: Tensor, condition: Mapping[str, Tensor], rng: Streams) -> Any:
        """Call the model; what it raises is told as its fault."""
        with (
            of_a_plugin("model", "sample failed"),
            torch.inference_mode(),
            exact(),
            _computing(self.model, self.device, self.setting.precision),
        ):
            return self.model.sample(x, known, condition=condition, rng=rng, **(self.setting.options or {}))


@contextmanager
def _computing(model: Model, device: torch.device, precision: Precision) -> Iterator[None]:
    """Compute at a precision, but for the first stage: what it loses of a picture no network brings back."""
    if precision == "fp32":
        yield
        return
    tokenizers = [part for part in model.modules() if isinstance(part, Tokenizer)]
    own = [(part, name) for part in tokenizers for name in ("encode", "decode", "quantise") if hasattr(part, name)]
    for part, name in own:
        # Set on the instance, where it hides the method of the class; past `nn.Module.__setattr__`, which registers
        # parts.
        vars(part)[name] = _in_full(getattr(part, name), device)
    try:
        with autocast(device, precision):
            yield
    finally:
        for part, name in own:
            del vars(part)[name]


def _in_full(function: Callable[..., Tensor], device: torch.device) -> Callable[..., Tensor]:
    """Return a function of tensors in full precision."""

    def in_full(x: Tensor, *args: Any) -> Tensor:
        with torch.autocast(device.type, enabled=False):
            return function(x.float(), *args)

    return in_full


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
    # A decoder may overshoot the range that a model is given, 0 to the 99.5th percentile of the scan.
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
