"""The protocol: what a tokenizer and a model are. Read this first.

A model is a distribution p(x) over scan items that can be drawn from given any part of x. A task is a `known` tensor:
all False generates, some True inpaints. Two invariants are kept for every model: hidden values never reach it
(`cmrgz.calls`, the only caller of `Model.sample`), and known voxels never change (`cmrgz.drawn`).

An *item* is what one model call sees: a frame `yx`, a clip `tyx`, a stack `zyx` or a block `tzyx`, as the model's
`extent` declares. Tensors are `(b, 1, *item)`; values are in [-1, 1] (0 to 99.5th percentile of the scan). Phases and
slices may be fewer than declared, rows and columns not.

A *condition* is what is known of an item beside its pixels: one float tensor per name, NaN where it is unknown; of
shape (b,), or, where the item has phases or slices, (b, t, z) for what differs from frame to frame. What a checkpoint
may be told of a patient its vocabulary says; a word, such as a diagnosis, is told by its number. Items with phases
or slices are always told `time` (share of the cycle since the item's first frame, periodic) and `height` (mm from its
first slice), both (b, t, z), and may be told `fill` (b, 2, *item): a continuation of what is known of the whole
scan and how near known voxels are, see `cmrgz.hints`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cmrgz.errors import UsageError
from cmrgz.plugin import Extent
from cmrgz.plugin import Progress as Progress
from cmrgz.rng import Streams

Condition = Mapping[str, Tensor]


class Trainable(nn.Module, ABC):
    """Anything with a loss on items: a tokenizer or a model."""

    @abstractmethod
    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Return the scalar training loss of items `x` (b, 1, *item)."""

    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Set what has a closed form from a sample of training items (n, 1, *item), before the first step.

        Codebooks, input statistics; called once per run. Does nothing by default.
        """
        del x, rng

    def metrics(self, x: Tensor) -> dict[str, float]:
        """Return figures of merit on held-out items of one patient, beside the loss; empty by default."""
        del x
        return {}


class Tokenizer(Trainable):
    """A first stage: items <-> vectors on a grid of patches.

    Invariant: `encode` is strictly patch-local. The vector at a position depends on the pixels of that patch alone, so
    hidden pixels cannot reach a known position and known positions are the same under every mask.
    """

    # Windows that overlap gained nothing at equal bits, and with half of the squares of 16 pixels hidden they lose
    # four of five known positions.
    patch: int
    """Edge of a patch in pixels; a position is known when all pixels of its patch are."""
    channels: int
    """Length of the vector at a position."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Return the vectors (b, channels, *grid) of items (b, 1, *item); `grid` is `item` / `patch`."""

    @abstractmethod
    def decode(self, vectors: Tensor) -> Tensor:
        """Return items (b, 1, *item) of vectors (b, channels, *grid)."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return items (b, 1, *item) there and back: the best that a model on this tokenizer can do."""
        return self.decode(self.encode(x))


class CodeTokenizer(Tokenizer):
    """A tokenizer with a discrete code: `levels` residual codes of `vocab` values at each position."""

    levels: int
    vocab: int

    @abstractmethod
    def quantise(self, vectors: Tensor) -> Tensor:
        """Return the codes (b, *grid, levels) int64 of vectors (b, channels, *grid)."""

    @abstractmethod
    def embed(self, codes: Tensor, level: int) -> Tensor:
        """Return what the codes (...) of one level add to the vector: (..., channels)."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return items (b, 1, *item) there and back, by way of the codes."""
        codes = self.quantise(self.encode(x))
        vectors = torch.stack([self.embed(codes[..., level], level) for level in range(self.levels)]).sum(0)
        return self.decode(vectors.movedim(-1, 1))


class Model(Trainable):
    """A distribution p(x) that can be drawn from given part of x.

    `extent` is what one call sees; a checkpoint sets it to what was trained. A concrete `sample` declares its sampling
    options as further keywords with defaults; the signature is the schema that `--set name=value` is checked against.
    No `**kwargs`.
    """

    extent: Extent = Extent()

    @property
    def patch(self) -> int:
        """Edge in pixels of what is known or hidden as a whole, that of the tokenizer's patches.

        Tiles start on multiples of it. A model without a tokenizer may say another; masks are made of squares of 8.
        """
        return int(getattr(getattr(self, "tokenizer", None), "patch", 8))

    @classmethod
    def check_options(cls, build: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        """Refuse sampling options that do not fit together or do not fit the model; before any weights are loaded.

        Args:
            build: All options of the architecture.
            given: All sampling options, each of its type and range.

        Raises:
            UsageError: One line that says which.
        """
        del build, given

    @classmethod
    def settled(cls, build: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return sampling options with what `auto` stands for, where some go `Only` with one of the ways it may be.

        Args:
            build: All options of the architecture.
            given: All sampling options, each of its type and range.
        """
        del build
        return given

    def guided_by(self, weaker: "Model") -> None:
        """Let an earlier or smaller model of the same kind guide this one's sampling (autoguidance).

        Raises:
            UsageError: `usage`: this kind of model takes no guide.
        """
        del weaker
        raise UsageError("usage", "option --guide", "this model takes no guide")

    @abstractmethod
    def sample(
        self,
        x: Tensor,
        known: Tensor,
        *,
        condition: Condition | None = None,
        rng: Streams,
        progress: Progress | None = None,
    ) -> Tensor:
        """Draw items from p(x | known).

        Args:
            x: The given values (b, 1, *item) in [-1, 1], 0 where hidden.
            known: (b, 1, *item) bool, True where given; all False draws from p(x).
            condition: What is known beside the pixels.
            rng: One stream per item; the only source of randomness. Antithetic ones need nothing of a model: it takes
                their numbers as any others.
            progress: Told the steps done; may raise to cancel.

        Returns:
            Items (b, 1, *item); values at known pixels are not used.
        """
