"""A continuation that knows how a beating heart varies: smooth motion, and less certain where more moves.

The smoothest continuation says that neighbours are alike everywhere. Here every difference of neighbours is weighed by
how large differences are around it (iteratively reweighted least squares, one round; Green 1984), so that a still wall
of the chest is copied through time and the heart is not; and what moves goes on moving: second differences over time
count too. It is a Gaussian field, so what it gives is the mean of what could be there. Hidden values are never used.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.continuation import WEIGHTS, Links, conjugate_gradients, continuation

COEFFICIENTS = (25.0, 0.5, 5.0)
"""Weights of differences over phases, over slices, and of second differences over phases; in the plane 1."""
CELL = 4
"""Edge in pixels of the cells in which the size of differences is told."""
FLOOR = 0.04
"""Size of differences that are taken for noise, values being in [-1, 1]."""
START, ITERATIONS = 30, 40
"""Iterations of conjugate gradients: for the smoothest continuation, and from there on."""

DECAY, REACH = 0.02, 16
"""Weight with which a walk ends at each step, neighbours in the plane having 1, so that it goes about 7 pixels; and
iterations of conjugate gradients for the reach."""


class _Weights(NamedTuple):
    """Weights of every difference, each (b, t, z, h, w); those that there are not are 0."""

    t: Tensor
    z: Tensor
    y: Tensor
    x: Tensor
    tt: Tensor


def adaptive_continuation(
    x: Tensor, known: Tensor, links: Links, coefficients: Tensor, iterations: int = ITERATIONS
) -> Tensor:
    """Return blocks (b, 1, t, z, H, W) whose hidden voxels continue the known ones; 0 where nothing is known.

    Args:
        x: Blocks (b, 1, t, z, H, W); hidden voxels are not used.
        known: (b, 1, t, z, H, W) bool.
        links: Of their frames; the smoothest continuation by them is what is started from.
        coefficients: (3,) as `COEFFICIENTS`.
        iterations: Of conjugate gradients.
    """
    # How large differences are can be told only where both voxels are there, so a first guess fills the hole.
    start = continuation(x, known, links, START)
    if x.shape[2] * x.shape[3] == 1:
        return start
    weights = _weights(start[:, 0], links, coefficients.to(x))
    u = conjugate_gradients(start[:, 0], known[:, 0], lambda v: _gradient(v, weights), _degree(weights), iterations)
    return torch.where(known, x, u[:, None]) * known.flatten(1).any(1)[:, None, None, None, None, None]


def reach(fill: Tensor, known: Tensor, links: Links, coefficients: Tensor) -> Tensor:
    """Return how near known voxels are in the eyes of a continuation: 1 where known, towards 0 far away.

    The probability that a walk along the links of neighbours, which ends by chance on its way, meets a known voxel: it
    counts all axes, and the surroundings of a block where the block is cut from it (Grady 2006, TPAMI 28, sec. 3, for
    random walks and Dirichlet problems).

    Args:
        fill: (b, 1, t, z, H, W) the continuation.
        known: (b, 1, t, z, H, W) bool.
        links: Of their frames.
        coefficients: (3,) as `COEFFICIENTS`.
    """
    weights = _weights(fill[:, 0], links, coefficients.to(fill))
    # A second difference weighs the voxel two phases away negatively, and a walk has no negative chances.
    weights = weights._replace(tt=torch.zeros_like(weights.tt))
    fixed = known[:, 0]

    def gradient(u: Tensor) -> Tensor:
        return _gradient(u, weights) + DECAY * u

    # 1 where known, which stays; elsewhere the decay pulls to 0, which a walk that ends by chance is given.
    near = conjugate_gradients(fixed.to(fill), fixed, gradient, _degree(weights) + DECAY, REACH)
    return near[:, None].clamp(0, 1)


def _step(u: Tensor, axis: int) -> Tensor:
    """Return the differences (b, t, z, h, w) to the next along an axis, the last to the first."""
    # Rolled, so that one code serves open axes and rings: the weight of the step from last to first is 0 or not.
    return u.roll(-1, axis) - u


def _back(g: Tensor, axis: int) -> Tensor:
    """Return the adjoint of `_step`."""
    return g.roll(1, axis) - g


def _gradient(u: Tensor, w: _Weights) -> Tensor:
    """Return the gradient of half the energy at u (b, t, z, h, w)."""
    out = _back(w.y * _step(u, 3), 3) + _back(w.x * _step(u, 4), 4)
    if u.shape[1] > 1:
        step = _step(u, 1)
        out += _back(w.t * step + _back(w.tt * _step(step, 1), 1), 1)
    if u.shape[2] > 1:
        out += _back(w.z * _step(u, 2), 2)
    return out


def _degree(w: _Weights) -> Tensor:
    """Return about the diagonal (b, t, z, h, w) of the energy."""
    # A voxel is in two differences along each axis, and in three second ones with the factors 1, -2, 1: 1 + 4 + 1.
    return 2 * (w.t + w.z + w.y + w.x) + 6 * w.tt + 1e-6


def _weights(u: Tensor, links: Links, c: Tensor) -> _Weights:
    """Return the weights for a first guess u: the coefficients, by how much u varies around a difference."""
    _, t, z, h, w = u.shape
    ring = (links.wrap > 0).to(u)[:, None, None, None, None]
    ends = [_inside(n, u, axis) for axis, n in ((1, t), (2, z), (3, h), (4, w))]
    through = ends[0] + (1 - ends[0]) * ring
    # A second difference is there where both of its first ones are.
    twice = through * through.roll(-1, 1)
    local = [_local(_step(u, axis).square() * valid, valid) * valid for axis, valid in ((1, through), (2, ends[1]))]
    both = _step(u, 3).square() * ends[2] + _step(u, 4).square() * ends[3]
    plane = _local(both, ends[2] + ends[3])
    phases, slices = (part[:, None, None, None, None] for part in (links.t / WEIGHTS[0], links.z / WEIGHTS[1]))
    # Energies of differences fall with the square of the distance of phases, those of second ones with its fourth
    # power.
    return _Weights(
        c[0] * phases * local[0],
        c[1] * slices * local[1],
        plane * ends[2],
        plane * ends[3],
        c[2] * phases.square() * local[0] * twice if t > 2 else torch.zeros_like(u),
    )


def _inside(n: int, u: Tensor, axis: int) -> Tensor:
    """Return 1 where a difference along an axis of n stays inside, 0 for the one from the last to the first."""
    shape = [1] * u.ndim
    shape[axis] = n
    return (torch.arange(n, device=u.device) < n - 1).to(u).view(shape)


def _local(energy: Tensor, count: Tensor) -> Tensor:
    """Return weights (b, t, z, h, w): the inverse of the usual size of differences nearby, of mean logarithm 0.

    Args:
        energy: (b, t, z, h, w) sums of squared differences.
        count: How many there are, to be broadcast.
    """
    cells, there = (_nearby(part.expand_as(energy)) for part in (energy, count))
    # 1 / rms: reweighted so, squares count as absolute values would, which let few large steps stand beside still
    # parts.
    log = -(cells / there.clamp(min=1e-6) + FLOOR**2).log() / 2
    # So that coefficients mean the same whatever the contrast of a scan, and differences in the plane weigh about 1.
    log = log - log.flatten(1).mean(1)[:, None, None, None, None]
    fine = F.interpolate(log.flatten(0, 2)[:, None], scale_factor=CELL, mode="bilinear", align_corners=False)
    return fine[:, 0, : energy.shape[3], : energy.shape[4]].unflatten(0, energy.shape[:3]).exp()


def _nearby(x: Tensor) -> Tensor:
    """Return means (b, t, z, h / CELL, w / CELL) over some cells and five phases."""
    cells = F.avg_pool2d(x.flatten(0, 2)[:, None], CELL, ceil_mode=True, count_include_pad=False)
    for _ in range(2):
        cells = F.avg_pool2d(cells, 3, 1, 1, count_include_pad=False)
    return _over_time(cells[:, 0].unflatten(0, x.shape[:3]))


def _over_time(cells: Tensor) -> Tensor:
    """Return means (b, t, z, h, w) over five phases."""
    flat = cells.movedim(1, -1)
    shape = flat.shape
    return F.avg_pool1d(flat.flatten(1, 3), 5, 1, 2, count_include_pad=False).view(shape).movedim(-1, 1)
