"""Whatever stands in hidden pixels, the vectors and codes of known positions are the same to the bit."""

from collections.abc import Callable

import pytest
import torch
from cmrgz_tokenizers.decoder import ContextDecoder
from cmrgz_tokenizers.vq import ResidualCodes
from torch import Tensor, nn

from cmrgz.latents import known_positions
from cmrgz.model import CodeTokenizer
from cmrgz.rng import Streams

Built = Callable[..., CodeTokenizer]


def boxes(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return known pixels (b, 1, h, w) beside one box an item, of any size and not on the grid."""
    known = torch.ones(shape, dtype=torch.bool)
    for item in known:
        top, left = torch.randint(0, shape[-1] // 2, (2,), generator=generator).tolist()
        height, width = torch.randint(5, shape[-1] // 2, (2,), generator=generator).tolist()
        item[:, top : top + height, left : left + width] = False
    return known


def cells(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return known pixels (b, 1, h, w) where half of the cells of 16 x 16 pixels are hidden."""
    coarse = torch.rand(shape[0], 1, shape[2] // 16, shape[3] // 16, generator=generator) < 0.5
    return coarse.repeat_interleave(16, 2).repeat_interleave(16, 3)


def leaks(tokenizer: CodeTokenizer, x: Tensor, known: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """Return the share of known positions whose (vector, codes) change between two random fills of hidden pixels."""
    fills = [torch.where(known, x, torch.rand(x.shape, generator=generator) * 2 - 1) for _ in range(2)]
    at = known_positions(known, tokenizer.patch)
    assert at.any() and not at.all()
    vectors = [tokenizer.encode(fill) for fill in fills]
    codes = [tokenizer.quantise(v) for v in vectors]
    assert not torch.equal(vectors[0], vectors[1])
    a, b = (v.movedim(1, -1)[at] for v in vectors)
    changed = (codes[0][at] != codes[1][at]).any(-1)
    return float((a != b).any(-1).float().mean()), float(changed.float().mean())


class Contextual(ResidualCodes):
    """The positive control: an encoder that sees its neighbours, or only their statistics."""

    def __init__(self, kernel: int) -> None:
        super().__init__(8, 16, 2, ContextDecoder(8, 16, 8, 1), 3)
        convolution = nn.Conv2d(64, 64, kernel, padding=kernel // 2)
        self.context = nn.Sequential(convolution, nn.GroupNorm(8, 64), nn.Conv2d(64, 64, 1))

    def encode(self, x: Tensor) -> Tensor:
        """Return vectors that depend on more than their patch."""
        return self.context(super().encode(x))


@pytest.mark.parametrize("holes", [boxes, cells])
@pytest.mark.parametrize("patch", [8, 4])
@pytest.mark.parametrize("name", ["vq", "fsq"])
@torch.no_grad()
def test_nothing_hidden_reaches_a_known_position(
    name: str, patch: int, holes: Callable[..., Tensor], built: Built, items: Tensor
) -> None:
    tokenizer = built(name, patch, shaken=True)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        known = holes(items.shape, generator)
        assert leaks(tokenizer, items, known, generator) == (0.0, 0.0)


@pytest.mark.parametrize("holes", [boxes, cells])
@pytest.mark.parametrize("kernel", [1, 3])
@torch.no_grad()
def test_the_leak_test_catches_a_contextual_encoder(kernel: int, holes: Callable[..., Tensor], items: Tensor) -> None:
    torch.manual_seed(0)
    control = Contextual(kernel)
    control.fit(items, rng=Streams(0, [("fit",)]))
    for layer in control.quantiser.layers:  # codes at the scale of the vectors
        layer._codebook.embed.copy_(torch.randn_like(layer._codebook.embed) * 0.3)
    generator = torch.Generator().manual_seed(0)
    vectors, codes = leaks(control, items, holes(items.shape, generator), generator)
    assert vectors > 0.3 and codes > 0.01


@pytest.mark.parametrize("name", ["vq", "fsq"])
@torch.no_grad()
def test_known_positions_are_the_same_beside_numbers_that_are_none(name: str, built: Built, items: Tensor) -> None:
    tokenizer = built(name, shaken=True)
    known = cells(items.shape, torch.Generator().manual_seed(0))
    at = known_positions(known, tokenizer.patch)
    for fill in (torch.nan, torch.inf, -1e30):
        vectors = tokenizer.encode(items.masked_fill(~known, fill))
        assert torch.equal(vectors.movedim(1, -1)[at], tokenizer.encode(items).movedim(1, -1)[at])
        assert torch.equal(tokenizer.quantise(vectors)[at], tokenizer.quantise(tokenizer.encode(items))[at])
