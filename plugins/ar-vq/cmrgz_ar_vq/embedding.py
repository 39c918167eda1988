"""What enters the transformer: whitened vectors."""

import torch
from torch import Tensor, nn


class Whitening(nn.Module):
    """A fixed linear map that gives the components of patches about equal size, from training statistics."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("matrix", torch.eye(channels))

    def fit(self, vectors: Tensor) -> None:
        """Set mean and matrix from vectors (n, c); small components are raised, but not to full size."""
        mean = vectors.mean(0)
        variance, basis = torch.linalg.eigh(torch.cov((vectors - mean).T.double()))
        scale = (variance + 0.01 * variance.mean()).rsqrt()
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("matrix").copy_(basis * scale)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return whitened vectors (..., c)."""
        return (vectors - self.get_buffer("mean")) @ self.get_buffer("matrix")
