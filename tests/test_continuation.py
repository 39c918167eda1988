"""Continuations: exact where that is known, free of hidden values, the same in any company, and wrapping where told."""

import pytest
import torch
from torch import Tensor

from cmrgz.adaptive import COEFFICIENTS, adaptive_continuation, reach
from cmrgz.continuation import Links, continuation


def links(b: int = 1, t: float = 10.0, z: float = 0.3, wrap: float = 0.0) -> Links:
    return Links(*(torch.full((b,), value) for value in (t, z, wrap)))


def fills(x: Tensor, known: Tensor, own: Links) -> list[Tensor]:
    return [continuation(x, known, own), adaptive_continuation(x, known, own, torch.tensor(COEFFICIENTS))]


def cine(b: int = 2, t: int = 6, z: int = 3, side: int = 32) -> Tensor:
    """Return smooth moving blobs with a little noise."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    frames = []
    for k in range(b * t * z):
        i, j = divmod(k % (t * z), z)
        move = 3 * torch.sin(torch.tensor(2 * torch.pi * i / t + k // (t * z)))
        away = (rows - side / 2 - move) ** 2 + (columns - side / 2 + j) ** 2
        frames.append(2 * torch.exp(-away / 60) - 1)
    noise = 0.02 * torch.randn(b * t * z, side, side, generator=torch.Generator().manual_seed(0))
    return (torch.stack(frames) + noise).view(b, 1, t, z, side, side)


def scattered(x: Tensor, share: float = 0.3, seed: int = 0) -> Tensor:
    return torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < share


def test_a_linear_change_over_time_is_continued_exactly() -> None:
    x = torch.linspace(-1, 1, 9)[None, None, :, None, None, None].expand(1, 1, 9, 1, 16, 16).clone()
    known = torch.zeros_like(x, dtype=torch.bool)
    known[:, :, ::4] = True
    for fill in fills(x, known, links()):
        assert torch.allclose(fill, x, atol=2e-3)


def test_a_full_cycle_is_continued_around_its_end() -> None:
    x = torch.zeros(1, 1, 8, 1, 8, 8)
    x[:, :, 0], x[:, :, 6] = 1.0, -1.0
    known = torch.zeros_like(x, dtype=torch.bool)
    known[:, :, [0, 6]] = True
    for open_, closed in zip(fills(x, known, links()), fills(x, known, links(wrap=10.0)), strict=True):
        assert float(open_[0, 0, 7].mean()) == pytest.approx(-1, abs=0.1)
        assert float(closed[0, 0, 7].mean()) == pytest.approx(0, abs=0.1)


def test_it_is_the_least_of_the_energy() -> None:
    """Against a dense solution of Laplace's equation with weights."""
    x, known = torch.randn(1, 1, 3, 2, 4, 4), torch.rand(1, 1, 3, 2, 4, 4) < 0.3
    n = x.numel()
    index = torch.arange(n).view(3, 2, 4, 4)
    matrix = torch.zeros(n, n)
    for axis, weight in enumerate((10.0, 0.3, 1.0, 1.0)):
        length = index.shape[axis]
        ends = (index.narrow(axis, start, length - 1).flatten() for start in (0, 1))
        for a, b in zip(*ends, strict=True):
            matrix[a, a] += weight
            matrix[b, b] += weight
            matrix[a, b] -= weight
            matrix[b, a] -= weight
    flat, seen = x.flatten(), known.flatten()
    exact = flat.clone()
    exact[~seen] = torch.linalg.solve(matrix[~seen][:, ~seen], -matrix[~seen][:, seen] @ flat[seen])
    assert torch.allclose(continuation(x, known, links(), 200).flatten(), exact, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (12, 1), (1, 5), (2, 2), (3, 1)])
def test_no_hidden_value_is_used_and_known_ones_stay(shape: tuple[int, int]) -> None:
    x = cine(1, *shape)
    known = scattered(x)
    other = torch.where(known, x, torch.nan)
    for fill, again in zip(fills(x, known, links()), fills(other, known, links()), strict=True):
        assert torch.equal(fill, again) and torch.equal(fill[known], x[known]) and bool(fill.isfinite().all())


def test_blocks_do_not_depend_on_their_neighbours() -> None:
    x = cine(3)
    known = scattered(x)
    for together, alone in zip(fills(x, known, links(3)), fills(x[1:2], known[1:2], links()), strict=True):
        assert torch.allclose(together[1], alone[0], atol=1e-5)


def test_nothing_known_is_zero() -> None:
    x = cine(1)
    for fill in fills(x, torch.zeros_like(x, dtype=torch.bool), links()):
        assert not fill.any()


def test_it_adapts_to_what_moves() -> None:
    """A still background beside a moving disc: copied through time by the one, blurred by the other."""
    x = cine(1, 8, 1, 48)
    x[..., :12, :] = torch.randn(12, 48, generator=torch.Generator().manual_seed(3)).clamp(-1, 1)
    known = scattered(x, 0.25, seed=1)
    smooth, adaptive = (float((fill - x).square()[~known].mean()) for fill in fills(x, known, links()))
    assert adaptive < 0.9 * smooth


def test_links_follow_distances() -> None:
    time = torch.tensor([0.0, 0.1, 0.2])[None, :, None].expand(1, 3, 2)
    height = torch.tensor([0.0, 5.0])[None, None].expand(1, 3, 2)
    own = Links.of(time, height)
    assert float(own.t) == pytest.approx(10 / 4) and float(own.z) == pytest.approx(0.3 * 4) and float(own.wrap) == 0
    around = torch.arange(10)[None, :, None].expand(1, 10, 1) / 10
    assert float(Links.of(around, torch.zeros(1, 10, 1)).wrap) == pytest.approx(10 / 4)


def test_reach_falls_with_the_distance_in_all_axes() -> None:
    x = torch.zeros(1, 1, 5, 5, 32, 32)
    known = torch.zeros_like(x, dtype=torch.bool)
    known[0, 0, 2, 2, 16, 16] = True
    near = reach(x, known, links(), torch.tensor(COEFFICIENTS))[0, 0]
    assert float(near[2, 2, 16, 16]) == 1 and bool(((near >= 0) & (near <= 1)).all())
    for line in (near[2:, 2, 16, 16], near[2, 2:, 16, 16], near[2, 2, 16:26, 16], near[2, 2, 16, 16:26]):
        assert bool((line.diff()[:3] < 0).all())
    assert near[3, 2, 16, 16] > near[2, 2, 17, 16] > near[2, 3, 16, 16], "phases are nearer than pixels, slices farther"


def test_reach_counts_what_lies_beyond_a_block() -> None:
    x = torch.zeros(1, 1, 9, 1, 16, 16)
    known = torch.zeros_like(x, dtype=torch.bool)
    known[:, :, 0] = True
    near = reach(x, known, links(), torch.tensor(COEFFICIENTS))[0, 0, :, 0, 8, 8]
    assert bool((near.diff()[:4] < 0).all()) and bool((near[1:5] > 0.5).all())
