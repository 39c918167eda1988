from collections.abc import Callable

import pytest
import torch
from cmrgz_tokenizers import fsq
from cmrgz_tokenizers.fsq import LEVELS, ProductCodes
from torch import Tensor
from vector_quantize_pytorch import FSQ

from cmrgz.errors import UsageError
from cmrgz.model import CodeTokenizer
from cmrgz.registry import build_tokenizer, get_tokenizer
from cmrgz.rng import Streams

Built = Callable[..., CodeTokenizer]
grids = pytest.mark.parametrize("patch", [8, 4])


def fitted(built: Built, patch: int = 8, shaken: bool = False) -> ProductCodes:
    tokenizer = built("fsq", patch, shaken=shaken)
    assert isinstance(tokenizer, ProductCodes)
    return tokenizer


def random_codes(tokenizer: ProductCodes) -> Tensor:
    shape, generator = (3, 4, 5, tokenizer.levels), torch.Generator().manual_seed(0)
    return torch.randint(0, tokenizer.vocab, shape, generator=generator)


def test_sizes() -> None:
    tokenizer = fsq.build(width=8, fine_width=8)
    assert (tokenizer.patch, tokenizer.levels, tokenizer.channels, tokenizer.vocab) == (8, 4, 16, 1000)


@grids
@torch.no_grad()
def test_the_decoder_starts_at_the_closed_form(patch: int, built: Built, items: Tensor) -> None:
    tokenizer = fitted(built, patch)
    codes = tokenizer.quantise(tokenizer.encode(items))
    vectors = torch.stack([tokenizer.embed(codes[..., level], level) for level in range(3)]).sum(0).movedim(-1, 1)
    assert torch.equal(tokenizer.decode(vectors), tokenizer._closed_form(items))
    figures = tokenizer.metrics(items)
    assert figures["psnr_total"] == figures["closed_psnr_total"]


@torch.no_grad()
def test_the_closed_form_stays_when_the_rest_is_trained(built: Built, items: Tensor) -> None:
    start, trained = fitted(built).metrics(items), fitted(built, shaken=True).metrics(items)
    assert start["closed_psnr_total"] == trained["closed_psnr_total"] != trained["psnr_total"]


@torch.no_grad()
def test_more_groups_keep_more(items: Tensor) -> None:
    decibels = []
    for groups in (1, 2, 4, 8):
        tokenizer = fsq.build(groups=groups, width=8, fine_width=8)
        tokenizer.fit(items, rng=Streams(0, [("fit",)]))
        decibels.append(tokenizer.metrics(items)["psnr_total"])
    assert decibels == sorted(decibels) and decibels[-1] > decibels[0] + 1


