import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz.holes import training_known
from cmrgz.latents import known_positions, patches, position_pixels, smooth_fill, unpatch
from cmrgz.rng import Streams

sizes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 2, 4, 8]))


@given(sizes, st.integers(0, 99))
@settings(deadline=None, max_examples=50)
def test_unpatch_is_the_inverse(size: tuple[int, int, int, int], seed: int) -> None:
    b, h, w, patch = size
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(b, 1, h * patch, w * patch, generator=generator)
    assert patches(x, patch).shape == (b, patch**2, h, w)
    assert torch.equal(unpatch(patches(x, patch), patch), x)
    vectors = torch.randn(b, patch**2, h, w, generator=generator)
    assert torch.equal(patches(unpatch(vectors, patch), patch), vectors)


@given(sizes)
@settings(deadline=None, max_examples=30)
def test_a_patch_is_a_block_of_pixels_row_by_row(size: tuple[int, int, int, int]) -> None:
    b, h, w, patch = size
    x = torch.arange(float(b * h * w * patch**2)).reshape(b, 1, h * patch, w * patch)
    vectors = patches(x, patch)
    for row in range(h):
        for column in range(w):
            top, left = row * patch, column * patch
            block = x[:, 0, top : top + patch, left : left + patch]
            assert torch.equal(vectors[:, :, row, column], block.flatten(1))


@given(sizes, st.integers(0, 99), st.sampled_from([0.02, 0.3, 0.9]))
@settings(deadline=None, max_examples=60)
def test_a_position_is_known_when_all_its_pixels_are(size: tuple[int, int, int, int], seed: int, hidden: float) -> None:
    b, h, w, patch = size
    known = torch.rand(b, 1, h * patch, w * patch, generator=torch.Generator().manual_seed(seed)) >= hidden
    found = known_positions(known, patch)
    assert found.shape == (b, h, w) and found.dtype == torch.bool
    for item in range(b):
        for row in range(h):
            for column in range(w):
                pixels = [
                    bool(known[item, 0, row * patch + i, column * patch + j])
                    for i in range(patch)
                    for j in range(patch)
                ]
                assert bool(found[item, row, column]) == all(pixels)


def test_one_hidden_pixel_hides_one_position() -> None:
    for pixel in (0, 7, 56, 63, 36):
        known = torch.ones(1, 1, 24, 24, dtype=torch.bool)
        known[0, 0, 8 + pixel // 8, 16 + pixel % 8] = False
        assert (~known_positions(known, 8)).nonzero().tolist() == [[0, 1, 2]]


@settings(deadline=None, max_examples=30)
@given(st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)), st.integers(1, 8), st.integers(0, 99))
def test_pixels_of_positions_are_their_inverse(size: tuple[int, int, int], patch: int, seed: int) -> None:
    positions = torch.rand(size, generator=torch.Generator().manual_seed(seed)) < 0.5
    pixels = position_pixels(positions, patch)
    assert pixels.shape == (size[0], 1, size[1] * patch, size[2] * patch)
    assert torch.equal(known_positions(pixels, patch), positions)
    assert int(pixels.sum()) == int(positions.sum()) * patch**2


def test_training_knows_any_share() -> None:
    known = training_known((8, 6), Streams(0, [(i,) for i in range(2000)]))
    share = known.float().mean((1, 2))
    assert known.shape == (2000, 8, 6) and 0.45 < share.mean() < 0.55
    assert share.min() < 0.03 and share.max() > 0.95


@pytest.mark.parametrize("fill", [torch.nan, 7.0])
def test_a_smooth_fill_continues_what_is_known_and_reads_nothing_else(fill: float) -> None:
    x = torch.linspace(0, 1, 32).expand(1, 1, 32, 32).clone()
    known = torch.ones_like(x, dtype=torch.bool)
    known[..., 10:20, 12:22] = False
    filled = smooth_fill(torch.where(known, x, fill), known)
    assert torch.equal(filled[known], x[known])
    assert float((filled - x).abs().max()) < 0.15
    nothing = smooth_fill(torch.full_like(x, fill), torch.zeros_like(known))
    assert not nothing.any()
