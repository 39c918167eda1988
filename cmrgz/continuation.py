"""The smoothest continuation of known voxels in all axes of a block: a floor to be judged by, and a start for models.

It minimises `sum_axis w_axis |D_axis u|^2` with u = x where known (Laplace's equation in the hole), by conjugate
gradients (Hestenes and Stiefel 1952) from a pyramid of means. Neighbours in time are much alike, slices less so, hence
weights; they follow the distances of frames. Hidden values of x are never used.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

PHASE_STEP, SLICE_STEP = 1 / 20, 10.0
"""Distances of frames (share of the cycle) and slices (mm) at which weights are stated."""
# On two real cines 4 to 30 over phases and 0.1 to 1 over slices made little difference.
WEIGHTS = (10.0, 0.3)
"""Of phases and of slices, in the plane 1."""
SWEEPS = 4
"""Jacobi sweeps on each level of the pyramid."""


class Links(NamedTuple):
    """How strongly neighbouring frames pull each other, in the plane 1.

    Attributes:
        t: (b,) of phases.
        z: (b,) of slices.
        wrap: (b,) of the last phase and the first: as `t` where the phases are a full cycle, else 0.
    """

    t: Tensor
    z: Tensor
    wrap: Tensor

    @classmethod
    def of(cls, time: Tensor, height: Tensor, weights: tuple[float, float] | Tensor = WEIGHTS) -> "Links":
        """Return the links of blocks whose frames lie at `time` (b, t, z), in cycles, and `height` (b, t, z), in mm."""
        step, gap = _step(time[:, :, 0], PHASE_STEP), _step(height[:, 0], SLICE_STEP)
        t, z = weights[0] * (PHASE_STEP / step) ** 2, weights[1] * (SLICE_STEP / gap) ** 2
        n = time.shape[1]
        # The n steps are the cycle, give or take half a step. Of two phases the last is a neighbour of the first
        # already.
        return cls(t, z, torch.where(((n * step - 1).abs() < 0.5 * step) & (n > 2), t, 0.0))


def _step(places: Tensor, default: float) -> Tensor:
    """Return the mean distance (b,) of neighbours among places (b, n)."""
    if places.shape[1] < 2:
        return torch.full_like(places[:, 0], default)
    # Places that are all the same would give infinite weights.
    return (places.diff(dim=1).abs().mean(1)).clamp(min=1e-3 * default)


def continuation(x: Tensor, known: Tensor, links: Links, iterations: int = 30) -> Tensor:
    """Return blocks (b, 1, t, z, H, W) whose hidden voxels continue the known ones; 0 where nothing is known.

    Args:
        x: Blocks (b, 1, t, z, H, W); hidden voxels are not used.
        known: (b, 1, t, z, H, W) bool.
        links: Of their frames.
        iterations: Of conjugate gradients.
    """
    weights = _Weights.of(links, x)
    u = _pyramid(torch.where(known, x, 0.0)[:, 0], known[:, 0].to(x.dtype), weights)
    # Conjugate gradients move hidden voxels alone, so the known ones must have their values before.
    u = torch.where(known[:, 0], x[:, 0], u)
    # On two real cines 30 iterations come within 0.3 dB of the solution.
    u = conjugate_gradients(u, known[:, 0], weights.laplacian, weights.degree(u.shape), iterations)
    return torch.where(known, x, u[:, None]) * known.flatten(1).any(1)[:, None, None, None, None, None]


def conjugate_gradients(
    u: Tensor, fixed: Tensor, gradient: Callable[[Tensor], Tensor], degree: Tensor, iterations: int
) -> Tensor:
    """Return u (b, t, z, h, w) nearer to the least of a quadratic energy, block by block.

    Args:
        u: A first guess.
        fixed: Bool, voxels that stay as they are.
        gradient: Of half the energy; linear.
        degree: About its diagonal, which preconditions.
        iterations: Of the method.
    """
    u, free = u.clone(), ~fixed
    r = gradient(u).mul_(free).neg_()
    p = r / degree
    z, rz = p.clone(), _dot(r, p)
    for _ in range(iterations):  # in place: cines are large
        q = gradient(p).mul_(free)
        # A block that is solved, or has no hole, has 0 / 0 here while others of its batch go on.
        alpha = rz / _dot(p, q).clamp(min=1e-20)
        u.addcmul_(alpha, p)
        r.addcmul_(alpha, q, value=-1)
        del q
        after = _dot(r, torch.div(r, degree, out=z))
        p, rz = p.mul_(after / rz.clamp(min=1e-20)).add_(z), after
    return u


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner products (b, 1, 1, 1, 1) of blocks."""
    return (a * b).flatten(1).sum(1)[:, None, None, None, None]


