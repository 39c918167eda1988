"""Codes of a picture pyramid: they nest, they add up, and those of known cells hang on nothing hidden."""

import pytest
import torch
from cmrgz_tokenizers import vq_ms
from cmrgz_tokenizers.vq_ms import PyramidCodes
from torch import Tensor

from cmrgz.errors import UsageError
from cmrgz.latents import known_positions, unpatch
from cmrgz.registry import build_tokenizer, get_tokenizer
from cmrgz.rng import Streams
from cmrgz.tokens.scales import known_cells

SMALL = {"width": 16, "fine_width": 8, "blocks": 1, "lloyd": 4}
SCALES = {"strides": (8, 4, 2, 1), "levels": (1, 1, 2, 3), "vocab": (4, 8, 16, 16)}


def build(items: Tensor, shaken: bool = False, seed: int = 0, **options: object) -> PyramidCodes:
    """Return a fitted tokenizer; a shaken one looks as if it was trained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = vq_ms.build(**{**SMALL, **SCALES, **options})  # type: ignore[arg-type]
        tokenizer.fit(items, rng=Streams(seed, [("fit",)]))
        for parameter in (p for p in tokenizer.parameters() if shaken and p.requires_grad):
            parameter.data += 0.05 * torch.randn_like(parameter)
    return tokenizer.eval()


@pytest.fixture(scope="module")
def fitted(items: Tensor) -> PyramidCodes:
    return build(items)


@pytest.mark.parametrize(("patch", "strides"), [(8, (8, 4, 2, 1)), (4, (16, 4, 2, 1)), (8, (4, 1, 1, 1))])
@torch.no_grad()
def test_codes_and_what_they_stand_for(patch: int, strides: tuple[int, ...], items: Tensor) -> None:
    tokenizer = build(items, patch=patch, strides=strides)
    vectors = tokenizer.encode(items)
    coded, side = tokenizer.code(vectors), 64 // patch
    total = torch.zeros_like(vectors)
    for scale, stride in enumerate(strides):
        codes = coded.codes[scale]
        assert codes.shape == (16, side // stride, side // stride, tokenizer.levels[scale])
        assert torch.equal(codes, tokenizer.quantise(tokenizer.pool(vectors - total, scale), scale))
        total = total + tokenizer.spread(tokenizer.cells(codes, scale), scale)
        assert torch.equal(total, coded.sums[scale])
    errors = [float((vectors - part).square().mean()) for part in coded.sums]
    assert errors == sorted(errors, reverse=True)


@torch.no_grad()
def test_every_level_brings_a_cell_nearer(fitted: PyramidCodes, items: Tensor) -> None:
    cells = fitted.pool(fitted.encode(items), 3)
    codes = fitted.quantise(cells, 3)
    errors = [(cells - fitted.cells(codes[..., :depth], 3)).square().mean() for depth in (1, 2, 3)]
    assert (torch.stack(errors).diff() < 0).all()


@torch.no_grad()
def test_a_cell_is_a_patch_of_the_reduced_picture(fitted: PyramidCodes, items: Tensor) -> None:
    vectors = fitted.encode(items)
    assert torch.equal(unpatch(fitted.pool(vectors, 3), 8), items)
    coarse = unpatch(fitted.pool(vectors, 0), 8)
    assert coarse.shape == (16, 1, 8, 8)
    torch.testing.assert_close(coarse[..., 2, 5], items[..., 16:24, 40:48].mean((2, 3)))
    level = torch.full((1, 64, 4, 4), 0.3)
    torch.testing.assert_close(fitted.spread(level, 2), torch.full((1, 64, 8, 8), 0.3))


@torch.no_grad()
def test_the_decoder_starts_at_the_closed_form(fitted: PyramidCodes, items: Tensor) -> None:
    assert torch.equal(fitted.decode(fitted.encode(items)), items)
    vectors = fitted.code(fitted.encode(items)).sums[-1]
    assert torch.equal(fitted.reconstruct(items), unpatch(vectors, 8))
    figures = fitted.metrics(items)
    assert figures["psnr_4"] == figures["closed_psnr_4"]
    pyramid = [figures[f"pyramid_psnr_{scale}"] for scale in (1, 2, 3)]
    assert [*pyramid, figures["psnr_4"]] == sorted([*pyramid, figures["psnr_4"]])
    assert all(0 < figures[f"code_use_{scale}"] <= 1 for scale in (1, 2, 3, 4))


# ---------------------------------------------------------------------- what is hidden
def squares(x: Tensor) -> Tensor:
    """Return known pixels: areas of 32 and of 16 pixels, and one cut patch."""
    generator = torch.Generator().manual_seed(0)
    known = torch.zeros_like(x, dtype=torch.bool)
    for size, share in ((32, 0.3), (16, 0.4)):
        area = torch.rand(len(x), 1, 64 // size, 64 // size, generator=generator) < share
        known |= area.repeat_interleave(size, 2).repeat_interleave(size, 3)
    known[:, :, 3, 3] = False
    return known


@pytest.mark.parametrize("fill", [torch.nan, torch.inf, -1e30, 0.5])
@torch.no_grad()
def test_hidden_pixels_reach_no_known_cell_of_any_scale(items: Tensor, fill: float) -> None:
    tokenizer, known = build(items, shaken=True), squares(items)
    at = known_positions(known, 8)
    exact, other = tokenizer.encode(items), tokenizer.encode(items.masked_fill(~known, fill))
    drawn = 0.3 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(1))
    for scale, stride in enumerate(tokenizer.strides):
        cells = known_cells(at, stride)
        assert cells.any() or stride == 8, "the coarsest cell is known when the whole item is"
        codes = [tokenizer.quantise(tokenizer.pool(v - drawn, scale), scale)[cells] for v in (exact, other)]
        assert torch.equal(*codes)


@torch.no_grad()
def test_the_codes_of_a_whole_item_hang_on_what_is_hidden(items: Tensor) -> None:
    """The positive control: why known cells must be quantised against what is drawn."""
    tokenizer, known = build(items), squares(items)
    at = known_positions(known, 8)
    a, b = (tokenizer.code(tokenizer.encode(torch.where(known, items, sign * items))).codes for sign in (1, -1))
    assert (a[3][at] != b[3][at]).any(-1).float().mean() > 0.1


@torch.no_grad()
def test_requantising_makes_up_for_other_coarse_codes(fitted: PyramidCodes, items: Tensor) -> None:
    """A fine scale brings known cells nearer to what they are, although the coarser ones drew something else."""
    exact = fitted.encode(items)
    total = fitted.code(fitted.encode(items.roll(1, 0))).sums[1]  # of another item
    errors = [float((exact - total).square().mean())]
    for scale in (2, 3):
        codes = fitted.quantise(fitted.pool(exact - total, scale), scale)
        total = total + fitted.spread(fitted.cells(codes, scale), scale)
        errors.append(float((exact - total).square().mean()))
    assert errors[1] < 0.8 * errors[0] and errors[2] < 0.8 * errors[1]


def test_a_cell_is_known_when_all_its_positions_are() -> None:
    known = torch.ones(1, 4, 6, dtype=torch.bool)
    known[0, 1, 2] = False
    assert known_cells(known, 2).int().tolist() == [[[1, 0, 1], [1, 1, 1]]]
    assert torch.equal(known_cells(known, 1), known)


# ---------------------------------------------------------------------- fitting and training
def test_the_fit_is_a_function_of_seed_and_items(fitted: PyramidCodes, items: Tensor) -> None:
    state = torch.get_rng_state()
    again, other = build(items), build(items, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(fitted.codebooks, again.codebooks, strict=True))
    assert not torch.equal(fitted.codebooks[3], other.codebooks[3])


def test_more_codes_than_cells_can_be_fitted(items: Tensor) -> None:
    """A coarse scale has one cell an item."""
    tokenizer = build(items[:3], vocab=(16, 16, 16, 16))
    assert all(book.isfinite().all() for book in tokenizer.codebooks)


@torch.no_grad()
def test_codes_do_not_depend_on_the_precision_of_a_run(items: Tensor) -> None:
    tokenizer = build(items, shaken=True)
    codes = tokenizer.code(tokenizer.encode(items)).codes
    with torch.autocast("cpu", torch.bfloat16):
        again = tokenizer.code(tokenizer.encode(items)).codes
    assert all(torch.equal(a, b) for a, b in zip(codes, again, strict=True))


def test_training_improves_the_decoder_and_leaves_the_codes(items: Tensor) -> None:
    tokenizer = build(items)
    books = [book.clone() for book in tokenizer.codebooks]
    trained = [p for p in tokenizer.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3)
    rng = Streams(0, [("loss", i) for i in range(16)])
    before = float(tokenizer.loss(items, rng=rng).detach())
    for step in range(40):
        optimizer.zero_grad()
        tokenizer.train().loss(items, rng=Streams(step, [("loss", i) for i in range(16)])).backward()
        assert all(p.grad is not None for p in trained)
        optimizer.step()
    rng = Streams(0, [("loss", i) for i in range(16)])
    assert float(tokenizer.eval().loss(items, rng=rng).detach()) < 0.97 * before
    assert all(torch.equal(a, b) for a, b in zip(books, tokenizer.codebooks, strict=True))
    figures = tokenizer.metrics(items)
    assert figures["psnr_4"] > figures["closed_psnr_4"]


@torch.no_grad()
def test_the_decoder_is_trained_with_all_levels_and_with_two(
    fitted: PyramidCodes, items: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = fitted.encode(items)
    sums = [vectors, *fitted.partial_sums(vectors)]
    seen: list[Tensor] = []
    monkeypatch.setattr(fitted, "decode", lambda v: seen.append(v) or unpatch(v, 8))
    for step in range(8):
        fitted.loss(items, rng=Streams(step, [(i,) for i in range(16)]))
    given = torch.stack(seen).movedim(2, -1)
    same = torch.stack([(given == part.movedim(1, -1)).all(-1) for part in sums])
    shares = same.float().mean((1, 2, 3, 4))
    assert shares[1] == 0 and 0.05 < shares[0] < 0.2, "an eighth of the positions is unquantised"
    assert shares[2] > 0.3 and shares[3] > 0.3


@pytest.mark.parametrize(
    "option",
    [
        {"strides": (16, 8, 4, 2)},
        {"strides": (8, 3, 2, 1, 1)},
        {"strides": (1, 2, 1, 1, 1)},
        {"levels": (1, 1)},
        {"vocab": (1, 2, 2, 2, 2)},
        {"levels": (0, 1, 1, 1, 1)},
    ],
    ids=str,
)
def test_scales_that_do_not_fit_are_refused(option: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(UsageError, match="range"):
        build_tokenizer(get_tokenizer("vq-ms"), option)


@torch.no_grad()
def test_a_grid_that_cells_do_not_tile_is_refused(fitted: PyramidCodes, items: Tensor) -> None:
    assert fitted.encode(items[..., :48]).shape == (16, 64, 8, 6)
    with pytest.raises(UsageError, match="strides"):
        fitted.reconstruct(items[..., :48])
