from collections.abc import Callable

import pytest
import torch
from cmrgz_tokenizers import vq
from cmrgz_tokenizers.vq import ResidualCodes
from torch import Tensor

from cmrgz.errors import UsageError
from cmrgz.latents import unpatch
from cmrgz.model import CodeTokenizer
from cmrgz.registry import build_tokenizer, get_tokenizer
from cmrgz.rng import Streams

Built = Callable[..., CodeTokenizer]
grids = pytest.mark.parametrize("patch", [8, 4])


def fitted(built: Built, patch: int = 8, shaken: bool = False) -> ResidualCodes:
    tokenizer = built("vq", patch, shaken=shaken)
    assert isinstance(tokenizer, ResidualCodes)
    return tokenizer


@grids
@torch.no_grad()
def test_unquantised_vectors_are_exact_before_training(patch: int, built: Built, items: Tensor) -> None:
    tokenizer = fitted(built, patch)
    assert torch.equal(tokenizer.decode(tokenizer.encode(items)), items)


@grids
@torch.no_grad()
def test_the_decoder_starts_at_the_closed_form(patch: int, built: Built, items: Tensor) -> None:
    tokenizer = fitted(built, patch)
    for vectors in tokenizer.partial_sums(tokenizer.quantise(tokenizer.encode(items))):
        assert torch.equal(tokenizer.decode(vectors), unpatch(vectors, patch))
    figures = tokenizer.metrics(items)
    for level in range(1, 6):
        assert figures[f"psnr_{level}"] == figures[f"closed_psnr_{level}"]


@torch.no_grad()
def test_partial_sums_add_level_by_level(built: Built, items: Tensor) -> None:
    tokenizer = fitted(built)
    codes = tokenizer.quantise(tokenizer.encode(items))
    total = torch.zeros(16, 64, 8, 8)
    sums = tokenizer.partial_sums(codes)
    assert len(sums) == 5
    for level, vectors in enumerate(sums):
        total = total + tokenizer.codebooks[level][codes[..., level]].movedim(-1, 1)
        assert torch.equal(vectors, total)
    assert len(tokenizer.partial_sums(codes[..., :2])) == 2


@torch.no_grad()
def test_every_level_brings_a_vector_nearer(built: Built, items: Tensor) -> None:
    tokenizer = fitted(built)
    vectors = tokenizer.encode(items)
    errors = [(vectors - part).square().mean() for part in tokenizer.partial_sums(tokenizer.quantise(vectors))]
    assert (torch.stack(errors).diff() < 0).all()


@grids
@torch.no_grad()
def test_codes_agree_with_the_library(patch: int, built: Built) -> None:
    tokenizer = fitted(built, patch)
    x = torch.randn(4, 30, patch**2, generator=torch.Generator().manual_seed(5))
    quantised, index, _ = tokenizer.quantiser(x)
    codes = tokenizer.quantise(x.movedim(-1, 1)[..., None])[:, :, 0]
    assert torch.equal(codes, index)
    total = tokenizer.partial_sums(codes[:, :, None])[-1][..., 0].movedim(1, -1)
    torch.testing.assert_close(total, quantised, rtol=1e-5, atol=1e-5)


def test_only_the_codes_and_the_decoder_are_stored(built: Built) -> None:
    tokenizer = fitted(built)
    names = {name for name in tokenizer.state_dict() if not name.startswith("decoder.")}
    assert names == {f"quantiser.layers.{level}._codebook.embed" for level in range(5)}
    assert {n for n, p in tokenizer.named_parameters() if p.requires_grad} == {
        n for n in tokenizer.state_dict() if n.startswith("decoder.")
    }


def test_more_levels_keep_the_first_ones(items: Tensor) -> None:
    deep, shallow = (vq.build(levels=levels, vocab=16, lloyd=3, width=8, fine_width=8) for levels in (4, 2))
    for tokenizer in (deep, shallow):
        tokenizer.fit(items, rng=Streams(7, [("fit",)]))
    assert torch.equal(deep.codebooks[:2], shallow.codebooks)


def test_another_seed_gives_other_codes(built: Built, items: Tensor) -> None:
    other = vq.build(vocab=16, levels=5, lloyd=4, width=8, fine_width=8)
    other.fit(items, rng=Streams(1, [("fit",)]))
    assert not torch.equal(other.codebooks, fitted(built).codebooks)


@torch.no_grad()
def test_the_decoder_is_trained_at_every_depth(built: Built, items: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = fitted(built)
    vectors = tokenizer.encode(items)
    sums = [vectors, *tokenizer.partial_sums(tokenizer.quantise(vectors))]
    seen: list[Tensor] = []
    monkeypatch.setattr(tokenizer, "decode", lambda v: seen.append(v) or unpatch(v, 8))
    for step in range(8):
        tokenizer.loss(items, rng=Streams(step, [(i,) for i in range(16)]))
    given = torch.stack(seen).movedim(2, -1)
    same = torch.stack([(given == part.movedim(1, -1)).all(-1) for part in sums])  # (depth, step, item, row, column)
    shares = same.float().mean((1, 2, 3, 4))
    mixed = same.any(-1).any(-1)
    assert all((mixed[0] & mixed[depth]).any() for depth in (2, 4, 5)), "items of every depth have exact positions"
    assert shares[1] == shares[3] == 0, "one level alone and three are no preset"
    assert 0.05 < shares[0] < 0.2, "an eighth of the positions is unquantised"
    assert all(0.15 < shares[depth] < 0.45 for depth in (2, 4, 5))


@pytest.mark.parametrize("option", [{"vocab": 1}, {"levels": 0}, {"lloyd": 0}, {"vocab": 1 << 20}])
def test_options_are_bounded(option: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="range"):
        build_tokenizer(get_tokenizer("vq"), option)
