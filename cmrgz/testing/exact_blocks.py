"""Networks without error for kits of blocks: they see what a kit tells its network, in its units, and undo both.

A kit of blocks draws what is left over of vectors v when the hints of what is known are taken away,
u = (v - mean) / scale. What a network is told says both, so the exact law of u follows from that of v: in blocks, too,
all that differs from exact draws is the sampling's.
"""

import math

import torch
from torch import Tensor

from cmrgz.diffusion.levels import Path, Schedule, make_path
from cmrgz.diffusion.model import LatentDiffusion
from cmrgz.features import SHARES
from cmrgz.model import Condition
from cmrgz.testing.mixtures import Mixture, MixtureNetwork, Name, PixelTokenizer, hole
from cmrgz.testing.plain_hints import set_scale

AT_ONCE = 64
"""Items whose matrices are in memory together."""


class MixtureBlockNetwork(MixtureNetwork):
    """As `MixtureNetwork`, for blocks: exact given what is known, where the network is told of it.

    The state is followed by the mean of the hints, the logarithm of their scale, the shares, and which positions are
    known.
    """

    def forward(self, inputs: Tensor, time: Tensor, condition: Condition | None) -> Tensor:
        """Return what is to be added to the prediction for standard normal data; see `DenoisingNetwork`."""
        del condition
        level = self.path.level(float(time[0]))
        a, s = level.signal, level.noise
        z = inputs[:, :1].double() / float(self.objective.enter(torch.ones(()), a, s))
        origin, log_scale, known = (inputs[:, i].flatten(1).double() for i in (1, 2, 3 + SHARES))
        u = self.left_over(z.flatten(1), origin, log_scale.exp(), known > 0, level.ab).view_as(z)
        exact, usual = self.objective.target(u, (z - a * u) / s, a, s), self.objective.target(a * z, s * z, a, s)
        # A kit of blocks adds to what the network says the prediction for standard normal data.
        return exact - usual

    def left_over(self, z: Tensor, origin: Tensor, scale: Tensor, known: Tensor, ab: float) -> Tensor:
        """Return E[u | z, known v] (b, d) of states z = a u + s e of u = (v - origin) / scale; 0 where v is known."""
        # Given nothing, u is v itself, and the eigenvectors of the mixture are at hand.
        if not bool(known.any() | origin.any() | (scale != 1).any()):
            return self.expected(z, ab)
        result = torch.zeros_like(z)
        for pattern in known.unique(dim=0):
            for rows in (known == pattern).all(1).nonzero()[:, 0].split(AT_ONCE):
                hidden = ~pattern
                # Where a pixel is known the fill, and so the origin, is its value: that is what the posterior is
                # given.
                mean = origin[rows]
                own = self._hidden(z[rows][:, hidden], mean, scale[rows][:, hidden], pattern, ab)
                result[rows] = result[rows].masked_scatter(hidden.expand_as(mean), own)
        return result

    def _hidden(self, z: Tensor, origin: Tensor, scale: Tensor, known: Tensor, ab: float) -> Tensor:
        """Return E[u | z, known v] (n, m) of the hidden pixels of items of which the same (d,) are known."""
        posterior = self.mixture.posterior(origin, known)
        # The posterior is of v; what the kit draws is u.
        means = (posterior.means - origin[:, ~known]) / scale  # (k, n, m)
        covariances = posterior.factors @ posterior.factors.transpose(1, 2)
        covariance = covariances[:, None] / (scale[:, :, None] * scale[:, None])  # (k, n, m, m)
        a, noise = math.sqrt(ab), (1 - ab) * torch.eye(z.shape[1], dtype=z.dtype)
        factor = torch.linalg.cholesky(ab * covariance + noise)
        off = torch.linalg.solve_triangular(factor, (z - a * means)[..., None], upper=False)
        log = -off[..., 0].square().sum(-1) / 2 - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        share = (log + posterior.shares.log()).softmax(0)
        pull = torch.linalg.solve_triangular(factor.transpose(-2, -1), off, upper=True)
        expected = means + a * (covariance @ pull)[..., 0]
        return torch.einsum("kn,knm->nm", share, expected)


def mixture_block_model(
    mixture: Mixture, objective: Name = "v", schedule: Schedule = "cosine", scale: float = 1.0
) -> LatentDiffusion:
    """Return the perfect diffusion model of a mixture over blocks, in eval mode.

    Args:
        mixture: From `Mixture.blocks`.
        objective: Of the network.
        schedule: Noise levels.
        scale: That the hints tell of everything, at most 1: exact draws do not depend on it.
    """
    path: Path = make_path(objective, schedule)
    network = MixtureBlockNetwork(mixture, objective, path)
    model = LatentDiffusion(network, PixelTokenizer(), objective, schedule, axes=mixture.axes).eval()
    if model.hints is not None:
        set_scale(model.hints, scale)
    return model


def block_hole(kind: str, share: float, mixture: Mixture) -> Tensor:
    """Return known pixels (*item) of blocks beside a hole: `phase` or `slice`, the last one, or `held` or `scattered`.

    `held` hides a share of the pixels of a picture, the same in all frames; `scattered` the others in each.
    """
    if kind in ("phase", "slice"):
        known = torch.ones(mixture.item, dtype=torch.bool)
        known.select(("phase", "slice").index(kind), -1).fill_(False)
        return known
    if kind == "held":
        return hole("scattered", share, mixture.side).expand(mixture.item)
    score = torch.rand(mixture.item, generator=torch.Generator().manual_seed(3)).flatten(2)
    rank = score.argsort(-1).argsort(-1)
    return (rank >= round(share * mixture.side**2)).view(mixture.item)
