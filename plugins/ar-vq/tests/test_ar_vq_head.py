"""The depth head."""

import pytest
import torch
from cmrgz_ar_vq.network import AnyOrderTransformer

from cmrgz.tokens.causal import TokenModel
from cmrgz.tokens.head import DepthHead, FrozenHead

LEVELS, VOCAB, WIDTH = 3, 12, 32


@pytest.fixture(scope="module")
def head(network: AnyOrderTransformer) -> DepthHead:
    return network.head


@pytest.fixture(scope="module")
def states() -> torch.Tensor:
    return torch.randn(7, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def codes() -> torch.Tensor:
    return torch.randint(VOCAB, (7, LEVELS), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("level", range(LEVELS))
def test_a_level_sees_the_codes_before_it_alone(
    head: DepthHead, states: torch.Tensor, codes: torch.Tensor, level: int
) -> None:
    logits = head(states, codes, level)
    assert logits.shape == (7, VOCAB)
    assert torch.equal(head(states, codes[:, :level], level), logits)
    for other in range(LEVELS):
        changed = codes.clone()
        changed[:, other] = (changed[:, other] + 1) % VOCAB
        same = (head(states, changed, level) == logits).all(1)
        assert same.all() if other >= level else not same.any()


@pytest.mark.parametrize("level", range(LEVELS))
def test_a_frozen_head_returns_the_same(head: DepthHead, states: torch.Tensor, codes: torch.Tensor, level: int) -> None:
    with torch.no_grad():
        frozen = FrozenHead(head)(states, codes[:, :level], level)
        torch.testing.assert_close(frozen, head(states, codes, level), atol=1e-6, rtol=1e-6)


def test_a_frozen_head_is_made_for_every_draw(fresh: TokenModel, states: torch.Tensor, codes: torch.Tensor) -> None:
    network = fresh.network
    assert isinstance(network, AnyOrderTransformer)
    with torch.no_grad():
        before = network.frozen_logits()(states, codes, 1)
        network.head.free.data += 1.0  # behind autograd's back
        after = network.frozen_logits()(states, codes, 1)
        torch.testing.assert_close(after, network.logits(states, codes, 1), atol=1e-6, rtol=1e-6)
    assert not torch.allclose(before, after)


def test_the_head_starts_at_the_frequencies_of_the_codes() -> None:
    head = DepthHead(WIDTH, 16, channels=4, levels=2, vocab=5, free=2)
    generator = torch.Generator().manual_seed(0)
    codes = torch.stack([torch.tensor([0, 0, 0, 1, 3]), torch.tensor([2, 2, 2, 2, 2])], 1)
    head.fit(codes, torch.randn(2, 5, 4, generator=generator))
    expected = torch.tensor([[4, 2, 1, 2, 1], [1, 1, 6, 1, 1]]) / 10  # one is added to each: none is impossible
    torch.testing.assert_close(head.bias.data, expected.log())


def test_descriptions_are_standardised_and_tell_codes_apart() -> None:
    head = DepthHead(WIDTH, 16, channels=4, levels=2, vocab=50, free=2)
    features = (
        torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 0.1])[:, None, None]
    )
    head.fit(torch.zeros(9, 2, dtype=torch.long), features + 5)
    for level in range(2):
        described = head.describe(level)[:, :5].detach()
        torch.testing.assert_close(described.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
        assert 0.8 < described[:, 4].std() < 1.2  # the squared length
        torch.testing.assert_close(described[:, :4].pow(2).mean(), torch.tensor(1.0), atol=0.1, rtol=0)
        assert (torch.cdist(described, described) + torch.eye(50)).min() > 1e-3


def test_codes_that_are_near_are_scored_alike() -> None:
    """A logit is linear in the description: what is learnt of a code serves its neighbours."""
    head = DepthHead(WIDTH, 16, channels=4, levels=1, vocab=3, free=2)
    features = torch.tensor([[[1.0, 0, 0, 0], [1.01, 0, 0, 0], [-1.0, 0.5, 0, 2]]])
    head.fit(torch.tensor([[0], [1], [2]]), features)
    head.free.data.zero_()
    head.leave[0].weight.data.normal_(generator=torch.Generator().manual_seed(0))
    logits = head(torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(1)), torch.zeros(50, 0), 0)
    near, far = (logits[:, 0] - logits[:, i] for i in (1, 2))
    assert near.abs().max() < 0.05 * far.abs().max()


def test_codes_that_are_all_the_same_are_described_by_zeros() -> None:
    """As those of a coarse scale that was fitted to a few items are."""
    head = DepthHead(WIDTH, 16, channels=4, levels=2, vocab=5, free=2)
    features = torch.stack([torch.zeros(5, 4), torch.randn(5, 4)])
    head.describe_by(features)
    assert (head.describe(0)[:, :5] == 0).all() and head.describe(1)[:, :5].std() > 0.5
