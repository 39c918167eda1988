"""The patch grid shared by all families: pixels <-> positions, and what is known of each. Leak-free by construction.

Items are frames (b, 1, H, W), or blocks (b, 1, t, z, H, W) as which the kits see all items with phases or slices.
Tokenizers see frames; `framewise` shows them the frames of a block.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.holes import training_known as training_known  # plugins know it by this module
from cmrgz.holes import training_order as training_order
from cmrgz.model import Tokenizer
from cmrgz.pieces import piece


def lift(x: Tensor, axes: str) -> Tensor:
    """Return items (b, c, *item) of axes such as `tyx` as blocks (b, c, t, z, H, W); frames `yx` stay as they are."""
    if axes == "tyx":
        return x.unsqueeze(3)
    return x.unsqueeze(2) if axes == "zyx" else x


def lower(x: Tensor, axes: str) -> Tensor:
    """Return blocks (b, c, t, z, H, W) as items (b, c, *item) of axes; the inverse of `lift`."""
    if axes == "tyx":
        return x.squeeze(3)
    return x.squeeze(2) if axes == "zyx" else x


def framewise(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function of frames (n, c, h, w) to frames, or to all frames of blocks (b, c, t, z, h, w)."""
    if x.ndim == 4:
        return function(x)
    b, _, t, z, *_ = x.shape
    return function(x.movedim(1, 3).flatten(0, 2)).unflatten(0, (b, t, z)).movedim(3, 1)


def patches(x: Tensor, patch: int) -> Tensor:
    """Return the patches (b, patch**2, h, w) of items (b, 1, h * patch, w * patch)."""
    return F.pixel_unshuffle(x, patch)


def unpatch(vectors: Tensor, patch: int) -> Tensor:
    """Return items (b, 1, h * patch, w * patch) of patches (b, patch**2, h, w); the inverse of `patches`."""
    return F.pixel_shuffle(vectors, patch)


def known_positions(known: Tensor, patch: int) -> Tensor:
    """Return which positions (b, *grid) are known: those of which every pixel is, given known pixels (b, 1, *item).

    A cut patch is hidden: its vector would mix given and missing pixels. Its known pixels come back with the final
    paste.
    """
    return framewise(lambda frames: patches(frames, patch).amin(1, keepdim=True), known.float())[:, 0] > 0


def position_pixels(positions: Tensor, patch: int) -> Tensor:
    """Return the pixels (b, 1, *item) that positions (b, *grid) cover, for example those that are known."""
    return positions[:, None].repeat_interleave(patch, -2).repeat_interleave(patch, -1)


@torch.no_grad()
def channel_weights(tokenizer: Tokenizer, x: Tensor) -> Tensor:
    """Return weights (c,) of the channels by what they do to the picture, mean 1, from items (n, 1, *item).

    All channels have unit variance, but the mean of a patch moves its pixels far more than its last component does. The
    square root of that effect keeps the weak ones in a loss.
    """
    # About two frames of a block: its other frames say nearly the same.
    frames = x if x.ndim == 4 else x.movedim(1, 3).flatten(0, 2)[:: max(1, x[0, 0, ..., 0, 0].numel() // 2)]
    vectors = tokenizer.encode(frames[:32])
    base, effect = tokenizer.decode(vectors), []
    for channel in range(vectors.shape[1]):
        moved = vectors.clone()
        # Half a standard deviation, for a decoder is not linear: a small step would tell no more than its slope.
        moved[:, channel] += 0.5
        effect.append((tokenizer.decode(moved) - base).square().mean().sqrt())
    # Of the 16 channels of `kl` the first carries three quarters of the squared error of the picture.
    weight = torch.stack(effect).sqrt()
    return weight / weight.mean()


@torch.no_grad()
def position_hints(tokenizer: Tokenizer, x: Tensor, known: Tensor) -> Tensor:
    """Return what the known pixels alone say of each position: (b, channels + 4, h, w).

    The vector of a smooth continuation of what is known, and the share that is known around the position. Static, and
    free of hidden values: a target starts from what interpolation knows, and need not learn it.

    Args:
        tokenizer: The first stage.
        x: Items (b, 1, *item); hidden pixels are not used.
        known: (b, 1, *item) bool.
    """
    vectors = tokenizer.encode(piece(smooth_fill)(x, known))
    share = known_positions(known, tokenizer.patch)[:, None].to(x.dtype)
    near = [F.avg_pool2d(share, k, 1, k // 2, count_include_pad=False) for k in (3, 5, 9)]
    everywhere = share.mean((2, 3), keepdim=True).expand_as(share)
    return torch.cat([vectors, *near, everywhere], 1)


def smooth_fill(x: Tensor, known: Tensor, sweeps: int = 8) -> Tensor:
    """Return items (b, 1, H, W) whose hidden pixels continue the known ones smoothly; 0 where nothing is known.

    An approximate solution of Laplace's equation in the hole: down a pyramid of means of what is known, and up again
    with a few Jacobi sweeps a level (pull-push, Gortler et al. 1996; within 0.5 dB of the exact solution). Hidden
    values of x are not used.
    """
    weight = known.to(x.dtype)
    # Hidden values are taken out before the first mean: in a pyramid of the whole picture they would leak.
    levels = [(torch.where(known, x, 0.0), weight)]
    while max(levels[-1][0].shape[-2:]) > 1:
        value, weight = (F.avg_pool2d(part, 2, ceil_mode=True, count_include_pad=False) for part in levels[-1])
        sure = (4 * weight).clamp(max=1) / weight.clamp(min=1e-6)  # one known pixel of four is enough
        levels.append((value * sure, weight * sure))
    filled = levels[-1][0] / levels[-1][1].clamp(min=1e-6)
    for value, weight in reversed(levels[:-1]):
        filled = F.interpolate(filled, size=value.shape[-2:], mode="bilinear", align_corners=False)
        quarter = (1 - weight) / 4  # of the sum of four neighbours: halving twice is exact, and once a level is enough
        for _ in range(sweeps):
            filled = torch.addcmul(value, quarter, _neighbours(filled))
    return filled


def _neighbours(x: Tensor) -> Tensor:
    """Return the sum of the four neighbours of each pixel (b, 1, H, W)."""
    p = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return p[..., :-2, 1:-1] + p[..., 2:, 1:-1] + p[..., 1:-1, :-2] + p[..., 1:-1, 2:]