class _Weights(NamedTuple):
    """Links as (b, 1, 1, 1, 1), and the weight in the plane."""

    t: Tensor
    z: Tensor
    wrap: Tensor
    plane: float = 1.0

    @classmethod
    def of(cls, links: Links, like: Tensor) -> "_Weights":
        t, z, wrap = (part.to(like)[:, None, None, None, None] for part in links)
        return cls(t, z, wrap)

    def laplacian(self, u: Tensor) -> Tensor:
        """Return the gradient of half the energy at u (b, t, z, h, w)."""
        out = torch.zeros_like(u)
        for axis, weight in ((1, self.t), (2, self.z), (3, self.plane), (4, self.plane)):
            if u.shape[axis] > 1:
                step = weight * u.diff(dim=axis)
                out.narrow(axis, 1, u.shape[axis] - 1).add_(step)
                out.narrow(axis, 0, u.shape[axis] - 1).sub_(step)
        # The last phase is a neighbour of the first in a full cycle; elsewhere `wrap` is 0.
        if u.shape[1] > 2:
            around = self.wrap[:, 0] * (u[:, 0] - u[:, -1])
            out[:, 0] += around
            out[:, -1] -= around
        return out

    def degree(self, shape: torch.Size) -> Tensor:
        """Return the sum (b, t, z, h, w) of the weights at each voxel."""
        total = self.t.new_zeros(shape)
        for axis, weight in ((1, self.t), (2, self.z), (3, self.plane), (4, self.plane)):
            n = shape[axis]
            if n > 1:
                # Each difference counts for both voxels that it is of.
                total.narrow(axis, 1, n - 1).add_(weight)
                total.narrow(axis, 0, n - 1).add_(weight)
        if shape[1] > 2:
            total[:, 0] += self.wrap[:, 0]
            total[:, -1] += self.wrap[:, 0]
        return total.clamp(min=1e-12)


def _pyramid(value: Tensor, weight: Tensor, links: _Weights) -> Tensor:
    """Return a first guess (b, t, z, h, w): means of what is known, coarse to fine, smoothed over all axes."""
    levels = [(value, weight)]
    while max(levels[-1][0].shape[-2:]) > 1:
        value, weight = (_halved(part) for part in levels[-1])
        sure = (4 * weight).clamp(max=1) / weight.clamp(min=1e-6)  # one known pixel of four is enough
        levels.append((value * sure, weight * sure))
    value, weight = levels[-1]
    guess = value / weight.clamp(min=1e-6)
    # A frame of which nothing is known starts from the mean of its block: its own pyramid has nothing at its top.
    guess = torch.where(weight > 0, guess, _mean(value, weight))
    for level in reversed(range(len(levels))):
        value, weight = levels[level]
        if level < len(levels) - 1:
            guess = F.interpolate(guess.flatten(0, 2)[:, None], size=value.shape[-2:], mode="bilinear")
            guess = guess[:, 0].unflatten(0, value.shape[:3])
        # Pixels of this level lie 2**level apart, and the weight of a difference falls with the square of the
        # distance.
        guess = _smoothed(guess, value, weight, links._replace(plane=0.25**level))
    return guess


def _mean(value: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of what is known of each block."""
    return (value.flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1e-6))[:, None, None, None, None]


def _halved(x: Tensor) -> Tensor:
    """Return (b, t, z, h / 2, w / 2), means of squares."""
    small = F.avg_pool2d(x.flatten(0, 2)[:, None], 2, ceil_mode=True, count_include_pad=False)
    return small[:, 0].unflatten(0, x.shape[:3])


def _smoothed(guess: Tensor, value: Tensor, weight: Tensor, links: _Weights) -> Tensor:
    """Return a guess after Jacobi sweeps in the hole."""
    degree = links.degree(guess.shape)
    for _ in range(SWEEPS):
        # Damped by 0.8: a whole Jacobi step leaves the checkerboard as it is, only of the other sign.
        guess = value + (1 - weight) * (guess - 0.8 * links.laplacian(guess) / degree)
    return guess
