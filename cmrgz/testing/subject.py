"""What the checks are run on: a registered model or tokenizer in a build that is small enough to test in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz import checkpoint, registry
from cmrgz.calls import Setting
from cmrgz.data.scan import Scan
from cmrgz.model import Model, Tokenizer
from cmrgz.plugin import Extent, ModelSpec, TokenizerSpec
from cmrgz.rng import Streams

ITEM = (64, 64)
SPACING = 1.4
FRAME = Extent(("y", "x"), ITEM, SPACING)
BLOCK = Extent(("t", "z", "y", "x"), (3, 2, *ITEM), SPACING)
AXES = "axes"
"""The option of builders whose models take frames and blocks."""
M = TypeVar("M", bound=nn.Module)


def streams(n: int, seed: int = 0) -> Streams:
    """Return the streams of n items."""
    return Streams(seed, [("item", i) for i in range(n)])


def items(n: int = 8, size: tuple[int, ...] = ITEM, seed: int = 0) -> Tensor:
    """Return items (n, 1, *size) in [-1, 1]: blobs of three scales, so that there is something to learn.

    The frames of a block are much alike.
    """
    lengths, plane = size[:-2], size[-2:]
    still = _blobs(n, plane, seed)
    if not lengths:
        return still
    moving = _blobs(n * prod(lengths), plane, seed + 1000).view(n, 1, *size)
    # Alike, as neighbouring frames of a heart are, and not the same, or there would be nothing to draw.
    return 0.7 * still.view(n, 1, *(1 for _ in lengths), *plane) + 0.3 * moving


def _blobs(n: int, plane: tuple[int, ...], seed: int) -> Tensor:
    """Return frames (n, 1, *plane)."""
    generator = torch.Generator().manual_seed(seed)
    noise = (torch.rand(n, 1, k, k, generator=generator) for k in (2, 8, 64))
    scales = [F.interpolate(part, plane, mode="bilinear", align_corners=False) for part in noise]
    return (torch.stack(scales).mean(0) * 4 - 2).clamp(-1, 1)


def known_part(n: int = 8, size: tuple[int, ...] = ITEM) -> Tensor:
    """Return known pixels (n, 1, *size): half of the 16-pixel squares, none of them in the last item."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(n, 1, *size[:-2], size[-2] // 16, size[-1] // 16, generator=generator) < 0.5
    # Nothing known is a task as any other, and one that is easily forgotten.
    coarse[-1] = False
    return coarse.repeat_interleave(16, -2).repeat_interleave(16, -1)


def scan(shape: tuple[int, int, int, int] = (2, 1, 64, 64)) -> Scan:
    """Return a scan (t, z, y, x) of integers."""
    values = np.random.default_rng(0).integers(0, 500, shape).astype(np.int16)
    return replace(Scan.blank(shape, (10.0, SPACING, SPACING), 0.04), stored=values)


def shaken(module: M) -> M:
    """Return a module with noise on all that is trained, so that weights matter that start at zero."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module


def build_tokenizer(spec: TokenizerSpec) -> Tokenizer:
    """Return a small tokenizer, fitted to `items`, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = registry.build_tokenizer(spec, spec.tiny)
        tokenizer.fit(items(), rng=Streams(0, [("fit",)]))
    return tokenizer.eval()