@torch.no_grad()
@pytest.mark.parametrize("gain", [0.1, 2.0])
def test_the_closed_form_beats_other_gains(
    gain: float, built: Built, items: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = fitted(built).metrics(items)["psnr_total"]
    monkeypatch.setattr(fsq, "GAINS", torch.tensor([gain]))
    assert fitted(built).metrics(items)["psnr_total"] < best - 0.5


@torch.no_grad()
def test_the_strongest_components_have_the_most_levels(built: Built) -> None:
    tokenizer = fitted(built)
    power = tokenizer.synthesis.weight.norm(dim=0).unflatten(0, (3, len(LEVELS)))
    assert power[:, 0].min() > power[:, 1].max() > power[:, 2:].max()


@grids
@torch.no_grad()
def test_vectors_are_bounded_and_not_rounded(patch: int, built: Built, items: Tensor) -> None:
    tokenizer = fitted(built, patch, shaken=True)
    for x in (items, 1000 * items):
        assert tokenizer.encode(x).abs().max() <= 1.002
    vectors = tokenizer.encode(items)
    assert len(vectors[:, 0].unique()) > 100
    rounded = tokenizer._round(vectors.movedim(1, -1)).movedim(-1, 1)
    assert [len(rounded[:, channel].unique()) <= LEVELS[channel % 4] for channel in range(12)] == [True] * 12


@torch.no_grad()
def test_codes_agree_with_the_library(built: Built) -> None:
    tokenizer = fitted(built)
    h = 2 * torch.randn(5, 40, 12, generator=torch.Generator().manual_seed(3))
    vectors = tokenizer._bound(h).movedim(-1, 1)[..., None]
    codes = tokenizer.quantise(vectors)[:, :, 0]
    for group in range(3):
        quantised, index = FSQ(list(LEVELS))(h[..., 4 * group : 4 * group + 4])
        assert torch.equal(codes[..., group], index.long())
        own = tokenizer.embed(codes[..., group], group)[..., 4 * group : 4 * group + 4]
        torch.testing.assert_close(own, quantised)


@torch.no_grad()
def test_groups_add_up_in_channels_of_their_own(built: Built) -> None:
    tokenizer = fitted(built)
    codes = random_codes(tokenizer)
    parts = [tokenizer.embed(codes[..., group], group) for group in range(3)]
    for group, part in enumerate(parts):
        own = torch.zeros(12, dtype=torch.bool)
        own[4 * group : 4 * group + 4] = True
        assert part.shape == (3, 4, 5, 12) and not part[..., ~own].any() and part[..., own].any()
    vectors = torch.stack(parts).sum(0)
    assert torch.equal(tokenizer._round(vectors), vectors)
    assert torch.equal(tokenizer.quantise(vectors.movedim(-1, 1)), codes)


@torch.no_grad()
def test_every_code_is_a_point_of_its_own(built: Built) -> None:
    tokenizer = fitted(built)
    every = torch.arange(tokenizer.vocab)
    points = tokenizer.embed(every, 1)
    assert len(points.unique(dim=0)) == 1000
    assert torch.equal(tokenizer.quantise(points.T[None, :, :, None])[0, :, 0, 1], every)


@torch.no_grad()
def test_vectors_outside_the_span_have_the_code_at_its_end(built: Built) -> None:
    tokenizer = fitted(built)
    codes = tokenizer.quantise(torch.full((1, 12, 1, 1), 50.0))
    assert (codes == 999).all() and (tokenizer.quantise(torch.full((1, 12, 1, 1), -50.0)) == 0).all()


def test_the_gradient_goes_straight_through_the_rounding(built: Built) -> None:
    vectors = (torch.rand(7, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1).requires_grad_()
    weight = torch.arange(84.0).reshape(7, 12)
    (fitted(built)._round(vectors) * weight).sum().backward()
    assert vectors.grad is not None and torch.equal(vectors.grad, weight)


def test_the_encoder_is_trained_through_the_codes(built: Built, items: Tensor) -> None:
    tokenizer = fitted(built)
    tokenizer.loss(items, rng=Streams(0, [(i,) for i in range(16)])).backward()
    last = tokenizer.encoder[-1].weight
    assert isinstance(last, Tensor) and last.grad is not None and last.grad.abs().sum() > 0


def test_what_is_stored(built: Built) -> None:
    tokenizer = fitted(built)
    tops = {name.split(".")[0] for name in tokenizer.state_dict()}
    assert tops == {"analysis", "synthesis", "encoder", "decoder"}
    frozen = {name.split(".")[0] for name, p in tokenizer.named_parameters() if not p.requires_grad}
    assert frozen == {"analysis", "synthesis"}


@torch.no_grad()
def test_items_without_contrast_can_be_fitted() -> None:
    tokenizer = fsq.build(width=8, fine_width=8)
    x = torch.full((2, 1, 32, 32), -1.0)
    tokenizer.fit(x, rng=Streams(0, [("fit",)]))
    assert tokenizer.metrics(x)["psnr_total"] > 60


@pytest.mark.parametrize(("patch", "groups"), [(4, 5), (8, 17), (8, 0)])
def test_no_more_channels_than_pixels(patch: int, groups: int) -> None:
    with pytest.raises(UsageError, match="range.*'groups' must be"):
        build_tokenizer(get_tokenizer("fsq"), {"patch": patch, "groups": groups})
