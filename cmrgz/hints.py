"""What the known part of a block says of every position, without learning: where a model of blocks starts from.

A hidden position starts from the vector of a continuation in all axes, and from how far the truth usually lies
from it there. Both are free of hidden values. A model draws what is left over: it need not learn to copy.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.adaptive import COEFFICIENTS, ITERATIONS, adaptive_continuation
from cmrgz.continuation import PHASE_STEP, SLICE_STEP, Links, continuation
from cmrgz.holes import training_known
from cmrgz.latents import framewise, known_positions, position_pixels
from cmrgz.model import Condition, Tokenizer
from cmrgz.rng import Streams

SHARES = 9
"""Numbers that say how much is known near a position."""
FEATURES = SHARES + 14
"""Numbers that the usual distance of the truth from the fill is told from."""
WIDTH, ROWS, STEPS, BATCH, RATE = 48, 1 << 16, 500, 2048, 4e-3
"""Of the small network that tells it, and of its fit: features, positions, steps, positions a step, learning rate."""
CHUNK = 4
TRIED = (COEFFICIENTS, (10.0, 0.2, 0.5), (20.0, 0.3, 2.0), (5.0, 0.2, 2.0), (10.0, 0.5, 2.0), (10.0, 0.2, 5.0))
"""Coefficients of the continuation that are tried in the closed form."""
LEAST = 0.02
"""Least scale, as a share of the spread of the data."""
SURE = 20.0
"""What the small network says where the scale is the spread of the data."""


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
    time = told.get("time", (PHASE_STEP * torch.arange(t))[None, :, None])
    height = told.get("height", (SLICE_STEP * torch.arange(z))[None, None])
    return time.to(x).expand(b, t, z), height.to(x).expand(b, t, z)


def evidence(x: Tensor, known: Tensor, condition: Condition | None) -> Tensor:
    """Return which voxels of blocks are known of the scan, and not drawn before; all that are, where only drawn ones.

    The continuation of the whole scan, the condition `fill`, is the scan itself where that is known.
    """
    whole = (condition or {}).get("fill")
    if whole is None:
        return known
    return torch.where(_only_drawn(x, known, condition), known, known & (x == whole))


def _only_drawn(x: Tensor, known: Tensor, condition: Condition | None) -> Tensor:
    """Return of which blocks (b, 1, 1, 1, 1, 1) nothing is known but what was drawn before."""
    own = known & (x == (condition or {})["fill"])
    return ~own.flatten(1).any(1)[:, None, None, None, None, None]


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
        nn.init.constant_(last.bias, SURE)  # unfitted, all that the data spread
        layers = [nn.Linear(FEATURES, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), last]
        self.log_scale = nn.Sequential(*layers).requires_grad_(False)

    def fill(self, x: Tensor, known: Tensor, condition: Condition | None, iterations: int = ITERATIONS) -> Tensor:
        """Return the continuation (b, 1, t, z, H, W) of what is known; see `cmrgz.adaptive`.

        Where the condition has a `fill` (b, 1, t, z, H, W), made of the whole scan, it is that: what was drawn before
        is no evidence, and its errors would add up from block to block. Only a block of which nothing else is known
        continues what was drawn.
        """
        links = Links.of(*places(condition, x))
        whole = (condition or {}).get("fill")
        if whole is None:
            return adaptive_continuation(x, known, links, self.weights, iterations)
        alone = _only_drawn(x, known, condition)
        if bool(alone.any()):
            whole = torch.where(alone, whole + continuation(x - whole, known, links), whole)
        return torch.where(known, x, whole)

    def forward(
        self, tokenizer: Tokenizer, x: Tensor, known: Tensor, condition: Condition | None, iterations: int = ITERATIONS
    ) -> Hint:
        """Return the hints of blocks x (b, 1, t, z, H, W) of which `known` is known; hidden voxels are not used."""
        fill = self.fill(x, known, condition, iterations)
        vectors = framewise(tokenizer.encode, fill)
        features = _features(fill, evidence(x, known, condition), tokenizer.patch)
        scale = self.scale_of(features.movedim(1, -1)).movedim(-1, 1)
        spread = self.spread[:, None, None, None, None]
        some = known.flatten(1).any(1)[:, None, None, None, None, None]
        mean = torch.where(some, vectors, self.mean[:, None, None, None, None])
        shares = features[:, :SHARES] * some
        return Hint(fill, mean, torch.where(some, scale, spread), shares)

    @torch.no_grad()
    def fit(self, tokenizer: Tokenizer, x: Tensor, rng: Streams) -> None:
        """Fit all to blocks (n, 1, t, z, H, W), hidden as in training."""
        grid = (*x.shape[2:4], x.shape[-2] // tokenizer.patch, x.shape[-1] // tokenizer.patch)
        keys = Streams(rng.seed, [("hints", i) for i in range(len(x))])
        known = position_pixels(training_known(grid, keys), tokenizer.patch).to(x.device)
        some = known.flatten(1).any(1)
        x, known = x[some], known[some]
        if not len(x):
            return
        vectors = torch.cat([framewise(tokenizer.encode, part).cpu() for part in x.split(CHUNK)])
        flat = vectors.movedim(1, -1).flatten(0, -2)
        self.mean.copy_(flat.mean(0))
        self._fit_weights(x[: 4 * CHUNK], known[: 4 * CHUNK])
        self._fit_scale(tokenizer, x, known, vectors.to(x))

    def _fit_weights(self, x: Tensor, known: Tensor) -> None:
        """Take those of the tried weights with the least error in the hole."""
        errors = []
        for weights in TRIED:
            self.weights.copy_(torch.tensor(weights))
            fills = torch.cat([self.fill(a, k, None) for a, k in zip(x.split(CHUNK), known.split(CHUNK), strict=True)])
            errors.append(float((fills - x).square()[~known].sum()))
        self.weights.copy_(torch.tensor(TRIED[errors.index(min(errors))]))

    def scale_of(self, features: Tensor) -> Tensor:
        """Return standard deviations (..., c) of positions with features (..., FEATURES): LEAST to 1 spreads."""
        told = (features - self.centre[0]) / self.centre[1]
        low, high = (LEAST * self.spread).log(), self.spread.log()
        return (low + (high - low) * (self.log_scale(told) + 1.0).sigmoid()).exp()

    def _fit_scale(self, tokenizer: Tokenizer, x: Tensor, known: Tensor, vectors: Tensor) -> None:
        """Fit the error of the fill as a normal law whose deviation is told from features of what is known."""
        rows, errors = [], []
        for a, k, true in zip(x.split(CHUNK), known.split(CHUNK), vectors.split(CHUNK), strict=True):
            fill = self.fill(a, k, None)
            hidden = ~known_positions(k, tokenizer.patch)
            rows.append(_features(fill, k, tokenizer.patch).movedim(1, -1)[hidden])
            errors.append((true - framewise(tokenizer.encode, fill)).movedim(1, -1)[hidden])
        features, error = torch.cat(rows), torch.cat(errors)
        if self.rotate:
            moments = (error.T @ error / len(error)).double().cpu()
            self.basis.copy_(torch.linalg.eigh(moments)[1].flip(1))
        flat = (vectors.movedim(1, -1).flatten(0, -2) - self.mean) @ self.basis
        self.spread.copy_(flat.std(0).clamp(min=1e-4))
        self.centre.copy_(torch.stack([features.mean(0), features.std(0).clamp(min=0.1)]))
        self._learn(features, error @ self.basis)

    @torch.enable_grad()
    def _learn(self, features: Tensor, error: Tensor) -> None:
        """Maximise the likelihood of errors (n, c) given features (n, FEATURES); the same for the same items."""
        generator = torch.Generator().manual_seed(0)
        for layer in self.log_scale:
            for p in layer.parameters():
                bound = 0.0 if p.ndim == 1 or layer is self.log_scale[-1] else p.shape[1] ** -0.5
                p.copy_(torch.empty(p.shape).uniform_(-bound, bound, generator=generator))
        some = torch.randperm(len(features), generator=generator)[:ROWS].to(features.device)
        features, error = features[some], error[some]
        weights = list(self.log_scale.requires_grad_(True).parameters())
        optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.2)  # few items must not make it sure
        for step in range(STEPS):
            at = torch.randint(len(features), (BATCH,), generator=generator).to(features.device)
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
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


def _features(fill: Tensor, known: Tensor, patch: int) -> Tensor:
    """Return features (b, FEATURES, t, z, h, w): the shares, how much the fill varies here and in all, and products."""
    share = known_positions(known, patch)[:, None].to(fill.dtype)  # cut patches count as hidden, as in training

    def near(k: int) -> Tensor:
        return framewise(lambda f: F.avg_pool2d(f, k, 1, k // 2, count_include_pad=False), share)

    shares = [share, near(3), near(5), near(9), _beside(share, 2, 1), _beside(share, 2, 2), _beside(share, 3, 1)]
    shares.append(_beside(near(3), 2, 1))
    shares.append(share.mean((2, 3, 4, 5), keepdim=True).expand_as(share))
    varied = [_varied(fill, axis, patch) for axis in (2, 3)] + [_texture(fill, patch)]
    whole_block = [v.mean((2, 3, 4, 5), keepdim=True).expand_as(v) for v in varied]
    near_known = [v * s for v in varied for s in (shares[4], shares[1])]
    usual = [v - w for v, w in zip(varied, whole_block, strict=True)][:2]
    return torch.cat([*shares, *varied, *whole_block, *near_known, *usual], 1)


def _beside(share: Tensor, axis: int, step: int) -> Tensor:
    """Return the mean of what stands `step` frames before and after along an axis; 0 beyond the ends."""
    total = torch.zeros_like(share)
    n = share.shape[axis]
    if n > step:
        total.narrow(axis, 0, n - step).add_(share.narrow(axis, step, n - step), alpha=0.5)
        total.narrow(axis, step, n - step).add_(share.narrow(axis, 0, n - step), alpha=0.5)
    return total


def _varied(fill: Tensor, axis: int, patch: int) -> Tensor:
    """Return the log of how much a patch of the fill differs from its neighbours along an axis."""
    if fill.shape[axis] == 1:
        return framewise(lambda f: F.avg_pool2d(f, patch), torch.full_like(fill, math.log(0.02)))
    step = fill.diff(dim=axis).square()
    both = _beside_sum(step, axis, fill.shape)
    return (framewise(lambda f: F.avg_pool2d(f, patch), both) + 4e-4).log() / 2


def _beside_sum(step: Tensor, axis: int, shape: torch.Size) -> Tensor:
    """Return the mean of the squared steps to both neighbours; at the ends that to one."""
    total, count = step.new_zeros(shape), step.new_zeros(shape)
    for start in (0, 1):
        total.narrow(axis, start, step.shape[axis]).add_(step)
        count.narrow(axis, start, step.shape[axis]).add_(1)
    return total / count


def _texture(fill: Tensor, patch: int) -> Tensor:
    """Return the log of the spread of a patch of the fill."""

    def spread(frames: Tensor) -> Tensor:
        return F.avg_pool2d(frames.square(), patch) - F.avg_pool2d(frames, patch).square()

    return (framewise(spread, fill).clamp(min=0) + 4e-4).log() / 2