@dataclass(frozen=True)
class Subject:
    """A model under test, on frames or on blocks.

    Attributes:
        spec: Its spec; `spec.tiny` are the options of its build.
        options: Sampling options that make a draw cheap, for example `{"steps": 2}`.
        extent: What one call sees.
    """

    spec: ModelSpec
    options: Mapping[str, Any]
    extent: Extent = FRAME

    @classmethod
    def of(cls, name: str) -> "Subject":
        """Return the subject of a registered model, on frames where it takes them."""
        return cls.every(name)[0]

    @classmethod
    def every(cls, name: str) -> list["Subject"]:
        """Return the subjects of a registered model: on frames, on blocks, or on both.

        Sampling options named `steps`, `moves` and the like are made small.
        """
        spec = registry.get_model(name)
        # What is checked are promises, which few steps show as well as many.
        small = {"steps": 3, "moves": 1, "rounds": 2, "averages": 2, "particles": 2}
        schema = registry.sample_schema(spec)
        options = {option: value for option, value in small.items() if option in schema}
        return [cls(spec, options, extent) for extent in _extents(spec)]

    @property
    def on_blocks(self) -> bool:
        """Whether an item has phases or slices."""
        return len(self.extent.axes) > 2

    @property
    def kind(self) -> str:
        """What it is of: `frames` or `blocks`."""
        return "blocks" if self.on_blocks else "frames"

    @property
    def count(self) -> int:
        """Items of most checks."""
        return 4 if self.on_blocks else 8

    @property
    def build(self) -> dict[str, Any]:
        """Options of its build."""
        told = AXES in registry.build_schema(self.spec)
        return {**self.spec.tiny, **({AXES: "".join(self.extent.axes)} if told else {})}

    def items(self, n: int | None = None, seed: int = 0, size: tuple[int, ...] | None = None) -> Tensor:
        """Return items (n, 1, *item); see `items`."""
        return items(n or self.count, size or self.extent.item, seed)

    def known_part(self, n: int | None = None, size: tuple[int, ...] | None = None) -> Tensor:
        """Return known pixels (n, 1, *item); see `known_part`."""
        return known_part(n or self.count, size or self.extent.item)

    def scan(self, plane: tuple[int, int] = ITEM) -> Scan:
        """Return a scan of several items."""
        return scan((4, 3, *plane) if self.on_blocks else (2, 1, *plane))

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The small tokenizer that the model is built on."""
        return None if self.spec.tokenizer is None else build_tokenizer(registry.get_tokenizer(self.spec.tokenizer))

    def unfitted(self) -> Model:
        """Return a new model as it is built, the same each time."""
        # The random state of the tests around it is not moved.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = registry.build_model(self.spec, self.tokenizer, self.build)
        model.extent = self.extent
        return model

    def fresh(self) -> Model:
        """Return a new model, as training starts with it, the same each time."""
        model = self.unfitted()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model.fit(self.items(8), rng=Streams(0, [("fit",)]))
        return model.eval()

    @cached_property
    def model(self) -> Model:
        """A model all of whose weights matter."""
        return shaken(self.fresh())

    def trained(self, steps: int) -> Model:
        """Return a new model after a few steps on items that are never the same."""
        model = self.fresh().train()
        weights = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=3e-3)
        with torch.random.fork_rng(devices=[]):
            for step in range(steps):
                optimizer.zero_grad()
                model.loss(self.items(seed=step + 1), rng=streams(self.count, step)).backward()
                nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()
        return model.eval()

    @property
    def setting(self) -> Setting:
        """How `tasks` are to draw from it."""
        return Setting(seed=3, options=self.options)

    def draw(self, x: Tensor, known: Tensor, seed: int = 0, model: Model | None = None, **more: Any) -> Tensor:
        """Return what the model, or another one of it, draws of items given what is known of them."""
        given = {"rng": streams(len(x), seed), **self.options, **more}
        model = model or self.model  # made before: a fit may need gradients
        with torch.inference_mode():
            return model.sample(x, known, **given)

    def save(self, folder: Path) -> None:
        """Write the model as a checkpoint."""
        meta = checkpoint.describe(self.spec, self.build, extent=self.extent)
        inner: checkpoint.Opened[Tokenizer] | None = None
        if self.tokenizer is not None and self.spec.tokenizer is not None:
            spec = registry.get_tokenizer(self.spec.tokenizer)
            inner = checkpoint.Opened(self.tokenizer, checkpoint.describe(spec, spec.tiny, extent=FRAME))
        checkpoint.save(folder, self.model, meta, tokenizer=inner)


def _extents(spec: ModelSpec) -> list[Extent]:
    """Return what a model is to be checked on: frames and blocks, or what it declares with small lengths."""
    if AXES in registry.build_schema(spec):
        return [FRAME, BLOCK]
    lengths = tuple(
        min(length, 3 if axis == "t" else 2) for axis, length in zip(spec.axes[:-2], spec.item, strict=False)
    )
    # Lengths along phases and slices are upper bounds, so that a model has to take shorter ones.
    return [Extent(spec.axes, (*lengths, *ITEM), SPACING)]
