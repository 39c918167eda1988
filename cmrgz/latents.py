"""The patch grid shared by all families: pixels <-> positions, and what is known of each. Leak-free by construction."""

import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.model import Tokenizer
from cmrgz.rng import Streams


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


def position_pixels(positions: Tensor, patch: int) -> Tensor:
    """Return the pixels (b, 1, H, W) that positions (b, h, w) cover, for example those that are known."""
    return positions[:, None].repeat_interleave(patch, 2).repeat_interleave(patch, 3)


def training_order(grid: tuple[int, int], raster_share: float, rng: Streams) -> tuple[Tensor, Tensor]:
    """Return random orders (b, n) for training, and how many positions at their start are known: (b,).

    Raster orders know nothing; the others are scattered, or grown from blocks, as masks are in use, and know any share.

    Blocks are 2x2 cells in random order (16-pixel patches), or positions by distance from a random centre, nearest
    last: the order in which a box is filled after its surroundings.
    """
    n = grid[0] * grid[1]
    u, scattered = rng.uniform(4), rng.uniform(n)
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    cell = (rows // 2 * (grid[1] // 2 + 1) + columns // 2).flatten()
    cells = rng.uniform(int(cell.max()) + 1)[:, cell] + 1e-3 * scattered
    away_y = (rows.flatten() - u[:, 1:2] * grid[0]).abs()
    away_x = (columns.flatten() - u[:, 2:3] * grid[1]).abs()
    box = -torch.maximum(away_y, away_x).floor() + scattered
    rest = (u[:, :1] - raster_share) / (1 - raster_share)
    score = torch.where(rest < 0.3, scattered, torch.where(rest < 0.75, cells, box))
    score = torch.where(rest < 0, torch.arange(n).float(), score)
    known = torch.where(rest < 0, 0, (u[:, 3:] * n).long())[:, 0]
    return score.argsort(dim=1), known


def training_known(grid: tuple[int, int], rng: Streams) -> Tensor:
    """Return which positions (b, h, w) are known in training: any share, scattered, in patches or around a box."""
    order, known = training_order(grid, 0.0, rng)
    first = torch.arange(order.shape[1]) < known[:, None]
    return torch.zeros_like(first).scatter(1, order, first).unflatten(1, grid)


@torch.no_grad()
def channel_weights(tokenizer: Tokenizer, x: Tensor) -> Tensor:
    """Return weights (c,) of the channels by what they do to the picture, mean 1, from items (n, 1, *item).

    All channels have unit variance, but the mean of a patch moves its pixels far more than its last component does. The
    square root of that effect keeps the weak ones in a loss.
    """
    vectors = tokenizer.encode(x[:32])
    base, effect = tokenizer.decode(vectors), []
    for channel in range(vectors.shape[1]):
        moved = vectors.clone()
        moved[:, channel] += 0.5
        effect.append((tokenizer.decode(moved) - base).square().mean().sqrt())
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
    vectors = tokenizer.encode(smooth_fill(x, known))
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
    levels = [(torch.where(known, x, 0.0), weight)]
    while max(levels[-1][0].shape[-2:]) > 1:
        value, weight = (F.avg_pool2d(part, 2, ceil_mode=True, count_include_pad=False) for part in levels[-1])
        sure = (4 * weight).clamp(max=1) / weight.clamp(min=1e-6)  # one known pixel of four is enough
        levels.append((value * sure, weight * sure))
    filled = levels[-1][0] / levels[-1][1].clamp(min=1e-6)
    for value, weight in reversed(levels[:-1]):
        filled = F.interpolate(filled, size=value.shape[-2:], mode="bilinear", align_corners=False)
        for _ in range(sweeps):
            filled = value + (1 - weight) * _neighbours(filled)
    return filled


def _neighbours(x: Tensor) -> Tensor:
    """Return the mean of the four neighbours of each pixel (b, 1, H, W)."""
    p = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return (p[..., :-2, 1:-1] + p[..., 2:, 1:-1] + p[..., 1:-1, :-2] + p[..., 1:-1, 2:]) / 4
