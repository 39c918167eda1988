"""What the known part of a block says of every position, without learning: where a model of blocks starts from.

A hidden position starts from the vector of a continuation in all axes, and from how far the truth usually lies
from it there. Both are free of hidden values. A model draws what is left over: it need not learn to copy.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cmrgz.adaptive import COEFFICIENTS, ITERATIONS, adaptive_continuation, reach
from cmrgz.continuation import PHASE_STEP, SLICE_STEP, Links, continuation
from cmrgz.features import FEATURES, SHARES, error_features
from cmrgz.holes import training_known
from cmrgz.latents import framewise, position_pixels
from cmrgz.model import Condition, Tokenizer
from cmrgz.parts import MARGINS, Filled, Part, Rows, error_rows, inner
from cmrgz.pieces import piece
from cmrgz.rng import Streams

WIDTH, ROWS, BATCH, RATE = 96, 1 << 16, 2048, 4e-3
"""Of the small network that tells the scale, and of its fit: features, positions, those of a step, learning rate."""
STEPS = (200, 2000, 10)
"""Steps of the fit: least, most, and for each block; few blocks do not tell more for being looked at longer."""
TRIALS = 8
"""Blocks on which coefficients of the continuation are tried."""
TRIED = (COEFFICIENTS, (10.0, 0.2, 2.0), (25.0, 1.0, 5.0), (60.0, 0.5, 12.0))
"""Coefficients of the continuation that are tried in the closed form."""
LEAST, MOST = 0.02, 2.0
"""Bounds of the scale, as shares of the spread of the data; some positions spread more than all data do."""
USUAL = math.log(-math.log(LEAST) / math.log(MOST))
"""What the network says where the scale is the spread of the data: the logit of its place between the bounds."""


class Hint(NamedTuple):
    """What is known of the positions of blocks.

    Attributes:
        fill: (b, 1, t, z, H, W) the continuation; 0 where nothing is known of a block.
        mean: (b, c, t, z, h, w) vectors of the fill; of a block of which nothing is known, the mean of the data.
        scale: (b, c, t, z, h, w) standard deviation of what the truth is about the mean, in the basis of the hints.
        shares: (b, SHARES, t, z, h, w) how much is known at and around a position, in all axes; 0 .. 1.
    """

    fill: Tensor
    mean: Tensor
    scale: Tensor
    shares: Tensor


def places(condition: Condition | None, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the time and height (b, t, z) of the frames of blocks x (b, 1, t, z, H, W), where not told as usual."""
    b, _, t, z = x.shape[:4]
    told = condition or {}
    time = told.get("time", (PHASE_STEP * torch.arange(t, device=x.device))[None, :, None])
    height = told.get("height", (SLICE_STEP * torch.arange(z, device=x.device))[None, None])
    return time.to(x).expand(b, t, z), height.to(x).expand(b, t, z)


def evidence(x: Tensor, known: Tensor, condition: Condition | None) -> Tensor:
    """Return which voxels of blocks are known of the scan, and not drawn before; all that are, where only drawn ones.

    The continuation of the whole scan, the condition `fill`, is the scan itself where that is known.
    """
    whole = (condition or {}).get("fill")
    if whole is None:
        return known
    return torch.where(_only_drawn(x, known, condition), known, known & (x == whole[:, :1]))


def _only_drawn(x: Tensor, known: Tensor, condition: Condition | None) -> Tensor:
    """Return of which blocks (b, 1, 1, 1, 1, 1) nothing is known but what was drawn before."""
    own = known & (x == (condition or {})["fill"][:, :1])
    return ~own.flatten(1).any(1)[:, None, None, None, None, None]


def _continued(x: Tensor, known: Tensor, condition: Condition | None) -> Tensor:
    """Return which blocks (b,) have a fill that knows more than they do."""
    if (condition or {}).get("fill") is None:
        return known.new_zeros(len(known))
    return ~_only_drawn(x, known, condition).flatten()


class _Alone:
    """Of which blocks nothing is known but what was drawn before; of a GPU it is asked once whether there are any."""

    def __init__(self, x: Tensor, known: Tensor, condition: Condition | None) -> None:
        self.given = x, known, condition

    @cached_property
    def blocks(self) -> Tensor:
        """As `_only_drawn`."""
        return _only_drawn(*self.given)

    @cached_property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self.blocks.any())


