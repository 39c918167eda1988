"""The network of `ar-var`: a block-causal transformer over scales, after a block of what is known."""

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cmrgz.conditions import ConditionEmbedding
from cmrgz.frames import FrameAttention, Rotation, frame_rotation
from cmrgz.model import Condition
from cmrgz.tokens.head import DepthHead, FrozenHead
from cmrgz.tokens.layers import GridRotary, Whitening, normalised
from cmrgz.tokens.network import Logits
from cmrgz_ar_var import SPEC
from cmrgz_ar_var.evidence import Places, share_count
from cmrgz_ar_var.layers import BlockLayer, DrawnSquares, Seen, Squares


class Size(NamedTuple):
    """Features, attention heads, features inside a feed-forward network, of a cell, and inside a head, and layers."""

    width: int
    heads: int
    inner: int
    local: int
    head_inner: int
    layers: int


# S and B have 12 layers of 384 and 768 features, as DiT, LlamaGen and MAGE have, so that families compare at one size.
SIZES = {
    "tiny": Size(32, 2, 32, 16, 32, 2),
    "reference": Size(192, 6, 384, 96, 128, 5),
    "S": Size(384, 6, 1024, 192, 256, 12),
    "B": Size(768, 12, 2048, 384, 512, 12),
}


class Sight(NamedTuple):
    """What the network is shown of the cells of a scale, b frames or frames of blocks.

    Attributes:
        drawn: (b, n, channels) the picture so far, as the scale sees it.
        fill: (b, n, channels) a smooth continuation of the known pixels, as the scale sees it.
        shares: (b, n, k) how much is known, see `evidence.shares`.
    """

    drawn: Tensor
    fill: Tensor
    shares: Tensor


