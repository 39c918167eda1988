"""Probabilistic principal components (Tipping and Bishop 1999): x = mean + factors z + noise.

What is drawn given a part of x comes from the exact posterior, so this model is the ground truth for whatever judges
others: a calibrated sampler by construction.
"""

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from cmrgz.model import Condition, Model, Progress
from cmrgz.options import Range
from cmrgz.rng import Streams

LEAST_NOISE = 1e-3


class Gaussian(Model):
    """A Gaussian over items of one shape, with `rank` factors and independent noise.

    Args:
        item: Rows and columns of the items.
        rank: Number of factors.
    """

    def __init__(self, item: tuple[int, int], rank: int) -> None:
        super().__init__()
        self.item = item
        pixels = item[0] * item[1]
        self.mean = nn.Parameter(torch.zeros(pixels))
        self.factors = nn.Parameter(torch.randn(pixels, rank) / math.sqrt(pixels))
        self.log_noise = nn.Parameter(torch.tensor(-1.0))

    @property
    def variance(self) -> Tensor:
        """Variance of the noise."""
        return (2 * self.log_noise).exp() + LEAST_NOISE

    @torch.no_grad()
    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Set everything to the maximum of the likelihood of items (n, 1, *item) (Tipping and Bishop 1999, eq. 7-8)."""
        del rng
        flat = x.flatten(1).double()
        rank = self.factors.shape[1]
        _, singular, axes = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
        values = singular.square() / len(flat)
        noise = (values[rank:].sum() / (flat.shape[1] - rank)).clamp(min=LEAST_NOISE)
        kept = min(rank, len(values))
        self.mean.copy_(flat.mean(0))
        self.factors[:, :kept] = (axes[:kept].T * (values[:kept] - noise).clamp(min=1e-6).sqrt()).to(self.factors)
        self.log_noise.copy_(0.5 * noise.log())

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Return the negative log-likelihood per pixel, plus a draw's share of dropped pixels as noise of training."""
        del condition
        seen = rng.uniform(x[0].numel()).to(x.device) < 0.9
        off = (x.flatten(1) - self.mean) * seen
        precision, projected = self._latent(off, seen)
        explained = (projected[:, None] @ torch.linalg.solve(precision, projected[..., None])).flatten()
        count = seen.sum(1)
        quadratic = (off.square().sum(1) - explained / self.variance) / self.variance
        determinant = torch.linalg.slogdet(precision)[1] + count * self.variance.log()
        return ((quadratic + determinant) / count).mean() / 2 + math.log(2 * math.pi) / 2

    def _latent(self, off: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return the precision (b, k, k) of the factors' values given known pixels, and off (b, d) on the factors."""
        seen = known.to(off.dtype)
        gram = torch.einsum("bd,dk,dl->bkl", seen, self.factors, self.factors)
        eye = torch.eye(self.factors.shape[1], device=off.device)
        return eye + gram / self.variance, (off * seen) @ self.factors

    @torch.no_grad()
    def sample(
        self,
        x: Tensor,
        known: Tensor,
        *,
        condition: Condition | None = None,
        rng: Streams,
        progress: Progress | None = None,
        temperature: Annotated[float, "1 is the posterior, 0 its mean", Range(0, 10)] = 1.0,
    ) -> Tensor:
        """Draw from the exact posterior; see `Model.sample`."""
        del condition
        seen = known.flatten(1)
        off = torch.where(seen, x.flatten(1) - self.mean, 0.0)
        precision, projected = self._latent(off, seen)
        mean = torch.linalg.solve(precision, projected[..., None] / self.variance)
        factor = torch.linalg.cholesky(precision)
        white = rng.normal(self.factors.shape[1], 1).to(x.device)
        z = mean + temperature * torch.linalg.solve_triangular(factor.mT, white, upper=True)
        noise = rng.normal(x[0].numel()).to(x.device) * self.variance.sqrt()
        if progress is not None:
            progress(1, 1)
        return (self.mean + z[..., 0] @ self.factors.T + temperature * noise).view_as(x)


def build(
    item: Annotated[tuple[int, int], "rows and columns of the items"] = (128, 128),
    rank: Annotated[int, "number of factors", Range(1, 512)] = 32,
) -> Gaussian:
    """Build the model."""
    return Gaussian(item, rank)
