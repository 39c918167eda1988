"""The patch grid shared by all families: pixels <-> positions, and what is known of each. Leak-free by construction."""

from torch import Tensor
from torch.nn import functional as F


def patches(x: Tensor, patch: int) -> Tensor:
    """Return the patches (b, patch**2, h, w) of items (b, 1, h * patch, w * patch)."""
    return F.pixel_unshuffle(x, patch)


def unpatch(vectors: Tensor, patch: int) -> Tensor:
    """Return items (b, 1, h * patch, w * patch) of patches (b, patch**2, h, w); the inverse of `patches`."""
    return F.pixel_shuffle(vectors, patch)


def known_positions(known: Tensor, patch: int) -> Tensor:
    """Return which positions are known (b, h, w): those of which every pixel is, given known pixels (b, 1, H, W).

    A cut patch is hidden: its vector would mix given and missing pixels. Its known pixels come back with the final
    paste.
    """
    return patches(known.float(), patch).amin(1) > 0
