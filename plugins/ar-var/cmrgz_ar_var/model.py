"""`ar-var` as a model: training with random known parts, and drawing scale by scale given what is known."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from cmrgz.adaptive import ITERATIONS
from cmrgz.errors import UsageError
from cmrgz.graphs import Replayed
from cmrgz.hints import with_detail
from cmrgz.latents import lift, lower, position_pixels, training_known
from cmrgz.model import Condition, Model, Progress
from cmrgz.options import Axes, OfLoss, Range, Sizes, overridden
from cmrgz.pieces import piece
from cmrgz.rng import Streams
from cmrgz.sending import device_of, sent
from cmrgz.tokens.blocks import QUICK, block_condition
from cmrgz.tokens.causal_decoding import take
from cmrgz.tokens.codes import level_loss
from cmrgz.tokens.drawer import Truncation
from cmrgz.tokens.head import DepthHead
from cmrgz.tokens.network import Logits
from cmrgz.tokens.prior import BLOCK_FRAMES, flat, frames_of
from cmrgz.tokens.sampling import along
from cmrgz.tokens.scales import Coded, ScaleTokenizer, check_grid, known_cells
from cmrgz_ar_var.cells import Coupled, asked_cells, draw_hidden, numbers, parts
from cmrgz_ar_var.evidence import Evidence, block_evidence, frame_evidence, shares
from cmrgz_ar_var.layers import ScaleHead
from cmrgz_ar_var.network import SIZES, ScaleTransformer, Shape, Sight
from cmrgz_ar_var.prior import Leaning, ScalePrior

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

    The cells of a scale in all frames of a block are drawn at once, given the coarser scales of all of them; the logits
    of the network are added to what the hints of the block say of the codes, see `ScalePrior`. Frames of blocks stand
    in a row, (f, ...) with f = b t z.

    Args:
        network: Gives the logits.
        tokenizer: Frozen first stage.
        level_decay: Weight of a level's loss relative to the level before.
        axes: Of its items; all but frames, `yx`, are seen as blocks.
    """

    def __init__(
        self, network: ScaleTransformer, tokenizer: ScaleTokenizer, level_decay: float, axes: Axes = "yx"
    ) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer.requires_grad_(False)
        self.level_decay, self.axes = level_decay, axes
        self.prior = None if axes == "yx" else ScalePrior(tokenizer)

    @torch.no_grad()
    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Give the network the statistics of the cells and codes of items (n, 1, *item)."""
        if self.prior is not None:
            self.prior.fit(self.tokenizer, lift(x, self.axes), rng)
            x = frames_of(lift(x, self.axes))
            x = x[:: -(-len(x) // BLOCK_FRAMES)]
        vectors = self.tokenizer.encode(x)
        for scale, codes in enumerate(self.tokenizer.code(vectors).codes):
            cells = flat(self.tokenizer.pool(vectors, scale)).flatten(0, 1)
            self.network.fit(scale, cells, codes.flatten(0, 2), self.tokenizer.features(scale, x.device))

    @torch.no_grad()
    def evidence(
        self, x: Tensor, known: Tensor, condition: Condition | None = None, iterations: int = ITERATIONS
    ) -> Evidence:
        """Return what is known.

        Args:
            x: Frames (b, 1, H, W) or blocks (b, 1, t, z, H, W); hidden pixels are not used.
            known: As x, bool.
            condition: Of blocks `time`, `height` and `fill` count.
            iterations: Of the continuation in blocks.
        """
        if self.prior is None:
            return frame_evidence(self.tokenizer, x, known)
        return block_evidence(self.prior.hints, self.tokenizer, x, known, condition, iterations)

    def sight(self, drawn: Tensor, evidence: Evidence, scale: int) -> Sight:
        """Return what the network is shown of a scale, vectors (f, channels, h, w) being drawn."""
        pool = self.tokenizer.pool
        told = shares(evidence, self.tokenizer.strides[scale])
        return Sight(flat(pool(drawn, scale)), flat(pool(evidence.fill, scale)), told)

    def _features(self, states: Tensor, drawn: Tensor, evidence: Evidence, scale: int) -> Tensor:
        """Return what the logits of the cells of a scale are told: states (f, n, d), and of blocks what is expected."""
        if self.prior is None:
            return states
        return torch.cat([states, self.prior.expected(self.tokenizer, drawn, evidence, scale)], -1)

    def _logits(self, scale: int, own: Logits) -> Logits:
        """Return the logits of a scale, given the network's own."""
        return own if self.prior is None else self.prior.leaning(self.tokenizer, own, scale)

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Weighted mean over scales of the negative log-likelihood in nats per code of hidden cells.

        The known share is random. A scale weighs 1 / stride: the picture hangs on the coarse codes, but they are few.
        Of the finest scale half of the cells are asked for, hidden ones first.
        """
        tokenizer, x = self.tokenizer, lift(x, self.axes)
        condition = block_condition(condition, x, self.axes)
        grid = (*x.shape[2:-2], x.shape[-2] // tokenizer.patch, x.shape[-1] // tokenizer.patch)
        positions = training_known(grid, rng)
        known = position_pixels(sent(positions, x.device), tokenizer.patch)
        evidence = self.evidence(x, known, condition, QUICK)
        with torch.no_grad():
            coded = piece(tokenizer.code)(piece(tokenizer.encode)(frames_of(x)))
        # In training each scale is shown what the true codes of the coarser ones stand for (teacher forcing).
        before = [torch.zeros_like(evidence.fill), *coded.sums[:-1]]
        sights = [self.sight(drawn, evidence, scale) for scale, drawn in enumerate(before)]
        first = self.sight(evidence.fill, evidence, -1)
        states = piece(self.network.train_states)(first, sights, condition, evidence.places)
        total, weight, child = x.new_zeros(()), 0.0, rng.child("asked")
        for scale, stride in enumerate(tokenizer.strides):
            known = known_cells(positions.flatten(0, -3), stride).view(len(x), -1)
            asked = asked_cells(known, child, half=scale == len(tokenizer.strides) - 1)
            rows = sent(asked.flatten().nonzero()[:, 0], x.device)  # found by the host, which need not ask then
            features = self._features(states[scale], before[scale], evidence, scale).flatten(0, 1)[rows]
            codes, logits = coded.codes[scale].flatten(0, 2)[rows], self._logits(scale, self.network.head(scale))
            own = level_loss(logits, features, codes, self.level_decay, self.training, rng)
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
        coupled: Coupled = "phases",
        evidence: Evidence | None = None,
    ) -> Coded:
        """Return the codes of every scale, and the vectors that they stand for, drawn from p(codes | known).

        Arguments are those of `sample`, items being frames or blocks; `how` is how codes are drawn from logits. Those
        of the frames of blocks are (f, ...).
        """
        tokenizer, count = self.tokenizer, len(self.tokenizer.strides)
        exact = tokenizer.encode(frames_of(torch.where(known, x, 0.0)))
        check_grid((exact.shape[2], exact.shape[3]), tokenizer.strides)
        evidence = evidence or self.evidence(x, known, condition)
        cache = self.network.start(self.sight(evidence.fill, evidence, -1), condition, evidence.places)
        # The host asks once which positions are known, and then knows how many cells each scale has to draw.
        total, coded, given = torch.zeros_like(exact), Coded([], []), evidence.given.cpu()
        for scale, stride in enumerate(tokenizer.strides):
            states = self.network(cache, scale, self.sight(total, evidence, scale))
            depth = tokenizer.levels[scale]
            # Coarse scales have few cells, and all else hangs on them: only the finest can be cut.
            if scale == count - 1:
                depth = min(levels, depth) or depth
            u = sent(numbers(rng, x.shape[2:-2], states.shape[1], depth, coupled), x.device)
            cells, many = known_cells(evidence.given, stride), known_cells(given, stride).flatten(1).sum(1)
            features = self._features(states, total, evidence, scale)
            logits = self._logits(scale, self.network.frozen_head(scale))
            orders = along(logits.books) if isinstance(logits, Leaning) else None
            hidden = int(cells[0].numel() - many.min())
            drawn = draw_hidden(logits, features, cells.flatten(1), u, how, orders, hidden)
            # 0 where hidden: a cell that is not all known is drawn, and what is computed for it here is dropped.
            rest = tokenizer.pool(torch.where(evidence.given[:, None], exact - total, 0.0), scale)
            forced = self._requantised(rest, cells.flatten(1), scale, int(many.max()))[..., :depth]
            codes = torch.where(cells.flatten(1)[..., None], forced, drawn).unflatten(1, cells.shape[1:])
            total = total + tokenizer.spread(tokenizer.cells(codes, scale), scale)
            coded.codes.append(codes)
            coded.sums.append(total)
            if progress is not None:
                progress(scale + 1, count)
        return coded

    def _requantised(self, rest: Tensor, known: Tensor, scale: int, most: int) -> Tensor:
        """Return the codes (b, n, levels) of known cells (b, n), at most so many, of what is left of a scale."""
        cells = flat(rest)
        result = torch.zeros(*known.shape, self.tokenizer.levels[scale], dtype=torch.long, device=rest.device)

        def part(at: Tensor) -> None:
            own = take(cells, at).transpose(1, 2)[..., None]
            codes = self.tokenizer.quantise(own, scale)[:, :, 0]
            result.scatter_(1, at[..., None].expand_as(codes), codes)

        usual = Replayed(part)
        for at in parts(known, most):
            usual(at)
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
        coupled: Annotated[
            Coupled, "frames of a block that share their random numbers, so as not to flicker"
        ] = "phases",
        preset: Annotated[Literal["fixed", "paper_like"], "paper_like: top_k=900, top_p=0.96"] = "fixed",
    ) -> Tensor:
        """Draw items from p(x | known); see `Model.sample`."""
        how = Truncation(temperature, top_k, top_p)
        if preset == "paper_like":
            how = PAPER_LIKE
        x, known = lift(x, self.axes), lift(known, self.axes)
        condition = block_condition(condition, x, self.axes)
        evidence = self.evidence(x, known, condition)
        coded = self.draw_codes(x, known, condition, rng, progress, how, levels, coupled, evidence)
        exact = self.tokenizer.encode(frames_of(torch.where(known, x, 0.0)))
        drawn = coded.sums[-1]
        if self.prior is not None:
            drawn = self.prior.refined(self.tokenizer, drawn, evidence)
        # The decoder is shown what is known as it is: codes only come near it.
        vectors = torch.where(evidence.given[:, None], exact, drawn)
        if evidence.hint is None:
            return self.tokenizer.decode(vectors)
        vectors = vectors.unflatten(0, (len(x), *x.shape[2:4])).movedim(3, 1)
        return lower(with_detail(self.tokenizer, vectors, evidence.hint, known), self.axes)


def build(
    tokenizer: ScaleTokenizer,
    grid: Annotated[tuple[int, int], "positions per item, rows and columns", Range(1, 1024)] = (16, 16),
    size: Sizes = "reference",
    width: Annotated[int | None, "features", Range(8, 4096)] = None,
    heads: Annotated[int | None, "attention heads; width is a multiple of 4 of them", Range(1, 64)] = None,
    inner: Annotated[int | None, "features inside a feed-forward network", Range(8, 16384)] = None,
    local: Annotated[int | None, "features of a cell beside the transformer", Range(8, 4096)] = None,
    head_inner: Annotated[int | None, "features inside the head of a scale", Range(8, 16384)] = None,
    layers: Annotated[int | None, "layers of the transformer", Range(1, 64)] = None,
    patch: Annotated[int, "edge of the smallest token in positions", Range(1, 16)] = 2,
    free: Annotated[int, "free numbers that describe a code beside its vector", Range(0, 1024)] = 16,
    level_decay: Annotated[float, "weight of a level's loss relative to the level before", Range(0, 1), OfLoss] = 0.75,
    axes: Axes = "yx",
) -> ScaleModel:
    """Build the model on a tokenizer of scales.

    Raises:
        UsageError: `range`: a width that cannot be divided into heads, cells or tokens that do not tile the grid.
    """
    given = {"local": local, "head_inner": head_inner, "layers": layers}
    chosen = overridden(SIZES[size], width=width, heads=heads, inner=inner, **given)
    if chosen.width % (4 * chosen.heads):
        facts = f"{chosen.width} features, {chosen.heads} heads"
        raise UsageError("range", "width", "must be a multiple of 4 times the heads", facts)
    check_grid(grid, tokenizer.strides)
    if any(stride % patch and patch % stride for stride in tokenizer.strides) or any(side % patch for side in grid):
        facts = f"{patch}, grid {grid[0]} x {grid[1]}, strides {','.join(map(str, tokenizer.strides))}"
        raise UsageError("range", "patch", "must tile the grid and nest with the cells of every scale", facts)
    device = device_of(tokenizer)
    features = [tokenizer.features(scale, device) for scale in range(len(tokenizer.strides))]
    depth: list[DepthHead] = [ScaleHead(chosen.width, chosen.head_inner, part, free) for part in features]
    shape = Shape(chosen.width, chosen.heads, chosen.inner, chosen.local, chosen.layers, patch, axes != "yx")
    network = ScaleTransformer(grid, tokenizer.strides, tokenizer.channels, depth, shape)
    return ScaleModel(network, tokenizer, level_decay, axes)