class Hints(nn.Module):
    """Coefficients of the continuation, and a small model of its error, fitted to training items before all training.

    Args:
        channels: Of the vectors of the tokenizer.
        rotate: State scales along the principal axes of the errors, for vectors whose channels vary together.
    """

    weights: Tensor
    basis: Tensor
    mean: Tensor
    spread: Tensor
    centre: Tensor

    def __init__(self, channels: int, rotate: bool = False) -> None:
        super().__init__()
        self.rotate = rotate
        self.register_buffer("weights", torch.tensor(COEFFICIENTS))
        self.register_buffer("basis", torch.eye(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))
        self.register_buffer("centre", torch.stack([torch.zeros(FEATURES), torch.ones(FEATURES)]))
        last = nn.Linear(WIDTH, channels)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, USUAL)  # unfitted, all that the data spread
        layers = [nn.Linear(FEATURES, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), last]
        self.log_scale = nn.Sequential(*layers).requires_grad_(False)

    def fill(self, x: Tensor, known: Tensor, condition: Condition | None, iterations: int = ITERATIONS) -> Tensor:
        """Return the continuation (b, 1, t, z, H, W) of what is known; see `cmrgz.adaptive`.

        Where the condition has a `fill` (b, 1, t, z, H, W), made of the whole scan, it is that: what was drawn before
        is no evidence, and its errors would add up from block to block. Only a block of which nothing else is known
        continues what was drawn.
        """
        return self._fill(x, known, condition, iterations, _Alone(x, known, condition))

    def _fill(self, x: Tensor, known: Tensor, condition: Condition | None, iterations: int, lonely: "_Alone") -> Tensor:
        links = Links.of(*places(condition, x))
        whole = (condition or {}).get("fill")
        if whole is None:
            return piece(adaptive_continuation)(x, known, links, self.weights, iterations)
        alone, whole = lonely.blocks, whole[:, :1]
        if lonely.any:
            whole = torch.where(alone, whole + continuation(x - whole, known, links), whole)
        return torch.where(known, x, whole)

    def reach(self, x: Tensor, fill: Tensor, known: Tensor, condition: Condition | None) -> Tensor:
        """Return how near known voxels are (b, 1, t, z, H, W), see `cmrgz.adaptive.reach`; of the scan as of the fill.

        Where the condition has a `fill` (b, 2, t, z, H, W), the second of it is that of the whole scan.
        """
        return self._reach(x, fill, known, condition, _Alone(x, known, condition))

    def _reach(self, x: Tensor, fill: Tensor, known: Tensor, condition: Condition | None, lonely: "_Alone") -> Tensor:
        told = (condition or {}).get("fill", fill)[:, 1:]
        if told.shape[1] and not lonely.any:  # a reach of the whole scan costs a solve less, and knows more
            return told
        own = piece(reach)(fill, evidence(x, known, condition), Links.of(*places(condition, x)), self.weights)
        return torch.where(lonely.blocks, own, told) if told.shape[1] else own

    def forward(
        self, tokenizer: Tokenizer, x: Tensor, known: Tensor, condition: Condition | None, iterations: int = ITERATIONS
    ) -> Hint:
        """Return the hints of blocks x (b, 1, t, z, H, W) of which `known` is known; hidden voxels are not used."""
        lonely = _Alone(x, known, condition)
        fill = self._fill(x, known, condition, iterations, lonely)
        vectors = framewise(tokenizer.encode, fill)
        near, proof = self._reach(x, fill, known, condition, lonely), evidence(x, known, condition)
        features = error_features(fill, near, proof, tokenizer.patch, _continued(x, known, condition))
        scale = self.scale_of(features.movedim(1, -1)).movedim(-1, 1)
        spread = self.spread[:, None, None, None, None]
        some = known.flatten(1).any(1)[:, None, None, None, None, None]
        mean = torch.where(some, vectors, self.mean[:, None, None, None, None])
        shares = features[:, :SHARES] * some
        return Hint(fill, mean, torch.where(some, scale, spread), shares)

    @torch.no_grad()
    def fit(self, tokenizer: Tokenizer, x: Tensor, rng: Streams) -> None:
        """Fit all to blocks (n, 1, t, z, H, W), hidden as in training, and to a part of each, see `inner_parts`."""
        grid = (*x.shape[2:4], x.shape[-2] // tokenizer.patch, x.shape[-1] // tokenizer.patch)
        keys = Streams(rng.seed, [("hints", i) for i in range(len(x))])
        known = position_pixels(training_known(grid, keys), tokenizer.patch).to(x.device)
        some = known.flatten(1).any(1)
        x, known = x[some], known[some]
        if not len(x):
            return
        self._fit_weights(x[:TRIALS], known[:TRIALS])
        errors = (self._errors(tokenizer, part, -(-ROWS // len(x))) for part in self.inner_parts(x, known, rng))
        steps = min(max(STEPS[0], STEPS[2] * len(x)), STEPS[1])
        self._fit_scale([row for rows in errors for row in rows], steps)

    def inner_parts(self, x: Tensor, known: Tensor, rng: Streams) -> Iterator[Part]:
        """Yield of each of blocks (n, 1, t, z, H, W) a part, which of it is known, and the fill that all of it gives.

        So a model sees a block of a scan: the fill is that of the whole scan, which knows more than the block does. A
        part lies somewhere in the block, which has `MARGINS` more phases and slices.
        """
        for i, (a, k) in enumerate(zip(x.split(1), known.split(1), strict=True)):
            places = Streams(rng.seed, [("inner", i)]).uniform(2)[0]
            t, z = (inner(n, m, u) for n, m, u in zip(x.shape[2:4], MARGINS, places, strict=True))
            whole = self._filled(a, k)
            yield Part(whole, Filled(*(values[:, :, t, z] for values in whole)))

    def _fit_weights(self, x: Tensor, known: Tensor) -> None:
        """Take those of the tried weights with the least error in the hole."""
        errors = []
        for weights in TRIED:
            self.weights.copy_(torch.tensor(weights))
            fills = torch.cat([self.fill(a, k, None) for a, k in zip(x.split(1), known.split(1), strict=True)])
            errors.append(float((fills - x).square()[~known].sum()))
        self.weights.copy_(torch.tensor(TRIED[errors.index(min(errors))]))

    def scale_of(self, features: Tensor) -> Tensor:
        """Return standard deviations (..., c) of positions with features (..., FEATURES): LEAST to MOST spreads."""
        told = (features - self.centre[0]) / self.centre[1]
        low, high = (LEAST * self.spread).log(), (MOST * self.spread).log()
        return (low + (high - low) * self.log_scale(told).sigmoid()).exp()

    def _filled(self, x: Tensor, known: Tensor) -> Filled:
        """Return a block with the continuation of what is known of it."""
        fill = self.fill(x, known, None)
        return Filled(x, known, fill, self.reach(x, fill, known, None))

    def _errors(self, tokenizer: Tokenizer, part: Part, most: int) -> Iterator[Rows]:
        """Yield features of some hidden positions, errors of a fill there, and vectors: of all ways to see a part."""
        yield error_rows(tokenizer, part.whole, False, most)  # as a scan of one block is seen
        if bool(part.inner.known.any()):
            yield error_rows(tokenizer, part.inner, True, most)  # as a block of a larger scan is
            yield error_rows(tokenizer, self._filled(part.inner.x, part.inner.known), False, most)

    def _fit_scale(self, rows: Sequence[Rows], steps: int) -> None:
        """Fit the error of the fill as a normal law whose deviation is told from features of what is known."""
        features, error, true = (torch.cat(values) for values in zip(*rows, strict=True))
        if self.rotate:
            moments = (error.T @ error / len(error)).double().cpu()  # one algorithm whatever the device
            self.basis.copy_(torch.linalg.eigh(moments)[1].flip(1))  # eigh ascends; the first axis is to have most
        self.mean.copy_(true.mean(0))
        self.spread.copy_(((true - self.mean) @ self.basis).std(0).clamp(min=1e-4))
        self.centre.copy_(torch.stack([features.mean(0), features.std(0).clamp(min=0.1)]))
        self._learn(features, error @ self.basis, steps)

    @torch.enable_grad()
    def _learn(self, features: Tensor, error: Tensor, steps: int) -> None:
        """Maximise the likelihood of errors (n, c) given features (n, FEATURES); the same for the same items."""
        generator = torch.Generator().manual_seed(0)  # of the CPU, so that devices see the same numbers
        for layer in self.log_scale:
            for p in layer.parameters():
                bound = 0.0 if p.ndim == 1 or layer is self.log_scale[-1] else p.shape[1] ** -0.5
                p.copy_(torch.empty(p.shape).uniform_(-bound, bound, generator=generator))
        weights = list(self.log_scale.requires_grad_(True).parameters())
        optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.2)  # few items must not make it sure
        for step in range(steps):
            at = torch.randint(len(features), (BATCH,), generator=generator).to(features.device)
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)  # to 0: the last rows must not decide
            scale = self.scale_of(features[at])
            loss = (scale.log() + 0.5 * (error[at] / scale).square()).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.log_scale.requires_grad_(False)


def exactly(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return a framewise function of frames or blocks; of blocks in full precision, also under autocast.

    What is left over of blocks when their hints are taken away is a small difference of large numbers.
    """
    if x.ndim == 4:
        return function(x)
    with torch.autocast(x.device.type, enabled=False):
        return framewise(function, x)


def block_hint(
    hints: Hints,
    tokenizer: Tokenizer,
    x: Tensor,
    known: Tensor,
    condition: Condition | None,
    iterations: int = ITERATIONS,
) -> Hint:
    """Return the hints of blocks x of which `known` (b, 1, t, z, H, W) is known, in full precision."""
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        hint: Hint = hints(tokenizer, torch.where(known, x, 0.0), known, condition, iterations)
    return hint


def with_detail(tokenizer: Tokenizer, vectors: Tensor, hint: Hint, known: Tensor) -> Tensor:
    """Return the blocks (b, 1, t, z, H, W) of vectors, and what the tokenizer loses of their fill.

    Of a block of which nothing is known there is no fill.
    """
    detail = hint.fill - framewise(tokenizer.decode, hint.mean)
    some = known.flatten(1).any(1).view(-1, 1, 1, 1, 1, 1)
    return framewise(tokenizer.decode, vectors) + torch.where(some, detail, 0.0)
