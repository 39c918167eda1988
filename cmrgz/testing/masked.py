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
from cmrgz.tokens.continuous import MaskedVectorModel, VectorNetwork

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
    """Features of a position are its exact distribution, see `conditionals`."""

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.mixture = mixture
        self.anchor = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, vectors: Tensor, shown: Tensor, condition: Condition | None, hints: Tensor) -> Tensor:
        """Return (b, 3 k, h, w); see `VectorNetwork`. Neither conditions nor hints matter."""
        del condition, hints
        pairs = zip(vectors.double().flatten(1).split(AT_ONCE), shown.flatten(1).split(AT_ONCE), strict=True)
        parts = [conditionals(self.mixture, x, seen) for x, seen in pairs]
        return torch.cat(parts).transpose(1, 2).unflatten(2, vectors.shape[2:])


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
        spread = a**2 * variance + s**2
        off = z - a * mean
        share = (log - off.square() / spread / 2 - spread.log() / 2).softmax(-1)
        x0 = (share * (mean + a * variance / spread * off)).sum(-1, keepdim=True)
        return self.objective.target(x0, (z - a * x0) / s, a, s)


def masked_mixture_model(mixture: Mixture, objective: Name = "flow") -> MaskedVectorModel:
    """Return the perfect masked autoregressive model of a mixture, in eval mode."""
    head = DiffusionHead(ExactDenoiser(objective, make_path(objective)), objective)
    return MaskedVectorModel(ExactNetwork(mixture), head, PixelTokenizer()).eval()
