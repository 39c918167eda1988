"""The network of `ar-vq`: content layers, target layers and a depth head."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn

from cmrgz.conditions import ConditionEmbedding
from cmrgz.errors import UsageError
from cmrgz.model import CodeTokenizer, Condition
from cmrgz.options import Axes, OfLoss, Range, Sizes, overridden
from cmrgz.tokens.causal import TokenModel
from cmrgz.tokens.head import DepthHead, FrozenHead
from cmrgz.tokens.layers import HINT_SHARES, Whitening
from cmrgz.tokens.network import CausalNetwork, Logits
from cmrgz.tokens.prior import hint_features
from cmrgz_ar_vq import SPEC
from cmrgz_ar_vq.attention import ContentLayer, Store, TargetLayer, reach, stored, visible
from cmrgz_ar_vq.scene import Places, Scene


class Size(NamedTuple):
    """Features, attention heads, features inside a feed-forward network, and layers of both kinds."""

    width: int
    heads: int
    inner: int
    content_layers: int
    target_layers: int


# S and B have 12 layers of 384 and 768 features, as DiT, LlamaGen and MAGE have, so that families compare at one size.
SIZES = {
    "tiny": Size(32, 2, 32, 1, 1),
    "reference": Size(192, 6, 384, 3, 3),
    "S": Size(384, 6, 1024, 6, 6),
    "B": Size(768, 12, 2048, 6, 6),
}


@dataclass
class StaticCache:
    """Keys and values of every layer; slot 0 is the start token, slot i + 1 the content of slot i.

    The slot after those of the n positions takes what is dropped.
    """

    content: list[Store]
    target: list[Store]
    scene: Scene
    hints: Tensor
    n: int


class AnyOrderTransformer(CausalNetwork[StaticCache]):
    """Content layers run causally over what is given; target layers ask it for positions.

    One pass of content and one of targets cost what a plain decoder of as many layers costs, and a target needs no
    place in the cache (the two-pass decoder of Li et al. 2025, arXiv 2503.10568).
    """

    def __init__(
        self,
        grid: tuple[int, int],
        channels: int,
        head: DepthHead,
        width: int,
        heads: int,
        inner: int,
        content_layers: int,
        target_layers: int,
        axes: str = "yx",
    ) -> None:
        super().__init__()
        n, blocks = grid[0] * grid[1], axes != "yx"
        self.heads, self.width, self.channels = heads, width, channels
        self.places = Places(grid, width // heads, blocks)
        self.whiten, self.enter = Whitening(channels), nn.Linear(channels, width)
        self.condition = ConditionEmbedding(SPEC.conditions, width)
        self.position = nn.Parameter(torch.randn(n, width) * 0.02)
        # Apart from that of content: to be at a place and to be asked for it are two things.
        self.target = nn.Parameter(torch.randn(n, width) * 0.02)
        self.hint = nn.Linear(hint_features(channels, blocks, HINT_SHARES), width)
        self.content_layers = nn.ModuleList([ContentLayer(width, heads, inner) for _ in range(content_layers)])
        self.target_layers = nn.ModuleList([TargetLayer(width, heads, inner) for _ in range(target_layers)])
        self.norm, self.head = nn.RMSNorm(width), head

    def fit(self, vectors: Tensor, codes: Tensor, features: Tensor) -> None:
        """Set the whitening of the input and the description of the codes."""
        self.whiten.fit(vectors)
        self.head.fit(codes, features)

    def _content(self, vectors: Tensor, positions: Tensor, scene: Scene) -> Tensor:
        """Return the input (b, m, d) of content (b, m, c) at positions (b, m)."""
        place = self.position[self.places.inside(positions)]
        return self.enter(self.whiten(vectors)) + place + self.places.told(scene, positions)

    def _targets(self, positions: Tensor, scene: Scene, hints: Tensor) -> Tensor:
        """Return the input (b, m, d) of targets at positions (b, m), given embedded hints (b, n, d)."""
        own = hints.gather(1, positions[..., None].expand(-1, -1, hints.shape[-1]))
        return self.target[self.places.inside(positions)] + own + self.places.told(scene, positions)

    def _hints(self, hints: Tensor | None, batch: int, n: int) -> Tensor:
        """Return embedded hints (b, n, d); no hints say nothing."""
        if hints is None:
            return self.target.new_zeros(batch, n, self.width)
        vectors, others = hints.split([self.channels, hints.shape[-1] - self.channels], -1)
        return self.hint(torch.cat([self.whiten(vectors), others], -1))

    def train_states(
        self,
        vectors: Tensor,
        order: Tensor,
        condition: Condition | None,
        hints: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        """Return features (b, m, d) of the positions at `slots` of the order; see `CausalNetwork`."""
        scene = self.places.scene(self.condition, condition, len(order))
        # The start token is what is told of the item, of a block the mean over its frames.
        start, n = scene.condition.mean(1, keepdim=True), self._start(scene, order)
        # The last content is left out: no target comes after it.
        x = torch.cat([start, self._content(vectors[:, :-1], order[:, :-1], scene)], 1)
        rotation = self.places.rotation(scene, torch.cat([torch.full_like(order[:, :1], n), order[:, :-1]], 1))
        for layer in self.content_layers:
            x = layer(x, rotation)
        slots = torch.arange(order.shape[1], device=order.device).expand_as(order) if slots is None else slots
        targets = order.gather(1, slots)
        # Slot 0 is the start token, so that target i sees the contents before it.
        bias = visible(torch.arange(order.shape[1], device=order.device) <= slots[:, None, :, None], self.position)
        y = self._targets(targets, scene, self._hints(hints, len(order), n))
        target_rotation = self.places.rotation(scene, targets)
        for layer in self.target_layers:
            assert isinstance(layer, TargetLayer)
            y = layer(y, target_rotation, *layer.keys_values(x, rotation), bias)
        return self.norm(y)

    @staticmethod
    def _start(scene: Scene, order: Tensor) -> int:
        """Return the number of positions, which stands for the start token; an order of a block may be cut."""
        return order.shape[1] if scene.angles is None else scene.angles.shape[1] - 1

    def start(self, batch: int, n: int, condition: Condition | None, hints: Tensor | None = None) -> StaticCache:
        """Return a cache that holds the start token."""

        def stores(layers: nn.ModuleList) -> list[Store]:
            size = batch, self.heads, stored(n + 2), self.width // self.heads
            return [Store(*size, self.position) for _ in layers]

        scene = self.places.scene(self.condition, condition, batch)
        own = self._hints(hints, batch, n)
        cache = StaticCache(stores(self.content_layers), stores(self.target_layers), scene, own, n)
        position = torch.full((batch, 1), n, device=own.device)
        self._write(cache, scene.condition.mean(1, keepdim=True), position, torch.zeros_like(position))
        return cache

    def extend(self, cache: StaticCache, vectors: Tensor, positions: Tensor, slots: Tensor) -> None:
        """Write content to slots (b, m); see `CausalNetwork`."""
        self._write(cache, self._content(vectors, positions, cache.scene), positions, slots + 1)

    def _write(self, cache: StaticCache, x: Tensor, positions: Tensor, slots: Tensor) -> None:
        rotation = self.places.rotation(cache.scene, positions)
        # What is dropped must not make the kernel look at all slots.
        kept = slots.masked_fill(slots > cache.n, 0)
        every = torch.arange(reach(kept, cache.n + 2), device=x.device)
        bias = visible(every <= slots[:, None, :, None], self.position)
        rows = (slots + stored(cache.n + 2) * torch.arange(len(slots), device=x.device)[:, None]).flatten()
        for layer, store in zip(self.content_layers, cache.content, strict=True):
            assert isinstance(layer, ContentLayer)
            x = layer.extend(x, rotation, store, rows, bias)
        for layer, store in zip(self.target_layers, cache.target, strict=True):
            assert isinstance(layer, TargetLayer)
            store.write(*layer.keys_values(x, rotation), rows)

    def select(self, cache: StaticCache, rows: Tensor) -> None:
        """Put items of the cache in the place of others; see `CausalNetwork`."""
        for store in (*cache.content, *cache.target):
            store.select(rows)
        cache.scene, cache.hints = cache.scene.select(rows), cache.hints[rows]

    def forward(self, cache: StaticCache, targets: Tensor, length: Tensor) -> Tensor:
        """Return features (b, m, d) of targets; see `CausalNetwork`."""
        y, rotation = self._targets(targets, cache.scene, cache.hints), self.places.rotation(cache.scene, targets)
        slots = torch.arange(reach(length, cache.n + 2), device=y.device)
        bias = visible(slots <= length[:, None], self.position)[:, None, None].expand(-1, -1, targets.shape[1], -1)
        for layer, store in zip(self.target_layers, cache.target, strict=True):
            y = layer(y, rotation, *store.first(len(slots)), bias)
        return self.norm(y)

    def logits(self, features: Tensor, codes: Tensor, level: int) -> Tensor:
        """Return logits (..., vocab) of a level; see `CausalNetwork`."""
        return self.head(features, codes, level)

    def frozen_logits(self) -> Logits:
        """Return `logits` with the description of the codes worked out; see `CausalNetwork`."""
        return FrozenHead(self.head)


def build(
    tokenizer: CodeTokenizer,
    grid: Annotated[tuple[int, int], "positions per item, rows and columns", Range(1, 1024)] = (16, 16),
    size: Sizes = "reference",
    width: Annotated[int | None, "features", Range(8, 4096)] = None,
    heads: Annotated[int | None, "attention heads; width is a multiple of 4 of them", Range(1, 64)] = None,
    inner: Annotated[int | None, "features inside a feed-forward network", Range(8, 16384)] = None,
    content_layers: Annotated[int | None, "layers over what is known or drawn", Range(1, 64)] = None,
    target_layers: Annotated[int | None, "layers that ask for a position", Range(1, 64)] = None,
    free: Annotated[int, "free numbers that describe a code beside its vector", Range(0, 1024)] = 32,
    raster_share: Annotated[float, "share of the training in raster order", Range(0, 1), OfLoss] = 0.1,
    level_decay: Annotated[float, "weight of a level's loss relative to the level before", Range(0, 1), OfLoss] = 0.75,
    axes: Axes = "yx",
) -> TokenModel:
    """Build the model on a code tokenizer.

    Raises:
        UsageError: `range`: a width that cannot be divided into heads.
    """
    given = {"content_layers": content_layers, "target_layers": target_layers}
    chosen = overridden(SIZES[size], width=width, heads=heads, inner=inner, **given)
    if chosen.width % (4 * chosen.heads):
        facts = f"{chosen.width} features, {chosen.heads} heads"
        raise UsageError("range", "width", "must be a multiple of 4 times the heads", facts)
    head = DepthHead(chosen.width, chosen.inner, tokenizer.channels, tokenizer.levels, tokenizer.vocab, free)
    network = AnyOrderTransformer(grid, tokenizer.channels, head, *chosen, axes)
    return TokenModel(network, tokenizer, raster_share, level_decay, axes)
