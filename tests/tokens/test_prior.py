"""What the hints of a block say of its codes: against Bayes' rule by counting, and what it is worth untrained."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.holes import training_known
from cmrgz.latents import framewise, position_pixels
from cmrgz.rng import Streams
from cmrgz.testing.small import SmallTokenizer
from cmrgz.tokens.codes import framewise_codes, level_loss
from cmrgz.tokens.drawer import Drawer, Truncation
from cmrgz.tokens.prior import CodePrior, Evidence, Leaning, flat

GRID = (5, 3, 8, 8)


def streams(count: int, seed: int = 0) -> Streams:
    return Streams(seed, [(i,) for i in range(count)])


def waves(count: int, seed: int) -> Tensor:
    """Return blocks (count, 1, 5, 3, 16, 16) of waves that move with time and shift from slice to slice."""
    u = torch.rand(count, 6, 1, 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    t, z = torch.arange(5).view(-1, 1, 1, 1) / 20, torch.arange(3).view(-1, 1, 1) / 10
    y, x = torch.arange(16).view(-1, 1) / 16, torch.arange(16) / 16
    wave = 6.28 * ((2 * u[:, 0] - 1) * y + (2 * u[:, 1] - 1) * x + u[:, 2] + t + z)
    return (0.8 * wave.sin() + 0.6 * (u[:, 3] - 0.5))[:, None]


def means_tokenizer(vocab: int = 24) -> SmallTokenizer:
    """Return a tokenizer whose residual codes are means of what they stand for, as those of use are."""
    tokenizer = SmallTokenizer()
    rest, books = flat(framewise(tokenizer.encode, waves(16, 9))).flatten(0, 1), []
    for level in range(tokenizer.levels):
        generator = torch.Generator().manual_seed(level)
        book = rest[torch.randperm(len(rest), generator=generator)[:vocab]]
        for _ in range(8):
            nearest = torch.cdist(rest, book).argmin(1)
            sums = torch.zeros_like(book).index_add_(0, nearest, rest)
            count = torch.bincount(nearest, minlength=vocab)[:, None]
            book = torch.where(count > 0, sums / count.clamp(min=1), book)
        books.append(book)
        rest = rest - book[torch.cdist(rest, book).argmin(1)]
    tokenizer.vocab, tokenizer.books = vocab, torch.nn.Parameter(torch.stack(books), requires_grad=False)
    return tokenizer


TOKENIZER = means_tokenizer()


@dataclass
class Fitted:
    """A fitted prior, and hidden positions of other blocks."""

    prior: CodePrior
    evidence: Evidence
    hidden: Tensor
    codes: Tensor
    vectors: Tensor
    bias: Tensor

    def entropy(self, leaning: Leaning | None) -> list[float]:
        """Return the cross-entropy of the hidden codes by level, of the frequencies alone where nothing leans."""
        losses = []
        for level in range(TOKENIZER.levels):
            logits = self.bias[level].expand(len(self.codes), -1)
            if leaning is not None:
                logits = logits + self.prior.bind(TOKENIZER, leaning)(self.codes, level)
            losses.append(float(F.cross_entropy(logits, self.codes[:, level]).detach()))
        return losses


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    prior = CodePrior(TOKENIZER.channels, TOKENIZER.levels, TOKENIZER.vocab)
    x = waves(32, 0)
    codes = framewise_codes(TOKENIZER, framewise(TOKENIZER.encode, x)).flatten(0, 1)
    prior.fit(TOKENIZER, x, codes, streams(1))
    count = torch.stack([torch.bincount(own, minlength=TOKENIZER.vocab) + 1.0 for own in codes.T])
    y = waves(24, 1)
    known = training_known(GRID, streams(24, 2))
    evidence = prior.evidence(TOKENIZER, y, position_pixels(known, TOKENIZER.patch), None)
    hidden, vectors = ~known.flatten(1), framewise(TOKENIZER.encode, y)
    own = framewise_codes(TOKENIZER, vectors)
    return Fitted(prior, evidence, hidden, own[hidden], flat(vectors), (count / count.sum(1, keepdim=True)).log())


def leaning(fitted: Fitted) -> Leaning:
    assert fitted.evidence.leaning is not None
    return fitted.evidence.leaning


def test_hints_tell_more_of_codes_than_their_frequencies(fitted: Fitted) -> None:
    alone, told = fitted.entropy(None), fitted.entropy(leaning(fitted).of(fitted.hidden))
    assert told[0] < alone[0] - 0.4
    assert all(own < other + 0.02 for own, other in zip(told, alone, strict=True))
    assert sum(told) < sum(alone) - 0.6


def test_what_says_nothing_leaves_about_the_frequencies(fitted: Fitted) -> None:
    hints, n = fitted.prior.hints, len(fitted.codes)
    none = Leaning((hints.mean @ hints.basis).expand(n, -1), hints.spread.square().reciprocal().expand(n, -1))
    alone, told = fitted.entropy(None), fitted.entropy(none)
    assert all(abs(own - other) < 0.35 for own, other in zip(told, alone, strict=True))


def drawn(fitted: Fitted, how: Truncation, seed: int = 0, u: Tensor | None = None) -> Tensor:
    """Return draws (b, n, c) of an untrained model: the frequencies and the prior."""
    b, n = fitted.hidden.shape
    u = streams(b, seed).uniform(n, TOKENIZER.levels) if u is None else u
    prior = fitted.prior.bind(TOKENIZER, leaning(fitted))
    drawer = Drawer(lambda s, c, level: fitted.bias[level].expand(*s.shape[:-1], -1), TOKENIZER, u, how, prior)
    with torch.no_grad():
        return drawer(torch.zeros(b, n, 1), torch.arange(n).expand(b, -1))


def test_draws_lie_about_as_far_from_the_truth_as_the_hints_say(fitted: Fitted) -> None:
    mean, scale = fitted.evidence.features[..., :4], leaning(fitted).precision.rsqrt()
    quantised = torch.stack([TOKENIZER.embed(fitted.codes[:, i], i) for i in range(3)]).sum(0)
    floor = (quantised - fitted.vectors[fitted.hidden]).square().sum(-1).mean()
    error = (drawn(fitted, Truncation()) - fitted.vectors)[fitted.hidden].square().sum(-1).mean()
    expected = (mean - fitted.vectors)[fitted.hidden].square().sum(-1).mean() + scale[fitted.hidden].square().sum(
        -1
    ).mean()
    assert error < 1.26 * (expected + floor)  # 1 dB


def test_opposite_numbers_oppose_draws(fitted: Fitted) -> None:
    b, n = fitted.hidden.shape
    u = streams(b).uniform(n, TOKENIZER.levels)
    mean = torch.stack([drawn(fitted, Truncation(), seed) for seed in range(4)]).mean(0)
    first, second = (drawn(fitted, Truncation(), 9, u=number) - mean for number in (u, 1 - u))
    assert (first * second)[fitted.hidden].mean() < -0.25 * first[fitted.hidden].square().mean()


def test_the_logits_are_the_formula(fitted: Fitted) -> None:
    prior, rows = fitted.prior, leaning(fitted).of(fitted.hidden)
    codes, basis = fitted.codes[:5], prior.hints.basis
    for level in range(3):
        logits = prior.bind(TOKENIZER, rows)(fitted.codes, level)[:5]
        base = 1.5 / prior.hints.spread.square() if level else 0.0
        trust = (rows.precision[:5] - base).clamp(min=0)
        weight = prior.log_factor[level].exp() * trust / (1 + 0.4 * trust * prior.rest[level].square())
        before = sum((TOKENIZER.embed(codes[:, i], i) @ basis for i in range(level)), torch.zeros(5, 4))
        away = (rows.mean[:5] - before)[:, None] - TOKENIZER.embed(torch.arange(24), level) @ basis
        expected = prior.shift[level] - (weight[:, None] * away.square()).sum(-1) / 2
        torch.testing.assert_close(logits.log_softmax(-1), expected.log_softmax(-1), atol=1e-4, rtol=1e-4)


def test_the_rest_is_what_the_codes_leave(fitted: Fitted) -> None:
    assert (fitted.prior.rest.diff(dim=0) < 1e-3).all(), "of noise no code says anything"
    left = fitted.vectors[fitted.hidden] @ fitted.prior.hints.basis
    for level in range(3):
        left = left - TOKENIZER.embed(fitted.codes[:, level], level) @ fitted.prior.hints.basis
        torch.testing.assert_close(fitted.prior.rest[level], left.square().mean(0).sqrt(), rtol=0.35, atol=0)


def test_the_prior_reaches_loss_draws_and_probabilities(fitted: Fitted) -> None:
    """One model, asked three ways: they agree on the law of a code."""
    prior, positions = fitted.prior.bind(TOKENIZER, leaning(fitted)), torch.arange(GRID[2] * GRID[3]).expand(24, -1)
    states, codes = torch.zeros(24, 64, 1), framewise_codes_of(fitted)[:, :64]

    def logits(s: Tensor, c: Tensor, level: int) -> Tensor:
        return fitted.bias[level].expand(*s.shape[:-1], -1)

    u = streams(24).uniform(fitted.hidden.shape[1], 3)
    total = Drawer(logits, TOKENIZER, u, Truncation(), prior).log_prob(states, codes, positions)
    rows = prior.at(positions).of(torch.ones(24, 64, dtype=torch.bool))
    loss = level_loss(logits, states.flatten(0, 1), codes.flatten(0, 1), 1.0, False, streams(1), rows)
    torch.testing.assert_close(loss, -total.mean() / 3)
    plain = level_loss(logits, states.flatten(0, 1), codes.flatten(0, 1), 1.0, False, streams(1))
    assert not torch.allclose(loss, plain)


def framewise_codes_of(fitted: Fitted) -> Tensor:
    vectors = fitted.vectors.transpose(1, 2).unflatten(2, GRID)
    return framewise_codes(TOKENIZER, vectors)


def test_leanings_go_with_their_positions() -> None:
    own = Leaning(torch.randn(2, 6, 4), torch.rand(2, 6, 4))
    positions = torch.tensor([[3, 0], [5, 5]])
    assert torch.equal(own.at(positions).mean, torch.stack([own.mean[0, [3, 0]], own.mean[1, [5, 5]]]))
    mask = torch.rand(2, 6) < 0.5
    assert torch.equal(own.of(mask).precision, own.precision[mask])
    assert torch.equal(own.spread(3).mean, own.mean.repeat_interleave(3, 0))


def test_factors_are_learned(fitted: Fitted) -> None:
    prior = fitted.prior.bind(TOKENIZER, leaning(fitted).of(fitted.hidden))
    (gradient,) = torch.autograd.grad(
        F.cross_entropy(prior(fitted.codes, 1), fitted.codes[:, 1]), fitted.prior.log_factor
    )
    assert gradient[1].all() and not gradient[0].any()


def normals(like: Tensor, seed: int = 0) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def test_within_cells_a_vector_is_nearer_to_the_truth_than_its_code(fitted: Fitted) -> None:
    codes = framewise_codes(TOKENIZER, fitted.vectors.transpose(1, 2).unflatten(2, GRID))
    quantised = torch.stack([TOKENIZER.embed(codes[..., i], i) for i in range(3)]).sum(0)
    settled = fitted.prior.within_cells(quantised, fitted.evidence, torch.zeros_like(quantised))
    told = leaning(fitted).precision.log().mean(-1)
    sure = fitted.hidden & (told > told[fitted.hidden].quantile(0.75))
    before, after = ((own - fitted.vectors)[sure].square().sum(-1).mean() for own in (quantised, settled))
    assert after < 0.97 * before


def test_where_a_hint_is_sure_its_mean_is_drawn_and_where_it_is_not_the_code(fitted: Fitted) -> None:
    own, codes = leaning(fitted), drawn(fitted, Truncation())
    sure, unsure = (
        Evidence(fitted.evidence.features, Leaning(own.mean, precision), fitted.evidence.fill, fitted.evidence.some)
        for precision in (torch.full_like(own.precision, 1e8), torch.full_like(own.precision, 1e-8))
    )
    basis, some, noise = fitted.prior.hints.basis, fitted.evidence.some, normals(codes)
    assert some is not None
    near = fitted.prior.within_cells(codes, sure, noise) - own.mean @ basis.T
    assert near[some].abs().max() < 1e-3
    cell = (fitted.prior.within_cells(codes, unsure, noise) - codes) @ basis
    torch.testing.assert_close(cell[some], (fitted.prior.rest[-1] * noise)[some], atol=1e-5, rtol=1e-4)


def test_within_cells_vary_as_normal_laws_multiply(fitted: Fitted) -> None:
    own, rest, codes = leaning(fitted), fitted.prior.rest[-1].square(), drawn(fitted, Truncation())
    basis, some = fitted.prior.hints.basis, fitted.evidence.some
    assert some is not None
    mean = fitted.prior.within_cells(codes, fitted.evidence, torch.zeros_like(codes))
    step = (fitted.prior.within_cells(codes, fitted.evidence, torch.ones_like(codes)) - mean) @ basis
    told = (own.precision - fitted.prior.hints.spread.square().reciprocal()).clamp(min=0)
    expected = (1 / (1 / rest + told)).sqrt()
    torch.testing.assert_close(step[some], expected[some], atol=1e-5, rtol=1e-3)


def test_nothing_known_leaves_codes_as_they_are(fitted: Fitted) -> None:
    codes, evidence = drawn(fitted, Truncation()), fitted.evidence
    none = Evidence(evidence.features, evidence.leaning, evidence.fill, torch.zeros(len(codes), dtype=torch.bool))
    assert torch.equal(fitted.prior.within_cells(codes, none, normals(codes)), codes)
