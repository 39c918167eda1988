"""`ar-var` as a model: training with random known parts, and drawing scale by scale given what is known."""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.errors import UsageError
from cmrgz.latents import known_positions, position_pixels, smooth_fill, training_known
from cmrgz.model import Condition, Model, Progress
from cmrgz.options import Range
from cmrgz.rng import Streams
from cmrgz.tokens.codes import Truncation, flat, level_loss
from cmrgz.tokens.decoding import take
from cmrgz.tokens.head import DepthHead
from cmrgz.tokens.network import Logits
from cmrgz.tokens.sampling import draw
from cmrgz.tokens.scales import Coded, ScaleTokenizer, check_grid, known_cells
from cmrgz_ar_var.layers import ScaleHead
from cmrgz_ar_var.network import ScaleTransformer, Shape, Sight

PART = 32
"""Cells per call of a head, or of the quantiser: what nobody in the batch asks for need not be computed."""


PLAIN = Truncation()
"""Codes as the model has them."""
PAPER_LIKE = Truncation(1.0, 900, 0.96)
"""What the preset `paper_like` stands for: how Tian et al. 2024 draw, without their guidance by class."""


class ScaleModel(Model):
    """A model that draws all cells of a scale at once, given all coarser scales and the known pixels.

    Next-scale prediction (Tian et al. 2024, arXiv 2404.02905), made to inpaint: a cell all of whose positions are known
    is not drawn. Its codes are those of what the known pixels and the coarser scales, as drawn, leave between them:
    `quantise(pool(exact - drawn))`. So they add up to what is known, as near as the quantiser comes, and no cell that
    covers a hidden position is ever quantised: nothing hidden reaches a code of any scale.

    Args:
        network: Gives the logits.
        tokenizer: Frozen first stage.
        level_decay: Weight of a level's loss relative to the level before.
    """

    def __init__(self, network: ScaleTransformer, tokenizer: ScaleTokenizer, level_decay: float) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer.requires_grad_(False)
        self.level_decay = level_decay

    @torch.no_grad()
    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Give the network the statistics of the cells and codes of items (n, 1, *item)."""
        del rng
        vectors = self.tokenizer.encode(x)
        for scale, codes in enumerate(self.tokenizer.code(vectors).codes):
            cells = flat(self.tokenizer.pool(vectors, scale)).flatten(0, 1)
            self.network.fit(scale, cells, codes.flatten(0, 2), self.tokenizer.features(scale, x.device))

    @torch.no_grad()
    def evidence(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is known: vectors (b, channels, h, w) of a smooth continuation, and positions (b, h, w).

        Args:
            x: Items (b, 1, *item); hidden pixels are not used.
            known: (b, 1, *item) bool.
        """
        return self.tokenizer.encode(smooth_fill(x, known)), known_positions(known, self.tokenizer.patch)

    def sight(self, drawn: Tensor, fill: Tensor, given: Tensor, scale: int) -> Sight:
        """Return what the network is shown of a scale, given vectors (b, channels, h, w) and positions (b, h, w)."""
        share = F.avg_pool2d(given[:, None].to(fill.dtype), self.tokenizer.strides[scale])
        near = F.avg_pool2d(share, 3, 1, 1, count_include_pad=False)
        everywhere = share.mean((2, 3), keepdim=True).expand_as(share)
        pool = self.tokenizer.pool
        return Sight(flat(pool(drawn, scale)), flat(pool(fill, scale)), flat(torch.cat([share, near, everywhere], 1)))

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Weighted mean over scales of the negative log-likelihood in nats per code of hidden cells.

        The known share is random. A scale weighs 1 / stride: the picture hangs on the coarse codes, but they are few.
        Of the finest scale half of the cells are asked for, hidden ones first.
        """
        tokenizer, grid = self.tokenizer, (x.shape[-2] // self.tokenizer.patch, x.shape[-1] // self.tokenizer.patch)
        given = training_known(grid, rng).to(x.device)
        fill, given = self.evidence(x, position_pixels(given, tokenizer.patch))
        with torch.no_grad():
            coded = tokenizer.code(tokenizer.encode(x))
        before = [torch.zeros_like(fill), *coded.sums[:-1]]
        sights = [self.sight(drawn, fill, given, scale) for scale, drawn in enumerate(before)]
        states = self.network.train_states(self.sight(fill, fill, given, -1), sights, condition)
        total, weight, child = x.new_zeros(()), 0.0, rng.child("asked")
        for scale, stride in enumerate(tokenizer.strides):
            known = known_cells(given, stride).flatten(1)
            asked = _asked(known, child, half=scale == len(tokenizer.strides) - 1)
            codes = coded.codes[scale].flatten(1, 2)
            own = level_loss(
                self.network.head(scale), states[scale][asked], codes[asked], self.level_decay, self.training, rng
            )
            total, weight = total + own / stride, weight + 1 / stride
        return total / weight

    @torch.no_grad()
    def draw_codes(
        self,
        x: Tensor,
        known: Tensor,
        condition: Condition | None,
        rng: Streams,
        progress: Progress | None = None,
        how: Truncation = PLAIN,
        levels: int = 0,
    ) -> Coded:
        """Return the codes of every scale, and the vectors that they stand for, drawn from p(codes | known).

        Arguments are those of `sample`; `how` is how codes are drawn from logits.
        """
        tokenizer, count = self.tokenizer, len(self.tokenizer.strides)
        exact = tokenizer.encode(torch.where(known, x, 0.0))
        check_grid((exact.shape[2], exact.shape[3]), tokenizer.strides)
        fill, given = self.evidence(x, known)
        cache = self.network.start(self.sight(fill, fill, given, -1), condition)
        total, coded = torch.zeros_like(exact), Coded([], [])
        for scale, stride in enumerate(tokenizer.strides):
            states = self.network(cache, scale, self.sight(total, fill, given, scale))
            depth = tokenizer.levels[scale]
            if scale == count - 1:
                depth = min(levels, depth) or depth
            u = rng.uniform(states.shape[1], depth).to(x.device)
            cells = known_cells(given, stride)
            drawn = draw_hidden(self.network.frozen_head(scale), states, cells.flatten(1), u, how)
            rest = tokenizer.pool(torch.where(given[:, None], exact - total, 0.0), scale)
            forced = self._requantised(rest, cells.flatten(1), scale)[..., :depth]
            codes = torch.where(cells.flatten(1)[..., None], forced, drawn).unflatten(1, cells.shape[1:])
            total = total + tokenizer.spread(tokenizer.cells(codes, scale), scale)
            coded.codes.append(codes)
            coded.sums.append(total)
            if progress is not None:
                progress(scale + 1, count)
        return coded

    def _requantised(self, rest: Tensor, known: Tensor, scale: int) -> Tensor:
        """Return the codes (b, n, levels) of known cells (b, n) of what is left (b, channels, h', w') of a scale."""
        cells = flat(rest)
        result = torch.zeros(*known.shape, self.tokenizer.levels[scale], dtype=torch.long, device=rest.device)
        for at in parts(known):
            own = take(cells, at).transpose(1, 2)[..., None]
            codes = self.tokenizer.quantise(own, scale)[:, :, 0]
            result.scatter_(1, at[..., None].expand_as(codes), codes)
        return result

    @torch.no_grad()
    def sample(
        self,
        x: Tensor,
        known: Tensor,
        *,
        condition: Condition | None = None,
        rng: Streams,
        progress: Progress | None = None,
        temperature: Annotated[float, "1 samples the model, 0 takes the most likely code", Range(0)] = 1.0,
        top_k: Annotated[int, "draw from the k most likely codes only; 0 is off", Range(0)] = 0,
        top_p: Annotated[float, "draw from the smallest set of codes of this share; 1 is off", Range(1e-6, 1)] = 1.0,
        levels: Annotated[int, "residual levels drawn at the finest scale; 0 is all", Range(0)] = 0,
        preset: Annotated[Literal["fixed", "paper_like"], "paper_like: top_k=900, top_p=0.96"] = "fixed",
    ) -> Tensor:
        """Draw items from p(x | known); see `Model.sample`."""
        how = Truncation(temperature, top_k, top_p)
        if preset == "paper_like":
            how = PAPER_LIKE
        coded = self.draw_codes(x, known, condition, rng, progress, how, levels)
        given = known_positions(known, self.tokenizer.patch)[:, None]
        exact = self.tokenizer.encode(torch.where(known, x, 0.0))
        return self.tokenizer.decode(torch.where(given, exact, coded.sums[-1]))


def _asked(known: Tensor, rng: Streams, half: bool) -> Tensor:
    """Return which of the cells (b, n) are trained on: those that are hidden, at most half of them if `half`."""
    if not half:
        return ~known
    n = known.shape[1]
    order = (rng.uniform(n).to(known.device) + known).argsort(dim=1)[:, : max(n // 2, 1)]
    return torch.zeros_like(known).scatter(1, order, True) & ~known


def parts(asked: Tensor) -> Iterator[Tensor]:
    """Yield the cells (b, <= PART) of `asked` (b, n), part by part, as many parts as the item with most of them needs.

    In parts of one shape: an item's bits do not depend on how many cells its neighbours ask for. Where an item has no
    more, its other cells follow.
    """
    order = (~asked).long().argsort(dim=1, stable=True)
    for start in range(0, int(asked.sum(1).max()), PART):
        yield order[:, start : start + PART]


def draw_hidden(logits: Logits, states: Tensor, known: Tensor, u: Tensor, how: Truncation) -> Tensor:
    """Return codes (b, n, levels) drawn at the hidden cells; those at known ones are of no use.

    Args:
        logits: Gives them.
        states: (b, n, d) features.
        known: (b, n) bool.
        u: (b, n, levels) in [0, 1): one number for each code.
        how: How codes are drawn from logits.
    """
    result = torch.zeros(*u.shape, dtype=torch.long, device=states.device)
    for at in parts(~known):
        own, numbers, codes = take(states, at), take(u, at), at[..., None][..., :0]
        for level in range(u.shape[-1]):
            code = draw(logits(own, codes, level), numbers[..., level], how.temperature, how.top_k, how.top_p)
            codes = torch.cat([codes, code[..., None]], -1)
        result.scatter_(1, at[..., None].expand_as(codes), codes)
    return result


def build(
    tokenizer: ScaleTokenizer,
    grid: Annotated[tuple[int, int], "positions per item, rows and columns"] = (16, 16),
    width: Annotated[int, "features", Range(8, 4096)] = 192,
    heads: Annotated[int, "attention heads; width is a multiple of 4 of them", Range(1, 64)] = 6,
    inner: Annotated[int, "features inside a feed-forward network", Range(8, 16384)] = 384,
    local: Annotated[int, "features of a cell beside the transformer", Range(8, 4096)] = 96,
    head_inner: Annotated[int, "features inside the head of a scale", Range(8, 16384)] = 128,
    layers: Annotated[int, "layers of the transformer", Range(1, 64)] = 5,
    patch: Annotated[int, "edge of the smallest token in positions", Range(1, 16)] = 2,
    free: Annotated[int, "free numbers that describe a code beside its vector", Range(0, 1024)] = 16,
    level_decay: Annotated[float, "weight of a level's loss relative to the level before", Range(0, 1)] = 0.75,
) -> ScaleModel:
    """Build the model on a tokenizer of scales.

    Raises:
        UsageError: `range`: a width that cannot be divided into heads, cells or tokens that do not tile the grid.
    """
    if width % (4 * heads):
        facts = f"{width} features, {heads} heads"
        raise UsageError("range", "width", "must be a multiple of 4 times the heads", facts)
    check_grid(grid, tokenizer.strides)
    if any(stride % patch and patch % stride for stride in tokenizer.strides) or any(side % patch for side in grid):
        facts = f"{patch}, grid {grid[0]} x {grid[1]}, strides {','.join(map(str, tokenizer.strides))}"
        raise UsageError("range", "patch", "must tile the grid and nest with the cells of every scale", facts)
    device = next(tokenizer.parameters()).device
    features = [tokenizer.features(scale, device) for scale in range(len(tokenizer.strides))]
    depth: list[DepthHead] = [ScaleHead(width, head_inner, part, free) for part in features]
    shape = Shape(width, heads, inner, local, layers, patch)
    network = ScaleTransformer(grid, tokenizer.strides, tokenizer.channels, depth, shape)
    return ScaleModel(network, tokenizer, level_decay)
