"""The contextual decoder: a linear skip, exact in closed form, plus a convolutional residual that starts at zero."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.rng import Streams

EXACT_ITEMS = 0.25
"""Share of the training items of which some positions reach the decoder unquantised."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity; channels are normalised per position, so nothing spreads globally."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        """Return features of the shape of h (b, width, h, w)."""
        normal = self.norm(h.movedim(1, -1)).movedim(-1, 1)
        return h + self.second(F.silu(self.first(F.silu(normal))))


class ContextDecoder(nn.Module):
    """Patches (b, patch**2, h, w) -> pixels (b, 1, h * patch, w * patch), each seeing its neighbours.

    Step 0 equals the linear skip, so training cannot start below the closed form.
    """

    def __init__(self, patch: int, width: int, fine_width: int, blocks: int) -> None:
        super().__init__()
        self.patch, self.fine = patch, patch // 2
        self.enter = nn.Conv2d(patch**2, width, 3, padding=1)
        # Neighbours count here, unlike in the encoder: that gives 0.6 to 1.1 dB on real scans, and the grid of
        # patches goes.
        self.coarse = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.up = nn.Conv2d(width, 4 * fine_width, 3, padding=1)
        self.join = nn.Conv2d(fine_width + self.fine**2, fine_width, 3, padding=1)
        self.detail = nn.Sequential(*(ResidualBlock(fine_width) for _ in range(blocks)))
        self.leave = nn.Conv2d(fine_width, self.fine**2, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        if self.leave.bias is not None:
            nn.init.zeros_(self.leave.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return pixels (b, 1, H, W)."""
        skip = F.pixel_shuffle(vectors, self.patch)
        h = self.coarse(self.enter(vectors))
        h = F.pixel_shuffle(self.up(h), 2)
        # On the finer grid the linear picture itself is at hand, and only what it lacks has to be made.
        h = self.join(torch.cat([h, F.pixel_unshuffle(skip, self.fine)], 1))
        return skip + F.pixel_shuffle(self.leave(self.detail(h)), self.fine)


def mix_exact(exact: Tensor, quantised: Tensor, u: Tensor, rng: Streams) -> Tensor:
    """Return vectors (b, c, h, w) of which, in some of the items, a random share of positions is unquantised.

    It is what inpainting gives the decoder: known positions as they are beside drawn codes.

    Args:
        exact: The vectors (b, c, h, w) as encoded.
        quantised: The vectors (b, c, h, w) that the codes stand for.
        u: (b, 2) in [0, 1): picks the items, and the share of their positions.
        rng: Picks the positions.
    """
    u = u.to(exact.device)
    share = torch.where(u[:, 0] < EXACT_ITEMS, u[:, 1], torch.zeros_like(u[:, 1]))
    given = rng.uniform(*exact.shape[2:]).to(exact.device) < share[:, None, None]
    return torch.where(given[:, None], exact, quantised)


def reconstruction_loss(y: Tensor, x: Tensor) -> Tensor:
    """L1 + 10 MSE + 0.5 gradient-L1 of images (b, 1, H, W) in [-1, 1], taken on the [0, 1] scale."""
    error = (y - x) / 2
    gradient = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    # `gradient` has both directions, hence the half of a half. A term of SSIM and one of frequencies added nothing to
    # these.
    return error.abs().mean() + 10 * error.square().mean() + 0.25 * gradient
