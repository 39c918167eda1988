"""How much alike the errors of hints are at neighbouring positions, and noise that is as much alike."""

import torch
from torch import Tensor

MOST = 0.98
"""Largest correlation of neighbours."""


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
        both = hidden.narrow(axis, 0, n - 1) & hidden.narrow(axis, 1, n - 1)
        pairs = (one * other, (one.square() + other.square()) / 2)
        sums.append(torch.stack([part[both].sum(0) for part in pairs]))
    return torch.stack(sums)


def correlations(sums: Tensor) -> Tensor:
    """Return the correlations (4, c) of neighbours that `neighbour_sums` tell, not negative."""
    return (sums[:, 0] / sums[:, 1].clamp(min=1e-6)).clamp(0, MOST)


def correlated(noise: Tensor, alike: Tensor) -> Tensor:
    """Return normal fields (b, t, z, h, w, k, c) of variance 1 whose neighbours along each axis correlate.

    Autoregressive of the first order along each axis in turn (Box and Jenkins 1970, sec. 3.2): separable, stationary.

    Args:
        noise: (b, t, z, h, w, k, c) independent standard normal.
        alike: (4, c) correlations of neighbours.
    """
    for axis, rho in enumerate(alike, 1):
        steps = list(noise.unbind(axis))
        for i in range(1, len(steps)):
            steps[i] = rho * steps[i - 1] + (1 - rho.square()).sqrt() * steps[i]
        noise = torch.stack(steps, axis)
    return noise
