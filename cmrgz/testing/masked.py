"""Masked autoregression over the mixture of `mixtures`, without error: all that is measured is the decoding's.

The network knows the exact distribution of every position given those that are shown, the head its exact denoiser.
"""

import torch
from torch import Tensor, nn

from cmrgz.diffusion.head import DiffusionHead, VectorDenoiser
from cmrgz.diffusion.levels import Path, make_path
from cmrgz.diffusion.objectives import OBJECTIVES
from cmrgz.model import Condition
from cmrgz.testing.mixtures import Mixture, Name, PixelTokenizer
from cmrgz.testing.plain_hints import set_scale
from cmrgz.tokens.masked_vectors import MaskedVectorModel, VectorNetwork

AT_ONCE = 16
"""Items whose matrices are in memory together."""


def conditionals(mixture: Mixture, x: Tensor, shown: Tensor) -> Tensor:
    """Return the distribution of every single pixel given those shown: (b, d, 3 k).

    A mixture of k Gaussians: log-shares, means, variances. Pixels that are shown have a variance of 0.

    Args:
        mixture: Of pictures of d pixels.
        x: (b, d); only what is shown is used.
        shown: (b, d) bool, of each picture its own.
    """
    seen = shown.to(mixture.means)
    both = seen[:, None, :, None] * seen[:, None, None, :]
    # What is not shown is made independent and of variance 1: any patterns fit into one batch, and nothing changes.
    factor = torch.linalg.cholesky(mixture.covariances * both + torch.diag_embed(1 - seen)[:, None])
    off = torch.where(shown[:, None], x[:, None] - mixture.means, 0.0)  # (b, k, d)
    white = torch.linalg.solve_triangular(factor, off[..., None], upper=False)
    gain = torch.linalg.solve_triangular(factor, mixture.covariances * seen[:, None, :, None], upper=False)
    diagonal = factor.diagonal(dim1=-2, dim2=-1)
    log = (-white[..., 0].square() / 2 - diagonal.log()).sum(-1) + mixture.weights.log()
    mean = mixture.means + (gain * white).sum(-2)
    variance = mixture.covariances.diagonal(dim1=1, dim2=2) - gain.square().sum(-2)
    share = log.log_softmax(-1)[..., None].expand_as(mean)
    return torch.cat([share, mean, variance.clamp(min=0)], 1).transpose(1, 2)


class ExactNetwork(VectorNetwork):
    """Features of a position are its exact distribution, see `conditionals`; in blocks in the units of the hints."""

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.mixture = mixture
        self.anchor = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, vectors: Tensor, shown: Tensor, condition: Condition | None, hints: Tensor) -> Tensor:
        """Return (b, 3 k, *grid); see `VectorNetwork`. Conditions do not matter, nor hints but for their units."""
        del condition
        origin, scale = torch.zeros_like(vectors), torch.ones_like(vectors)
        if self.mixture.frames:  # what is known has a scale of its own, and lies at the origin
            origin, scale = hints[:, :1], hints[:, 1:2].exp()
        parts = [
            self._laws(*(part.double() if part.is_floating_point() else part for part in some))
            for some in zip(*(p.flatten(1).split(AT_ONCE) for p in (vectors, shown, origin, scale)), strict=True)
        ]
        return torch.cat(parts).transpose(1, 2).unflatten(2, vectors.shape[2:])

    def _laws(self, u: Tensor, shown: Tensor, origin: Tensor, scale: Tensor) -> Tensor:
        """Return the distributions (b, d, 3 k) of u = (v - origin) / scale, given those shown, all (b, d)."""
        own = conditionals(self.mixture, origin + scale * u, shown)
        share, mean, variance = own.chunk(3, -1)
        unit = scale[..., None]
        return torch.cat([share, (mean - origin[..., None]) / unit, variance / unit.square()], -1)


class ExactDenoiser(VectorDenoiser):
    """Predicts what an objective asks for of one number whose distribution is told: log-shares, means, variances."""

    def __init__(self, objective: str, path: Path) -> None:
        super().__init__()
        self.objective, self.path = OBJECTIVES[objective], path

    def prepare(self, features: Tensor) -> Tensor:
        """Return the features."""
        return features

    def forward(self, state: Tensor, time: Tensor, told: Tensor) -> Tensor:
        """Return the exact prediction (..., 1); see `VectorDenoiser`. All states have one level."""
        level = self.path.level(float(time.flatten()[0]))
        a, s = level.signal, level.noise
        z = state.double() / float(self.objective.enter(torch.ones(()), a, s))
        log, mean, variance = told.double().chunk(3, -1)
        # A Gaussian of the mixture, scaled by the signal, with the noise of the level added.
        spread = a**2 * variance + s**2
        off = z - a * mean
        share = (log - off.square() / spread / 2 - spread.log() / 2).softmax(-1)
        x0 = (share * (mean + a * variance / spread * off)).sum(-1, keepdim=True)
        return self.objective.target(x0, (z - a * x0) / s, a, s)


def masked_mixture_model(mixture: Mixture, objective: Name = "flow", scale: float = 1.0) -> MaskedVectorModel:
    """Return the perfect masked autoregressive model of a mixture, in eval mode; in blocks hints tell that scale."""
    head = DiffusionHead(ExactDenoiser(objective, make_path(objective)), objective)
    model = MaskedVectorModel(ExactNetwork(mixture), head, PixelTokenizer(), axes=mixture.axes).eval()
    if model.hints is not None:
        set_scale(model.hints, scale)
    return model
