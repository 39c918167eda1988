"""What is hidden of training items: any share, in the shapes in which parts are missing in use.

A frame loses scattered positions, 16-pixel squares, or all but the surroundings of a box. Of a block the frames lose
the same or others, or whole slices or phases are missing.
"""

import torch
from torch import Tensor

from cmrgz.rng import Streams

EVERY, SLICES, PHASES, OUTSIDE = 0.1, 0.12, 0.14, 0.06
"""Shares of blocks of which everything, whole slices, whole phases, or all outside of a box is hidden."""
HELD = 0.35
"""Share of the other blocks in whose frames the same is hidden: half of them over phases, the rest over slices too."""


def training_order(grid: tuple[int, ...], raster_share: float, rng: Streams) -> tuple[Tensor, Tensor]:
    """Return random orders (b, n) for training, and how many positions at their start are known: (b,).

    Raster orders know nothing; the others are scattered, or grown from blocks, as masks are in use, and know any share.
    Of blocks, what `training_known` shows comes first, in any order; the rest follows in any order.

    Args:
        grid: Positions of an item, (h, w) or (t, z, h, w).
        raster_share: Share of the frames in raster order; blocks have none.
        rng: One stream per item.
    """
    if len(grid) == 4:
        known = training_known(grid, rng).flatten(1)
        # Numbers of known positions lie below 1, those of the others above: known ones come first, each part in any
        # order.
        score = rng.uniform(known.shape[1]) + ~known
        return score.argsort(dim=1), known.sum(1)
    n = grid[0] * grid[1]
    u, scattered = rng.uniform(4), rng.uniform(n)
    score = _scores((grid[0], grid[1]), u, scattered, rng, raster_share)
    # Below 0 for the raster share, and uniform again for the others, which choose their pattern by it in `_scores`.
    rest = (u[:, :1] - raster_share) / (1 - raster_share)
    score = torch.where(rest < 0, torch.arange(n).float(), score)
    known = torch.where(rest < 0, 0, (u[:, 3:] * n).long())[:, 0]
    return score.argsort(dim=1), known


def _scores(grid: tuple[int, int], u: Tensor, scattered: Tensor, rng: Streams, raster_share: float) -> Tensor:
    """Return scores (b, n) of the positions of frames, the lowest of which are known first.

    Blocks are 2x2 cells in random order (16-pixel patches), or positions by distance from a random centre, nearest
    last: the order in which a box is filled after its surroundings.
    """
    cell = _cells(grid)
    # A cell comes as a whole; the little that is added orders its positions among themselves.
    cells = rng.uniform(int(cell.max()) + 1)[:, cell] + 1e-3 * scattered
    rest = (u[:, :1] - raster_share) / (1 - raster_share)
    return torch.where(rest < 0.3, scattered, torch.where(rest < 0.75, cells, _around(grid, u) + scattered))


def _cells(grid: tuple[int, int]) -> Tensor:
    """Return the number (n,) of the 2x2 cell of each position."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return (rows // 2 * (grid[1] // 2 + 1) + columns // 2).flatten()


def _around(grid: tuple[int, int], u: Tensor) -> Tensor:
    """Return minus the distance (..., n) of each position from a centre, u (..., 4) at [1] and [2], whole steps."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    away_y = (rows.flatten() - u[..., 1:2] * grid[0]).abs()
    away_x = (columns.flatten() - u[..., 2:3] * grid[1]).abs()
    return -torch.maximum(away_y, away_x).floor()


def training_known(grid: tuple[int, ...], rng: Streams) -> Tensor:
    """Return which positions (b, *grid) are known in training, of a frame (h, w) or a block (t, z, h, w)."""
    if len(grid) == 4:
        return _block_known((grid[0], grid[1], grid[2], grid[3]), rng)
    order, known = training_order(grid, 0.0, rng)
    first = torch.arange(order.shape[1]) < known[:, None]
    return torch.zeros_like(first).scatter(1, order, first).unflatten(1, grid)


def _block_known(grid: tuple[int, int, int, int], rng: Streams) -> Tensor:
    """Return which positions (b, t, z, h, w) of blocks are known."""
    t, z, h, w = grid
    own = rng.uniform(4)
    kind, share = own[:, 0], own[:, 1]
    patterns = _frames_known(grid, share, own[:, 2], rng)
    phases, slices = (_planes_known(n, share, own[:, 3], rng) for n in (t, z))
    outside = _inside(h, w, own)[:, None, None].expand(-1, t, z, -1, -1)
    # of one slice or one phase none can be missing
    bounds = torch.tensor([EVERY, SLICES * (z > 1), PHASES * (t > 1), OUTSIDE]).cumsum(0)
    number = torch.bucketize(kind.contiguous(), bounds, right=True)[:, None, None, None, None]
    known = patterns
    nothing = torch.zeros_like(phases)
    for i, part in enumerate([nothing[:, :, None, None, None], slices[:, None, :, None, None],
                              phases[:, :, None, None, None], outside]):  # fmt: skip
        known = torch.where(number == i, part, known)
    return known


def _frames_known(grid: tuple[int, int, int, int], share: Tensor, hold: Tensor, rng: Streams) -> Tensor:
    """Return patterns of the plane (b, t, z, h, w) of one kind and one known share, which some blocks hold still."""
    t, z, h, w = grid
    b, n = len(share), h * w
    kind, cell = rng.uniform(1), _cells((h, w))
    u, scattered, cells = rng.uniform(t, z, 4), rng.uniform(t, z, n), rng.uniform(t, z, int(cell.max()) + 1)
    cells = cells[..., cell] + 1e-3 * scattered
    kind = kind[:, None, None]
    score = torch.where(kind < 0.2, scattered, torch.where(kind < 0.7, cells, _around((h, w), u) + scattered))
    # The scores of the first phase, and then of the first slice, stand for those of all: the pattern holds still.
    score = torch.where((hold < HELD)[:, None, None, None], score[:, :1], score)
    score = torch.where((hold < HELD / 2)[:, None, None, None], score[:, :, :1], score)
    rank = score.argsort(dim=-1).argsort(dim=-1)
    return (rank < (share * n).long()[:, None, None, None]).view(b, t, z, h, w)


def _planes_known(n: int, share: Tensor, way: Tensor, rng: Streams) -> Tensor:
    """Return which of n planes (b, n) are known: every second or third, or a random share, and never none of two."""
    score, offset = rng.uniform(n), (rng.uniform(1) * 6).long()
    step = 2 + (way > 0.75).long()[:, None]
    regular = (torch.arange(n) + offset) % step == 0
    # At least one plane and at most all but one: none known or none hidden is no task of this kind.
    some = score.argsort(dim=1).argsort(dim=1) < (1 + share * (n - 1)).long()[:, None]
    return torch.where((way < 0.3)[:, None], some, regular)


def _inside(h: int, w: int, u: Tensor) -> Tensor:
    """Return a box (b, h, w) about the middle that covers a share of the plane."""
    # The root of a share of the area is the share of the side.
    side = u[:, 1].clamp(0.05, 0.9).sqrt()[:, None, None]
    rows = ((torch.arange(h) + 0.5) / h - 0.5).abs()[None, :, None]
    columns = ((torch.arange(w) + 0.5) / w - 0.5).abs()[None, None]
    return torch.maximum(rows, columns) < side / 2