@dataclass
class Cache:
    """Keys and values of every layer, of the scales so far, the embedded condition (b, width), and of blocks turns."""

    seen: list[Seen]
    condition: Tensor
    turns: Rotation | None


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; `patch` is the edge in positions of the smallest token; `blocks` if it sees them."""

    width: int
    heads: int
    inner: int
    local: int
    layers: int
    patch: int
    blocks: bool = False


class ScaleTransformer(nn.Module):
    """Features of all cells of a scale, given the known pixels and all coarser scales.

    The first block of tokens is the evidence: a smooth continuation of the known pixels (which are in it as they are,
    unquantised) at full resolution. Each scale is a block that sees itself and all before it. A cell is shown the
    picture that the coarser scales have drawn. The frames of an item with several go through it side by side; after
    each layer, one along the frames at each token.
    """

    def __init__(
        self, grid: tuple[int, int], strides: tuple[int, ...], channels: int, heads: list[DepthHead], shape: Shape
    ) -> None:
        super().__init__()
        self.heads, width, told = nn.ModuleList(heads), shape.width, share_count(channels, shape.blocks)
        self.whiten = nn.ModuleList([Whitening(channels) for _ in strides])
        cells = [(grid[0] // stride, grid[1] // stride) for stride in strides]
        edges = [max(shape.patch // stride, 1) for stride in strides]
        self.evidence = Squares(grid, shape.patch, channels + told, shape.local, width)
        self.scales = nn.ModuleList(
            [
                DrawnSquares(size, edge, 2 * channels + told, shape.local, width)
                for size, edge in zip(cells, edges, strict=True)
            ]
        )
        counts = [self.evidence.tokens, *(self.squares(scale).tokens for scale in range(len(strides)))]
        self.spans = list(pairwise(accumulate([0, *counts])))
        self.condition = ConditionEmbedding(SPEC.conditions, width)
        self.position = nn.Parameter(torch.randn(self.spans[-1][1], width) * 0.02)
        self.layers = nn.ModuleList([BlockLayer(width, shape.heads, shape.inner) for _ in range(shape.layers)])
        along = shape.layers if shape.blocks else 0
        self.along = nn.ModuleList([FrameAttention(width, shape.heads) for _ in range(along)])
        self.norm = nn.RMSNorm(width)
        # Centres of tokens of an even edge lie between positions, so that places are counted in halves.
        self.head_width = width // shape.heads
        self.rotary = GridRotary((2 * grid[0], 2 * grid[1]), self.head_width)
        edges = [shape.patch, *(max(stride, shape.patch) for stride in strides)]
        centres = torch.cat([_centres(grid, edge) for edge in edges])
        self.register_buffer("centres", centres[None], persistent=False)
        self.register_buffer("bias", _bias(counts), persistent=False)

    def squares(self, scale: int) -> DrawnSquares:
        """Return what makes tokens of the cells of a scale."""
        module = self.scales[scale]
        assert isinstance(module, DrawnSquares)
        return module

    def head(self, scale: int) -> DepthHead:
        """Return what gives the logits of a scale."""
        module = self.heads[scale]
        assert isinstance(module, DepthHead)
        return module

    def frozen_head(self, scale: int) -> Logits:
        """Return what gives the logits of a scale, for many calls between which no weight changes."""
        return FrozenHead(self.head(scale))

    def fit(self, scale: int, vectors: Tensor, codes: Tensor, features: Tensor) -> None:
        """Set the statistics of a scale from a training sample.

        Args:
            scale: Which.
            vectors: (n, channels) cells of pictures, as the scale sees them.
            codes: (n, levels) codes of the scale.
            features: (levels, vocab, channels) what each code adds to a cell.
        """
        whitening = self.whiten[scale]
        assert isinstance(whitening, Whitening)
        whitening.fit(vectors)
        self.head(scale).fit(codes, features)

    def _own(self, scale: int, sight: Sight) -> Tensor:
        """Return the embedded cells (b, n, local) of a scale."""
        whiten = self.whiten[scale]
        return self.squares(scale).enter(torch.cat([whiten(sight.drawn), whiten(sight.fill), sight.shares], -1))

    def _evidence(self, evidence: Sight) -> Tensor:
        """Return the tokens (b, m, width) of the evidence."""
        own = self.evidence.enter(torch.cat([self.whiten[-1](evidence.fill), evidence.shares], -1))
        return self.evidence.join(own)

    def _place(self, block: int) -> tuple[Tensor, Rotation]:
        """Return embedding (m, width) and rotation of the positions of a block, the evidence being block 0."""
        start, end = self.spans[block]
        return self.position[start:end], self.rotary(self.get_buffer("centres")[:, start:end])

    def _told(self, condition: Condition | None, frames: int, places: Places | None) -> Tensor:
        """Return the embedded condition (frames, width)."""
        if places is None:
            return self.condition(condition, frames)
        b, t, z = places.time.shape
        return self.condition(condition, b, (t, z)).flatten(0, 2)

    def _turns(self, places: Places | None) -> Rotation | None:
        """Return what the layers along the frames of blocks turn by."""
        if places is None:
            return None
        return frame_rotation(places.time.flatten(1), places.height.flatten(1), self.head_width)

    def _along(self, number: int, x: Tensor, turns: Rotation | None) -> Tensor:
        """Return tokens (f, n, width) that have seen those at their place in other frames of their block."""
        if turns is None:
            return x
        b, frames = turns[0].shape[0], turns[0].shape[-2]
        return self.along[number](x.unflatten(0, (b, frames)), turns).flatten(0, 1)

    def train_states(
        self, evidence: Sight, sights: list[Sight], condition: Condition | None, places: Places | None = None
    ) -> list[Tensor]:
        """Return the features (b, n, width) of the cells of every scale, in one pass.

        Args:
            evidence: What is known, cell by position; `drawn` is not used.
            sights: What each scale is shown.
            condition: As in `Model.sample`.
            places: Of the frames of blocks.
        """
        told = self._told(condition, len(evidence.fill), places)[:, None]
        owns = [self._own(scale, sight) for scale, sight in enumerate(sights)]
        joined = [self.squares(scale).join(own) for scale, own in enumerate(owns)]
        # All scales in one pass, since what each is shown is known in training; the bias keeps finer ones out of
        # sight.
        x = torch.cat([self._evidence(evidence), *joined], 1) + self.position + told
        rotation, turns = self.rotary(self.get_buffer("centres")), self._turns(places)
        for number, layer in enumerate(self.layers):
            x = self._along(number, layer(x, rotation, self.get_buffer("bias")), turns)
        x = normalised(self.norm, x)
        spans = self.spans[1:]
        return [self.squares(scale).part(x[:, slice(*span)], owns[scale]) for scale, span in enumerate(spans)]

    def start(self, evidence: Sight, condition: Condition | None, places: Places | None = None) -> Cache:
        """Return a cache that holds the evidence; see `train_states`."""
        cache = Cache([], self._told(condition, len(evidence.fill), places), self._turns(places))
        self._extend(cache, 0, self._evidence(evidence))
        return cache

    def forward(self, cache: Cache, scale: int, sight: Sight) -> Tensor:
        """Return the features (b, n, width) of the cells of the next scale, and keep it in the cache."""
        own = self._own(scale, sight)
        x = self._extend(cache, scale + 1, self.squares(scale).join(own))
        return self.squares(scale).part(normalised(self.norm, x), own)

    def _extend(self, cache: Cache, block: int, tokens: Tensor) -> Tensor:
        position, rotation = self._place(block)
        x, seen = tokens + position + cache.condition[:, None], []
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, BlockLayer)
            x, own = layer.extend(x, rotation, cache.seen[number] if cache.seen else None)
            x = self._along(number, x, cache.turns)
            seen.append(own)
        cache.seen = seen
        return x


def _centres(grid: tuple[int, int], edge: int) -> Tensor:
    """Return the centres (n,) of tokens of an edge in positions, as places of a grid of half positions."""
    rows, columns = (torch.arange(0, side, edge) * 2 + edge - 1 for side in grid)
    return (rows[:, None] * 2 * grid[1] + columns).flatten()


def _bias(counts: list[int]) -> Tensor:
    """Return what is added to scores (n, n) of blocks of `counts` tokens: 0 for those of the own block and before."""
    block = torch.cat([torch.full((count,), number) for number, count in enumerate(counts)])
    return torch.zeros(len(block), len(block)).masked_fill(block[:, None] < block, -torch.inf)
