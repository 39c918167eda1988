"""What a network is told of an item beside its pixels; what is unknown has an embedding of its own."""

import pytest
import torch

from cmrgz.conditions import ConditionEmbedding


@pytest.fixture(scope="module")
def embedding() -> ConditionEmbedding:
    module = ConditionEmbedding(("phase", "slice"), 16)
    module.unknown.data.normal_(generator=torch.Generator().manual_seed(0))
    return module


def one(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor([value]) for name, value in values.items()}


def test_nan_a_missing_name_and_no_condition_are_the_same(embedding: ConditionEmbedding) -> None:
    nothing = embedding(None, 1)
    assert torch.equal(nothing, embedding.unknown.sum(0, keepdim=True))
    for condition in ({}, one(phase=torch.nan), one(slice=torch.nan, phase=torch.nan), one(other=0.3)):
        assert torch.equal(embedding(condition, 1), nothing)
    assert torch.equal(embedding(one(phase=0.3), 1), embedding(one(phase=0.3, slice=torch.nan), 1))


def test_each_item_misses_its_own_values(embedding: ConditionEmbedding) -> None:
    phase, place = torch.tensor([0.1, torch.nan, 0.4]), torch.tensor([torch.nan, 0.2, 0.7])
    together = embedding({"phase": phase, "slice": place}, 3)
    rows = [embedding({"phase": phase[i : i + 1], "slice": place[i : i + 1]}, 1) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(rows))


def test_the_phase_is_a_share_of_a_cycle(embedding: ConditionEmbedding) -> None:
    for phase in (0.0, 0.25, 0.9):
        torch.testing.assert_close(
            embedding(one(phase=phase), 1), embedding(one(phase=phase + 1), 1), atol=1e-5, rtol=0
        )
    assert not torch.allclose(embedding(one(phase=0.0), 1), embedding(one(phase=0.5), 1), atol=1e-2)


def test_a_slice_position_is_not_periodic(embedding: ConditionEmbedding) -> None:
    values = torch.linspace(-1, 1, 41)
    waves = embedding._waves("slice", values)
    apart = (waves[:, None] - waves).norm(dim=-1) + torch.eye(41) * 9
    assert apart.min() > 0.03


def test_unknown_values_give_finite_gradients(embedding: ConditionEmbedding) -> None:
    module = ConditionEmbedding(("phase",), 4)
    module({"phase": torch.tensor([torch.nan, 0.2])}, 2).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_frames_have_values_of_their_own_or_that_of_their_item(embedding: ConditionEmbedding) -> None:
    own = torch.tensor([[[0.1, 0.2, 0.3], [0.4, 0.5, torch.nan]]])
    told = embedding({"phase": own, "slice": torch.tensor([0.7])}, 1, (2, 3))
    assert told.shape == (1, 2, 3, 16)
    for t in range(2):
        for z in range(3):
            alone = embedding({"phase": own[:, t, z], "slice": torch.tensor([0.7])}, 1)
            torch.testing.assert_close(told[:, t, z], alone)
    torch.testing.assert_close(embedding(None, 1, (2, 3)), embedding(None, 1)[:, None, None].expand(1, 2, 3, 16))


def test_a_value_of_other_frames_is_refused(embedding: ConditionEmbedding) -> None:
    for frames in ((), (3, 2)):
        with pytest.raises(ValueError, match="phase"):
            embedding({"phase": torch.zeros(1, 2, 3)}, 1, frames)
