import pytest
import torch
from cmrgz_tokenizers.decoder import ContextDecoder, mix_exact

from cmrgz.rng import Streams


def test_a_quarter_of_the_items_have_exact_positions() -> None:
    rng = Streams(0, [(i,) for i in range(400)])
    u = rng.uniform(2)
    mixed = mix_exact(torch.ones(400, 3, 6, 6), torch.zeros(400, 3, 6, 6), u, rng)
    assert torch.equal(mixed.amin(1), mixed.amax(1)), "a position is one or the other, in all its channels"
    share = mixed.mean((1, 2, 3))
    assert not share[u[:, 0] >= 0.25].any()
    some = u[:, 0] < 0.25
    assert 60 < some.sum() < 140
    torch.testing.assert_close(share[some], u[some, 1], rtol=0, atol=0.3)
    assert torch.corrcoef(torch.stack([share[some], u[some, 1]]))[0, 1] > 0.9


@pytest.mark.parametrize("patch", [8, 4])
@torch.no_grad()
def test_a_new_decoder_only_puts_the_patches_in_place(patch: int) -> None:
    vectors = torch.randn(2, patch**2, 3, 5, generator=torch.Generator().manual_seed(0))
    decoder = ContextDecoder(patch, width=8, fine_width=8, blocks=2)
    assert torch.equal(decoder(vectors), torch.nn.functional.pixel_shuffle(vectors, patch))


@torch.no_grad()
def test_what_is_far_away_does_not_reach_a_patch() -> None:
    torch.manual_seed(0)
    decoder = ContextDecoder(8, width=8, fine_width=8, blocks=1)
    torch.nn.init.normal_(decoder.leave.weight)
    vectors = torch.randn(1, 64, 3, 24)
    other = vectors.clone()
    other[..., -1] += 1
    changed = (decoder(vectors) != decoder(other))[0, 0].any(0)
    assert changed[-16:-8].any() and not changed[:64].any()
