"""Codes on several grids: cells that nest, and what they add up to."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from cmrgz.errors import UsageError
from cmrgz.model import Condition
from cmrgz.rng import Streams
from cmrgz.tokens.scales import ScaleTokenizer, check_grid, check_strides, known_cells


class Rounding(ScaleTokenizer):
    """One channel; a code is the nearest multiple of a step that is half of that of the scale before."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.channels = 1, 1
        self.strides, self.levels, self.vocab = (4, 2, 1), (1, 1, 2), (9, 9, 9)

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, vectors: Tensor) -> Tensor:
        return vectors

    def pool(self, vectors: Tensor, scale: int) -> Tensor:
        return F.avg_pool2d(vectors, self.strides[scale])

    def spread(self, cells: Tensor, scale: int) -> Tensor:
        return F.interpolate(cells, scale_factor=self.strides[scale])

    def step(self, scale: int, level: int) -> float:
        return 0.5 ** (scale + level)

    def quantise(self, cells: Tensor, scale: int) -> Tensor:
        rest, codes = cells.movedim(1, -1)[..., 0], []
        for level in range(self.levels[scale]):
            codes.append(((rest / self.step(scale, level)).round() + 4).clamp(0, 8).long())
            rest = rest - self.embed(codes[-1], scale, level)[..., 0]
        return torch.stack(codes, -1)

    def embed(self, codes: Tensor, scale: int, level: int) -> Tensor:
        return ((codes - 4) * self.step(scale, level))[..., None]

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        return x.new_zeros(())


def items(shape: tuple[int, ...] = (3, 1, 8, 12)) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_codes_are_those_of_what_the_coarser_ones_leave() -> None:
    tokenizer, x = Rounding(), items()
    coded, total = tokenizer.code(x), torch.zeros(3, 1, 8, 12)
    assert [tuple(codes.shape) for codes in coded.codes] == [(3, 2, 3, 1), (3, 4, 6, 1), (3, 8, 12, 2)]
    for scale, codes in enumerate(coded.codes):
        assert torch.equal(codes, tokenizer.quantise(tokenizer.pool(x - total, scale), scale))
        total = total + tokenizer.spread(tokenizer.cells(codes, scale), scale)
        assert torch.equal(total, coded.sums[scale])
    assert torch.equal(tokenizer.reconstruct(x), total)
    assert (x - total).abs().max() <= 1 / 16, "the last step is an eighth"


def test_the_first_levels_of_a_scale_are_a_coarser_code() -> None:
    tokenizer, x = Rounding(), items()
    codes = tokenizer.quantise(x, 2)
    errors = [(x - tokenizer.cells(codes[..., :depth], 2)).abs().max() for depth in (1, 2)]
    assert errors[0] <= 1 / 8 and errors[1] <= 1 / 16 and errors[1] < errors[0]


def test_features_are_what_each_code_adds() -> None:
    features = Rounding().features(2, torch.device("cpu"))
    assert features.shape == (2, 9, 1)
    assert features[1, :, 0].tolist() == [(code - 4) / 8 for code in range(9)]


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 4]), st.floats(0, 1))
def test_a_cell_is_known_when_all_its_positions_are(seed: int, stride: int, share: float) -> None:
    known = torch.rand(2, 8, 12, generator=torch.Generator().manual_seed(seed)) < share
    cells = known_cells(known, stride)
    for item in range(2):
        for row in range(8 // stride):
            for column in range(12 // stride):
                rows, columns = (slice(i * stride, (i + 1) * stride) for i in (row, column))
                assert bool(cells[item, row, column]) == bool(known[item, rows, columns].all())
    assert torch.equal(known_cells(known_cells(known, 2), 2), known_cells(known, 4)), "cells nest"


@pytest.mark.parametrize("strides", [(1,), (2, 1), (16, 8, 4, 2, 1), (16, 4, 1), (4, 4, 1, 1)])
def test_strides_that_nest(strides: tuple[int, ...]) -> None:
    check_strides(strides)


@pytest.mark.parametrize("strides", [(), (2,), (4, 3, 1), (1, 2, 1), (4, 0, 1), (-2, 1), (2, -1)])
def test_strides_that_do_not_nest_are_refused(strides: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="strides"):
        check_strides(strides)


@pytest.mark.parametrize(("grid", "fits"), [((8, 12), True), ((4, 4), True), ((6, 8), False), ((8, 10), False)])
def test_a_grid_is_tiled_by_the_coarsest_cells(grid: tuple[int, int], fits: bool) -> None:
    if fits:
        check_grid(grid, (4, 2, 1))
        return
    with pytest.raises(UsageError, match=f"{grid[0]} x {grid[1]}"):
        check_grid(grid, (4, 2, 1))
    with pytest.raises(UsageError):
        Rounding().code(torch.zeros(1, 1, *grid))
