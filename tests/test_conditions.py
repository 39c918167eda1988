"""What a network is told of an item beside its pixels; what is unknown has an embedding of its own."""

import math
from typing import Any

import pytest
import torch

from cmrgz.conditions import ConditionEmbedding, learn
from cmrgz.errors import UsageError
from cmrgz.vocabulary import Vocabulary, is_vocabulary, merged, number_of


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


VOCABULARY = {"group": ("DCM", "NOR"), "ef": (), "edv": ()}


def taught(vocabulary: Vocabulary = VOCABULARY) -> ConditionEmbedding:
    module = ConditionEmbedding(("phase",), 8)
    learn(module, vocabulary)
    generator = torch.Generator().manual_seed(1)
    for parameter in module.patient.parameters():
        parameter.data.normal_(generator=generator)
    return module


def test_what_is_learned_of_patients_is_nothing_at_first() -> None:
    module = ConditionEmbedding(("phase",), 8)
    before, state = module(one(phase=0.3), 1), module.state_dict()
    learn(module, VOCABULARY)
    told = one(phase=0.3, group=1.0, ef=0.5, edv=150.0)
    assert torch.equal(module(told, 1), before)
    assert state.keys() < module.state_dict().keys()


def test_values_of_patients_differ_and_unknown_is_absent() -> None:
    module = taught()
    nothing = module(None, 1)
    assert torch.equal(module(one(group=torch.nan, ef=torch.nan, edv=torch.nan), 1), nothing)
    told = [one(group=0.0), one(group=1.0), one(ef=0.3), one(ef=0.6), one(edv=90.0), one(edv=240.0)]
    embedded = torch.cat([nothing, *(module(each, 1) for each in told)])
    apart = (embedded[:, None] - embedded).norm(dim=-1) + 9 * torch.eye(len(embedded))
    assert apart.min() > 0.1


def test_a_patient_is_told_alike_to_all_frames_of_a_block() -> None:
    module = taught()
    value = {"group": torch.tensor([0.0, torch.nan]), "ef": torch.tensor([0.4, 0.5])}
    told = module(value, 2, (3, 2))
    torch.testing.assert_close(told, module(value, 2)[:, None, None].expand(2, 3, 2, 8))


def test_what_is_known_stays_where_more_is_learned() -> None:
    module = taught()
    before = {name: module(one(group=value), 1) for name, value in (("DCM", 0.0), ("NOR", 1.0), ("none", torch.nan))}
    learn(module, {"group": ("DCM", "NOR", "HCM"), "sex": ("F", "M"), "ef": ()})
    after = {name: module(one(group=value), 1) for name, value in (("DCM", 0.0), ("NOR", 1.0), ("none", torch.nan))}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(module(one(group=2.0), 1), before["none"])  # a new group starts as an unknown one


def test_a_model_without_the_embedding_is_told_nothing() -> None:
    with pytest.raises(UsageError, match="cannot be told anything of a patient"):
        learn(torch.nn.Linear(2, 2), VOCABULARY)
    learn(torch.nn.Linear(2, 2), {})


def test_unknown_patients_give_finite_gradients() -> None:
    module = taught()
    told = {"group": torch.tensor([torch.nan, 1.0]), "ef": torch.tensor([0.4, torch.nan])}
    module(told, 2).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.patient.parameters())


def test_a_vocabulary_says_what_it_is() -> None:
    assert is_vocabulary({}) and is_vocabulary({"group": ["DCM"], "ef": []})
    wrong: list[Any] = [
        None,
        [],
        {"group": []},
        {"ef": ["a"]},
        {"age": []},
        {"group": ["a", "a"]},
        {"group": ["a" * 99]},
    ]
    assert not any(map(is_vocabulary, wrong)) and not is_vocabulary({"group": [str(n) for n in range(99)]})
    assert merged({"group": ("B",)}, {"sex": ("F",), "group": ("A", "B")}) == {"group": ("B", "A"), "sex": ("F",)}
    assert [number_of(VOCABULARY, *told) for told in (("group", "NOR"), ("ef", 0.4))] == [1.0, 0.4]
    assert all(map(math.isnan, (number_of(VOCABULARY, "group", "HCM"), number_of(VOCABULARY, "ef", None))))
