"""What the checks are run on: a registered model or tokenizer in a build that is small enough to test in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz import checkpoint, registry
from cmrgz.data.scan import Scan
from cmrgz.drawing import Setting
from cmrgz.meta import Meta
from cmrgz.model import Model, Tokenizer
from cmrgz.plugin import ModelSpec, TokenizerSpec
from cmrgz.rng import Streams

ITEM = (64, 64)
SPACING = 1.4
M = TypeVar("M", bound=nn.Module)


def streams(n: int, seed: int = 0) -> Streams:
    """Return the streams of n items."""
    return Streams(seed, [("item", i) for i in range(n)])


def items(n: int = 8, size: tuple[int, int] = ITEM, seed: int = 0) -> Tensor:
    """Return items (n, 1, *size) in [-1, 1]: blobs of three scales, so that there is something to learn."""
    generator = torch.Generator().manual_seed(seed)
    noise = (torch.rand(n, 1, k, k, generator=generator) for k in (2, 8, 64))
    scales = [F.interpolate(part, size, mode="bilinear", align_corners=False) for part in noise]
    return (torch.stack(scales).mean(0) * 4 - 2).clamp(-1, 1)


def known_part(n: int = 8, size: tuple[int, int] = ITEM) -> Tensor:
    """Return known pixels (n, 1, *size): half of the 16-pixel squares, none of them in the last item."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(n, 1, size[0] // 16, size[1] // 16, generator=generator) < 0.5
    coarse[-1] = False
    return coarse.repeat_interleave(16, 2).repeat_interleave(16, 3)


def scan(shape: tuple[int, int, int, int] = (2, 1, 64, 64)) -> Scan:
    """Return a scan (t, z, y, x) of integers."""
    values = np.random.default_rng(0).integers(0, 500, shape).astype(np.int16)
    return replace(Scan.blank(shape, (8.0, SPACING, SPACING), 0.04), stored=values)


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
    """A model under test.

    Attributes:
        spec: Its spec; `spec.tiny` are the options of its build.
        options: Sampling options that make a draw cheap, for example `{"steps": 2}`.
    """

    spec: ModelSpec
    options: Mapping[str, Any]

    @classmethod
    def of(cls, name: str) -> "Subject":
        """Return the subject of a registered model; options named `steps`, `moves` and the like are made small."""
        spec = registry.get_model(name)
        schema = registry.sample_schema(spec)
        return cls(
            spec, {o: v for o, v in {"steps": 3, "moves": 1, "rounds": 2, "particles": 2}.items() if o in schema}
        )

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The small tokenizer that the model is built on."""
        return None if self.spec.tokenizer is None else build_tokenizer(registry.get_tokenizer(self.spec.tokenizer))

    def unfitted(self) -> Model:
        """Return a new model as it is built, the same each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return registry.build_model(self.spec, self.tokenizer, self.spec.tiny)

    def fresh(self) -> Model:
        """Return a new model, as training starts with it, the same each time."""
        model = self.unfitted()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model.fit(items(), rng=Streams(0, [("fit",)]))
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
                model.loss(items(seed=step + 1), rng=streams(8, step)).backward()
                nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()
        return model.eval()

    @property
    def setting(self) -> Setting:
        """How `tasks` are to draw from it."""
        return Setting(seed=3, item=ITEM, spacing=SPACING, options=self.options)

    def draw(self, x: Tensor, known: Tensor, seed: int = 0, model: Model | None = None, **more: Any) -> Tensor:
        """Return what the model, or another one of it, draws of items given what is known of them."""
        given = {"rng": streams(len(x), seed), **self.options, **more}
        with torch.inference_mode():
            return (model or self.model).sample(x, known, **given)

    def save(self, folder: Path) -> None:
        """Write the model as a checkpoint."""
        meta = checkpoint.describe(self.spec, self.spec.tiny, item=ITEM, spacing=SPACING)
        inner: tuple[Tokenizer, Meta] | None = None
        if self.tokenizer is not None and self.spec.tokenizer is not None:
            spec = registry.get_tokenizer(self.spec.tokenizer)
            inner = self.tokenizer, checkpoint.describe(spec, spec.tiny, item=ITEM, spacing=SPACING)
        checkpoint.save(folder, self.model, meta, tokenizer=inner)
