"""The network of `ar-maskgit`: a transformer over squares of positions, local layers around it, and a depth head."""

from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.conditions import ConditionEmbedding
from cmrgz.errors import UsageError
from cmrgz.frames import FrameAttention, frame_rotation
from cmrgz.model import CodeTokenizer, Condition
from cmrgz.options import Axes, OfLoss, Range, Sizes, overridden
from cmrgz.tokens.head import DepthHead, FrozenHead
from cmrgz.tokens.layers import HINT_SHARES, Attention, GridRotary, Rotation, Whitening, feed_forward, normalised
from cmrgz.tokens.masked_codes import MaskedTokenModel
from cmrgz.tokens.network import Logits, MaskedNetwork
from cmrgz.tokens.prior import hint_features
from cmrgz_ar_maskgit import SPEC


class Size(NamedTuple):
    """Features, attention heads, features inside a feed-forward network, layers, and features of a position."""

    width: int
    heads: int
    inner: int
    layers: int
    local: int


# S and B have 12 layers of 384 and 768 features, as DiT, LlamaGen and MAGE have, so that families compare at one size.
SIZES = {
    "tiny": Size(32, 2, 32, 1, 16),
    "reference": Size(192, 6, 384, 6, 128),
    "S": Size(384, 6, 1024, 12, 192),
    "B": Size(768, 12, 2048, 12, 384),
}


class Layer(nn.Module):
    """Self-attention of all tokens, and a feed-forward network."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.RMSNorm(width), Attention(width, heads)
        self.ff_norm, self.ff = nn.RMSNorm(width), feed_forward(width, inner)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """Return (b, n, width)."""
        normal = normalised(self.norm, x)
        x = x + self.attention(normal, rotation, *self.attention.keys_values(normal, rotation), None)
        return x + self.ff(normalised(self.ff_norm, x))


class LocalLayer(nn.Module):
    """A position and its eight neighbours, channel by channel, and a feed-forward network (Liu et al. 2022)."""

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid, self.near = grid, nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm, self.ff = nn.RMSNorm(width), feed_forward(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, n, width)."""
        near = self.near(x.transpose(1, 2).unflatten(2, self.grid)).flatten(2).transpose(1, 2)
        return x + self.ff(normalised(self.norm, near))


