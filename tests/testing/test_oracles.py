"""The oracle's conditionals against sums over all states."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cmrgz.errors import UsageError
from cmrgz.rng import Streams
from cmrgz.testing.oracles import (
    CodeField,
    OracleNetwork,
    SymbolTokenizer,
    draw_hidden,
    frequencies,
    masked_oracle_model,
    oracle_model,
    symbol_codes,
    total_variation,
    variation_bound,
)

FIELD = CodeField.random((2, 2), 2, 2, strength=1.0, seed=1)


def by_listing(field: CodeField, seen: dict[int, int], target: int) -> np.ndarray:
    """Return p(symbol of target | seen), summed state by state."""
    share = np.zeros(field.symbols)
    for state in itertools.product(range(field.symbols), repeat=field.n):
        if all(state[p] == s for p, s in seen.items()):
            share[state[target]] += field.joint[state]
    return share / share.sum()


def test_features_are_the_conditionals_given_what_is_seen() -> None:
    network = OracleNetwork(FIELD)
    positions, symbols = [2, 0, 3], [1, 3, 2]
    cache = network.start(1, 4, None)
    codes = symbol_codes(torch.tensor([symbols]), 2, 2)
    network.extend(cache, F.one_hot(codes, 2).flatten(-2).float(), torch.tensor([positions]), torch.arange(3)[None])
    for length in range(4):
        seen = dict(zip(positions[:length], symbols[:length], strict=True))
        targets = [p for p in range(4) if p not in seen]
        share = network(cache, torch.tensor([targets]), torch.tensor([length])).exp()[0]
        for row, target in zip(share, targets, strict=True):
            np.testing.assert_allclose(row, by_listing(FIELD, seen, target), rtol=1e-6)


def test_levels_multiply_to_the_symbol() -> None:
    network = OracleNetwork(CodeField.random((1, 2), 2, 3, seed=3))
    features = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    for symbol in range(8):
        codes = symbol_codes(torch.full((5,), symbol), 2, 3)
        total = sum(network.logits(features, codes, level)[range(5), codes[:, level]] for level in range(3))
        torch.testing.assert_close(total, features[:, symbol])


def test_logits_do_not_depend_on_codes_from_their_level_on() -> None:
    network = OracleNetwork(FIELD)
    features = torch.randn(3, 4).log_softmax(-1)
    for level in range(2):
        codes = torch.zeros(3, level, dtype=torch.long)
        longer = torch.cat([codes, torch.ones(3, 2 - level, dtype=torch.long)], 1)
        assert torch.equal(network.logits(features, codes, level), network.logits(features, longer, level))


def test_all_likelihoods_of_a_grid_multiply_to_its_probability_in_any_order() -> None:
    network, symbols = OracleNetwork(FIELD), torch.tensor([[3, 0, 2, 1]])
    for order in itertools.permutations(range(4)):
        index = torch.tensor([order])
        mine = symbols.gather(1, index)
        vectors = F.one_hot(symbol_codes(mine, 2, 2), 2).flatten(-2).float()
        states = network.train_states(vectors, index, None)
        total = states.gather(-1, mine[..., None]).sum()
        assert float(total) == pytest.approx(np.log(FIELD.joint[3, 0, 2, 1]), rel=1e-6)


@pytest.mark.parametrize(("vocab", "levels"), [(3, 1), (2, 3), (4, 2)])
def test_the_tokenizer_is_exact(vocab: int, levels: int) -> None:
    tokenizer = SymbolTokenizer(vocab, levels)
    symbols = torch.arange(vocab**levels).reshape(1, 1, 1, -1)
    x = tokenizer.pixels(symbols)
    vectors = tokenizer.encode(x)
    codes = tokenizer.quantise(vectors)
    assert torch.equal(tokenizer.symbols(x), symbols) and x.abs().max() <= 1
    assert torch.equal(codes, symbol_codes(symbols[:, 0], vocab, levels))
    parts = [tokenizer.embed(codes[..., level], level) for level in range(levels)]
    assert torch.equal(torch.stack(parts).sum(0).movedim(-1, 1), vectors)
    assert torch.equal(tokenizer.decode(vectors), x)


def test_exact_draws_stay_within_the_bound_and_others_do_not() -> None:
    draws = FIELD.sample(5000, np.random.default_rng(7))
    got = frequencies(draws, FIELD.joint.shape)
    bound = variation_bound(FIELD.joint, 5000, np.random.default_rng(1))
    assert total_variation(got, FIELD.joint) < bound
    assert total_variation(got, np.full(FIELD.joint.shape, 1 / 256)) > 5 * bound
    assert total_variation(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1


def test_neighbours_are_coupled() -> None:
    pair = CodeField.random((1, 3), 3, 1, strength=1.0, seed=0).joint
    ends, near = pair.sum(1), pair.sum(2)
    apart = [total_variation(t, np.outer(t.sum(1), t.sum(0))) for t in (near, ends)]
    assert apart[0] > 0.1 and apart[0] > apart[1] > 0.001


def test_what_cannot_be_listed_is_refused() -> None:
    with pytest.raises(UsageError, match="too many states"):
        CodeField.random((4, 4), 3)
    with pytest.raises(UsageError, match="positive"):
        CodeField((1, 2), 2, 1, np.array([[0.5, 0.5], [0.0, 0.0]]))
    with pytest.raises(UsageError, match="one axis a position"):
        CodeField((1, 2), 2, 1, np.ones((2, 2, 2)))


def test_the_model_is_frozen_and_in_eval_mode() -> None:
    model = oracle_model(FIELD)
    assert not model.training and not any(p.requires_grad for p in model.parameters())


# ---------------------------------------------------------------------- blocks
BLOCKS = CodeField.random((2, 1, 2, 2), 2, 2, strength=1.0, seed=1)


def test_frames_of_a_block_are_coupled_with_those_beside_them() -> None:
    joint = CodeField.random((3, 1, 1, 1), 3, 1, strength=1.0, seed=0).joint
    pairs = joint.sum(2), joint.sum(1)  # next to each other, and two phases apart
    near, far = (total_variation(pair, np.outer(pair.sum(1), pair.sum(0))) for pair in pairs)
    assert near > 0.1 and near > far > 0.001
    slices = CodeField.random((1, 3, 1, 1), 3, 1, strength=1.0, seed=0).joint
    assert np.array_equal(joint, slices)


@pytest.mark.parametrize(
    ("build", "options"),
    [(oracle_model, {"parallel": 1}), (masked_oracle_model, {"steps": 5})],
    ids=["causal", "masked"],
)
@pytest.mark.parametrize("hidden", [[4, 5, 6, 7], [1, 2, 4, 6, 7]], ids=["a phase", "parts of both"])
def test_blocks_are_drawn_from_the_exact_posterior(build: Any, options: dict[str, int], hidden: list[int]) -> None:
    known = np.ones(8, dtype=bool)
    known[hidden] = False
    symbols = BLOCKS.sample(1, np.random.default_rng(0))[0]
    rng = Streams(0, [(i,) for i in range(3000)])
    drawn = draw_hidden(build(BLOCKS), symbols, known, BLOCKS.grid, rng, **options)
    posterior = BLOCKS.posterior(symbols, known)
    found = frequencies(drawn, posterior.shape)
    assert total_variation(found, posterior) < variation_bound(posterior, 3000, np.random.default_rng(1))
    others = BLOCKS.joint.sum(tuple(np.flatnonzero(known)))  # what the known frame says would be missed without it
    assert total_variation(found, others) > 2 * total_variation(found, posterior)
