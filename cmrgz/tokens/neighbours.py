"""How much alike the errors of hints are at neighbouring positions, and noise that is as much alike."""

import torch
from torch import Tensor

from cmrgz.sending import sent

MOST = 0.98
"""Largest correlation of neighbours."""
HARMONICS = 10
"""Of noise around a cycle: those that 20 phases, the usual number, can have."""
WAVES = 2 * HARMONICS + 1
"""Normal numbers that a field around a cycle takes at a place of it."""


def neighbour_sums(units: Tensor, hidden: Tensor) -> Tensor:
    """Return sums (4, 2, c) over pairs of hidden neighbours along each axis: of their products, and of mean squares.

    Args:
        units: (b, t, z, h, w, c) errors over their usual size.
        hidden: (b, t, z, h, w) bool.
    """
    sums = []
    for axis in range(1, 5):
        n = units.shape[axis]
        one, other = (units.narrow(axis, start, n - 1) for start in (0, 1))
        # Known positions have no error: a pair with one would make neighbours look less alike.
        both = hidden.narrow(axis, 0, n - 1) & hidden.narrow(axis, 1, n - 1)
        pairs = (one * other, (one.square() + other.square()) / 2)
        sums.append(torch.stack([part[both].sum(0) for part in pairs]))
    return torch.stack(sums)


def correlations(sums: Tensor) -> Tensor:
    """Return the correlations (4, c) of neighbours that `neighbour_sums` tell, not negative."""
    return (sums[:, 0] / sums[:, 1].clamp(min=1e-6)).clamp(0, MOST)


def around_cycle(waves: Tensor, alike: Tensor, moments: Tensor) -> Tensor:
    """Return normal fields (b, t, ..., c) of variance 1 whose neighbours in time correlate; the same for all blocks.

    A sum of the harmonics of the cycle with the powers of an autoregressive process of the first order: wherever a
    block begins, at a moment of the cycle it has what others have there.

    Args:
        waves: (b, WAVES, ..., c) independent standard normal.
        alike: (c,) correlations of phases that are a twentieth of a cycle apart.
        moments: (b, t) parts of the cycle, any whole number more or less being the same.
    """
    angle = 2 * torch.pi * torch.arange(HARMONICS + 1, device=waves.device).to(waves)
    power = 1 / (1 - 2 * alike * torch.cos(angle / (2 * HARMONICS))[:, None] + alike.square())
    # Harmonics between the ends of the spectrum have their negative frequencies in them.
    ends = torch.tensor([1.0, *[2.0] * (HARMONICS - 1), 1.0])
    power = power * sent(ends, waves.device).to(waves.dtype)[:, None]
    # Sine and cosine of a harmonic have one size, so that the variance is 1 at every moment.
    size = (power / power.sum(0)).sqrt()
    turns = moments.to(waves)[..., None] * angle
    basis = torch.cat([turns.cos(), turns[..., 1:].sin()], -1)
    return torch.einsum("btm,mc,bm...c->bt...c", basis, torch.cat([size, size[1:]]), waves)


def correlated(noise: Tensor, alike: Tensor) -> Tensor:
    """Return normal fields (b, t, z, h, w, k, c) of variance 1 whose neighbours in a frame and of slices correlate.

    Autoregressive of the first order along each axis in turn (Box and Jenkins 1970, sec. 3.2): separable, stationary.

    Args:
        noise: (b, t, z, h, w, k, c) standard normal, independent but along t.
        alike: (4, c) correlations of neighbours along the axes; that along t is not used.
    """
    for axis, rho in enumerate(alike[1:], 2):
        steps = list(noise.unbind(axis))
        for i in range(1, len(steps)):
            # The second factor keeps the variance at 1: rho^2 + (1 - rho^2).
            steps[i] = rho * steps[i - 1] + (1 - rho.square()).sqrt() * steps[i]
        noise = torch.stack(steps, axis)
    return noise
