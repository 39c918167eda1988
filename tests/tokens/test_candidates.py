"""Candidates: draws of the hints, picked by what a network says beyond them."""

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cmrgz.model import CodeTokenizer
from cmrgz.rng import Streams
from cmrgz.testing.small import SmallTokenizer
from cmrgz.tokens.candidates import Candidates, of_hint, weights
from cmrgz.tokens.neighbours import MOST, WAVES, around_cycle, correlated, correlations, neighbour_sums
from cmrgz.tokens.network import Logits
from cmrgz.tokens.prior import CodePrior, Leaning

GRID = (2, 2, 4, 4)
N = 64


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def prior_of(tokenizer: CodeTokenizer) -> CodePrior:
    prior = CodePrior(tokenizer.channels, tokenizer.levels, tokenizer.vocab)
    prior.common.copy_(normals(*prior.common.shape, seed=3).log_softmax(-1))
    prior.rest.fill_(0.3)
    prior.say.data.fill_(1.0)
    return prior.requires_grad_(False)


TOKENIZER = SmallTokenizer()
PRIOR = prior_of(TOKENIZER)


def candidates(k: int, b: int = 2, samples: tuple[int, ...] = (0, 1), antithetic: bool = False) -> Candidates:
    mean = normals(1, N, TOKENIZER.channels, seed=1).expand(b, -1, -1)
    leaning = Leaning(mean, torch.full_like(mean, 1 / 0.2**2))
    rng = Streams(0, [(sample, 7) for sample in samples], antithetic)
    some, moments = torch.ones(b, dtype=torch.bool), torch.tensor([[0.0, 0.05]]).expand(b, -1)
    return Candidates.of(PRIOR.bind(TOKENIZER, leaning), some, GRID, k, rng, moments)


def told(tilt: float = 0.0) -> Logits:
    """Return logits that say no more than the frequencies, and how much more of codes with large numbers."""
    slope = tilt * torch.arange(TOKENIZER.vocab) / TOKENIZER.vocab

    def logits(states: Tensor, codes: Tensor, level: int) -> Tensor:
        return (PRIOR.common[level] + slope).expand(*states.shape[:-1], -1)

    return logits


def drawn(own: Candidates, logits: Logits) -> Tensor:
    b = len(own.some)
    return own(logits, TOKENIZER, torch.zeros(b, N, 1), torch.arange(N).expand(b, -1))


def test_one_candidate_is_a_draw_of_the_hint() -> None:
    own = candidates(1)
    expected = own.prior.leaning.mean + 0.2 * own.noise[:, :, 0]
    torch.testing.assert_close(drawn(own, told(5.0)), expected @ PRIOR.hints.basis.T)


def test_a_network_that_says_no_more_than_the_hint_picks_blindly() -> None:
    own = candidates(16)
    off = (drawn(own, told()) - own.prior.leaning.mean @ PRIOR.hints.basis.T) / 0.2
    assert abs(float(off.mean())) < 0.1 and 0.93 < float(off.std()) < 1.07
    blind = (own.pick * 16).long()
    expected = own.noise.gather(2, blind[..., None, None].expand(-1, -1, 1, own.noise.shape[-1]))[:, :, 0]
    same = (off @ PRIOR.hints.basis - expected).abs().amax(-1) < 1e-3
    assert float(same.float().mean()) > 0.98, "weights are equal up to rounding"


def test_what_is_picked_is_distributed_by_the_weights() -> None:
    """Against the weighted mean over all candidates, which is what many of them stand for."""
    own = candidates(64, b=8, samples=tuple(range(8)))
    logits, hint = told(6.0), own.prior.alike()
    every = of_hint(hint, own.noise)
    codes = TOKENIZER.quantise(every.reshape(-1, every.shape[-1], 1, 1)).view(8, N, 64, -1)
    weight = weights(hint, logits, torch.zeros(8, N, 64, 1), codes).softmax(-1)
    expected = (weight * codes[..., 0]).sum(-1).mean()
    plain = codes[..., 0].float().mean()
    picked = TOKENIZER.quantise(drawn(own, logits).reshape(-1, every.shape[-1], 1, 1)).view(8, N, -1)[..., 0]
    assert abs(float(expected - plain)) > 0.5, "the network says something"
    assert abs(float(picked.float().mean() - expected)) < 0.25 * abs(float(expected - plain))


def test_antithetic_candidates_are_opposite_about_the_hint() -> None:
    own = candidates(1, antithetic=True)
    one, other = drawn(own, told())
    torch.testing.assert_close((one + other) / 2, own.prior.leaning.mean[0] @ PRIOR.hints.basis.T)
    assert torch.equal(own.pick[0], own.pick[1])


def test_one_candidate_asks_no_network_where_something_is_known() -> None:
    own = candidates(1)
    only = own.only()
    assert only is not None and torch.equal(only, drawn(own, told(5.0)))
    assert candidates(2).only() is None
    assert replace(own, some=torch.tensor([True, False])).only() is None


def test_correlated_noise_has_the_correlations_and_no_other_variance() -> None:
    alike = torch.tensor([[0.9, 0.0], [0.5, 0.2], [0.3, 0.6], [0.0, 0.95]])
    moments = (torch.arange(6) / 20).expand(64, -1)
    field = correlated(around_cycle(normals(64, WAVES, 5, 8, 8, 1, 2), alike[0], moments), alike)
    assert torch.allclose(field.var((0, 1, 2, 3, 4, 5)), torch.ones(2), atol=0.08)
    assert torch.allclose(field[:, -1].var((0, 1, 2, 3, 4)), torch.ones(2), atol=0.15), "at the ends as elsewhere"
    sums = neighbour_sums(field[..., 0, :], torch.ones(field.shape[:5], dtype=torch.bool))
    assert torch.allclose(correlations(sums), alike, atol=0.06)
    white = normals(2, 3, 3, 4, 4, 2, 2)
    assert torch.equal(correlated(white, torch.zeros(4, 2)), white)


@given(st.floats(0, 1), st.integers(1, 19), st.floats(0, 0.95))
@settings(deadline=None, max_examples=20)
def test_noise_around_a_cycle_is_one_field_wherever_a_block_begins(start: float, later: int, rho: float) -> None:
    waves, alike = normals(1, WAVES, 2, 3, 3, 1, 1), torch.tensor([rho])
    whole = around_cycle(waves, alike, start + torch.arange(20)[None] / 20)
    part = around_cycle(waves, alike, start + 1 + (later + torch.arange(3)[None]) / 20)  # a cycle later
    torch.testing.assert_close(part, whole[:, (later + torch.arange(3)) % 20], atol=1e-4, rtol=1e-4)


def test_neighbours_are_counted_where_both_are_hidden() -> None:
    units = torch.zeros(1, 3, 1, 2, 2, 1)
    units[0, :, 0, 0, 0, 0] = torch.tensor([2.0, 2.0, -5.0])
    hidden = torch.zeros(units.shape[:5], dtype=torch.bool)
    hidden[0, :2, 0, 0, 0] = True
    found = correlations(neighbour_sums(units, hidden))
    assert found[0, 0] == MOST and not found[1:].any()