class MaskedTransformer(MaskedNetwork):
    """Features of every position from what is shown of any.

    The transformer sees squares of `patch` x `patch` positions: with 2 it costs a quarter, and a square is the 16
    pixels that masks are made of. What is single about a position goes around it, through layers that see its
    neighbours. The frames of a block go through it side by side; after each layer of the transformer, one along the
    frames.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        channels: int,
        head: DepthHead,
        width: int,
        heads: int,
        inner: int,
        layers: int,
        local: int,
        patch: int,
        axes: Axes = "yx",
    ) -> None:
        super().__init__()
        self.grid, self.patch = grid, patch
        coarse = (grid[0] // patch, grid[1] // patch)
        self.head_width = width // heads
        self.rotary = GridRotary(coarse, self.head_width)
        self.whiten, self.enter = Whitening(channels), nn.Linear(channels, local)
        self.hidden, self.shown = nn.Parameter(torch.randn(local) * 0.02), nn.Parameter(torch.randn(local) * 0.02)
        self.channels = channels
        self.hint = nn.Linear(hint_features(channels, axes != "yx", HINT_SHARES), local)
        self.position = nn.Parameter(torch.randn(coarse[0] * coarse[1], width) * 0.02)
        self.condition = ConditionEmbedding(SPEC.conditions, width)
        self.before, self.after = LocalLayer(local, grid), LocalLayer(local, grid)
        self.fold, self.unfold = nn.Linear(local * patch**2, width), nn.Linear(width, local * patch**2)
        self.layers = nn.ModuleList([Layer(width, heads, inner) for _ in range(layers)])
        along = 0 if axes == "yx" else layers
        self.along = nn.ModuleList([FrameAttention(width, heads) for _ in range(along)])
        self.norm, self.out, self.head = nn.RMSNorm(width), nn.Linear(local, width), head
        self.out_norm = nn.RMSNorm(width)

    def fit(self, vectors: Tensor, codes: Tensor, features: Tensor) -> None:
        """Set the whitening of the input and the description of the codes."""
        self.whiten.fit(vectors)
        self.head.fit(codes, features)

    def forward(self, vectors: Tensor, shown: Tensor, condition: Condition | None, hints: Tensor | None) -> Tensor:
        """Return features (b, n, d) of every position, of blocks in the order of their grid; see `MaskedNetwork`."""
        if not self.along:
            return self._frames(vectors, shown, self.condition(condition, len(vectors)), hints, None)
        # `block_condition` of the kit always tells times and heights of blocks.
        assert condition is not None
        time, height = condition["time"], condition["height"]
        frames = (time.shape[1] * time.shape[2], self.grid[0] * self.grid[1])
        content, seen = (part.unflatten(1, frames).flatten(0, 1) for part in (vectors, shown))
        told = self.condition(condition, len(vectors), (time.shape[1], time.shape[2])).flatten(0, 2)
        hint = None if hints is None else hints.unflatten(1, frames).flatten(0, 1)
        features = self._frames(content, seen, told, hint, (time.flatten(1), height.flatten(1)))
        return features.unflatten(0, (len(vectors), -1)).flatten(1, 2)

    def _frames(
        self,
        vectors: Tensor,
        shown: Tensor,
        condition: Tensor,
        hints: Tensor | None,
        along: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """Return features (f, n, d) of frames, `along` times and heights (b, f / b) if they are those of blocks."""
        # One vector for all that is hidden: whatever stands in its place cannot get in.
        own = torch.where(shown[..., None], self.enter(self.whiten(vectors)) + self.shown, self.hidden)
        if hints is not None:
            # The fill is a vector as those that are shown are, so it is whitened as they are; shares are in [0, 1]
            # already.
            smooth, shares = hints.split([self.channels, hints.shape[-1] - self.channels], -1)
            own = own + self.hint(torch.cat([self.whiten(smooth), shares], -1))
        own = self.before(own)
        x = self.fold(self._squares(own)) + self.position + condition[:, None]
        rotation = self.rotary(torch.arange(x.shape[1], device=x.device)[None])
        turns = None if along is None else frame_rotation(*along, self.head_width)
        for number, layer in enumerate(self.layers):
            x = layer(x, rotation)
            if along is not None:
                x = self.along[number](x.unflatten(0, along[0].shape), turns).flatten(0, 1)
        own = self.after(own + self._positions(self.unfold(normalised(self.norm, x))))
        return normalised(self.out_norm, self.out(own))

    def _squares(self, x: Tensor) -> Tensor:
        """Return squares (b, n / patch**2, c * patch**2) of positions (b, n, c)."""
        grid = x.transpose(1, 2).unflatten(2, self.grid)
        return F.pixel_unshuffle(grid, self.patch).flatten(2).transpose(1, 2)

    def _positions(self, x: Tensor) -> Tensor:
        """Return positions (b, n, c) of squares (b, n / patch**2, c * patch**2)."""
        coarse = (self.grid[0] // self.patch, self.grid[1] // self.patch)
        return F.pixel_shuffle(x.transpose(1, 2).unflatten(2, coarse), self.patch).flatten(2).transpose(1, 2)

    def logits(self, features: Tensor, codes: Tensor, level: int) -> Tensor:
        """Return logits (..., vocab) of a level; see `CodeNetwork`."""
        return self.head(features, codes, level)

    def frozen_logits(self) -> Logits:
        """Return `logits` with the description of the codes worked out; see `CodeNetwork`."""
        return FrozenHead(self.head)


def build(
    tokenizer: CodeTokenizer,
    grid: Annotated[tuple[int, int], "positions per item, rows and columns", Range(1, 1024)] = (16, 16),
    size: Sizes = "reference",
    width: Annotated[int | None, "features", Range(8, 4096)] = None,
    heads: Annotated[int | None, "attention heads; width is a multiple of 4 of them", Range(1, 64)] = None,
    inner: Annotated[int | None, "features inside a feed-forward network", Range(8, 16384)] = None,
    layers: Annotated[int | None, "layers of the transformer", Range(1, 64)] = None,
    local: Annotated[int | None, "features of a single position", Range(4, 4096)] = None,
    patch: Annotated[Literal[1, 2, 4], "edge of a token of the transformer in positions"] = 2,
    free: Annotated[int, "free numbers that describe a code beside its vector", Range(0, 1024)] = 32,
    hidden_law: Annotated[Literal["arccos", "uniform"], "share that is hidden in training", OfLoss] = "arccos",
    level_decay: Annotated[float, "weight of a level's loss relative to the level before", Range(0, 1), OfLoss] = 0.75,
    axes: Axes = "yx",
) -> MaskedTokenModel:
    """Build the model on a code tokenizer.

    Raises:
        UsageError: `range`: a width that cannot be divided into heads, or a grid that cannot be divided into tokens.
    """
    chosen = overridden(SIZES[size], width=width, heads=heads, inner=inner, layers=layers, local=local)
    # Half of a head turns with the row and half with the column, in pairs.
    if chosen.width % (4 * chosen.heads):
        facts = f"{chosen.width} features, {chosen.heads} heads"
        raise UsageError("range", "width", "must be a multiple of 4 times the heads", facts)
    if grid[0] % patch or grid[1] % patch:
        raise UsageError("range", "grid", f"must be a multiple of {patch}", f"{grid[0]} x {grid[1]} positions")
    head = DepthHead(chosen.width, chosen.inner, tokenizer.channels, tokenizer.levels, tokenizer.vocab, free)
    network = MaskedTransformer(grid, tokenizer.channels, head, *chosen, patch, axes)
    return MaskedTokenModel(network, tokenizer, level_decay, hidden_law, axes)
