"""What the usual error of a fill is told from: how much is known near a position, and how the fill varies there."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.latents import framewise, known_positions

SHARES = 9
"""Numbers that say how much is known near a position."""
FEATURES = SHARES + 17
"""Numbers in all."""
FAR = 1e-3
"""Least distance that is told from none."""


def error_features(fill: Tensor, near: Tensor, known: Tensor, patch: int, beyond: Tensor) -> Tensor:
    """Return features (b, FEATURES, t, z, h, w): shares, variation of the fill here and in all, products, and reach.

    Args:
        fill: (b, 1, t, z, H, W).
        near: (b, 1, t, z, H, W) its `cmrgz.adaptive.reach`.
        known: (b, 1, t, z, H, W) bool.
        patch: Edge of a position in pixels.
        beyond: (b,) bool, whether the fill knows what lies beyond the block.
    """
    share = known_positions(known, patch)[:, None].to(fill.dtype)  # cut patches count as hidden, as in training

    def around(k: int) -> Tensor:
        return framewise(lambda f: F.avg_pool2d(f, k, 1, k // 2, count_include_pad=False), share)

    # Fitted weights know features by their order, so that new ones belong at the end.
    shares = [share, around(3), around(5), around(9), _beside(share, 2, 1), _beside(share, 2, 2), _beside(share, 3, 1)]
    shares.append(_beside(around(3), 2, 1))
    shares.append(share.mean((2, 3, 4, 5), keepdim=True).expand_as(share))
    varied = [_varied(fill, axis, patch) for axis in (2, 3)] + [_texture(fill, patch)]
    whole_block = [v.mean((2, 3, 4, 5), keepdim=True).expand_as(v) for v in varied]
    # Products: what variation says depends on how much is known one phase away, and around in the plane.
    near_known = [v * s for v in varied for s in (shares[4], shares[1])]
    usual = [v - w for v, w in zip(varied, whole_block, strict=True)][:2]
    far = (1 - near + FAR).log()
    reached = [framewise(pool, far) for pool in (lambda f: F.avg_pool2d(f, patch), lambda f: F.max_pool2d(f, patch))]
    flag = beyond.to(share).view(-1, 1, 1, 1, 1, 1).expand_as(share)
    return torch.cat([*shares, *varied, *whole_block, *near_known, *usual, *reached, flag], 1)


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
        # What no variation at all reads below: the root of the floor 4e-4 is 0.02.
        return framewise(lambda f: F.avg_pool2d(f, patch), torch.full_like(fill, math.log(0.02)))
    step = fill.diff(dim=axis).square()
    both = _beside_sum(step, axis, fill.shape)
    # The floor is about the noise of a scan, below which the logarithm would tell one still patch from another.
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
