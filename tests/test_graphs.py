"""Work that is launched as one: rehearsed on the card that is none, which replays operations in the same memory."""

import pytest
import torch
from torch import Tensor

from cmrgz.calls import CallCounter
from cmrgz.errors import CmrgzWarning
from cmrgz.graphs import VARIABLE, Replayed
from cmrgz.testing.card import CardTensor, held, on_card
from cmrgz.testing.elsewhere import moved
from cmrgz.testing.subject import Subject


def on(*values: float) -> CardTensor:
    return CardTensor(torch.tensor(values))


def twice(x: Tensor) -> Tensor:
    return (x * 2).add_(1)


def test_on_the_cpu_it_is_the_function() -> None:
    x = torch.ones(3)
    work = Replayed(lambda value: value)
    assert all(work(x) is x for _ in range(4))


def test_from_the_third_call_on_it_is_one_kernel_beside_its_copies() -> None:
    work, launches = Replayed(twice), []
    for value in range(5):
        with on_card() as costs:
            made = work(on(value, -value))
        assert made is not None and torch.equal(held(made), torch.tensor([2.0 * value + 1, -2.0 * value + 1]))
        launches.append(costs.launches.total())
    assert launches == [2, 4, 3, 3, 3]


def test_results_are_not_written_over_by_later_calls() -> None:
    work = Replayed(twice)
    with on_card():
        made = [work(on(value)) for value in range(5)]
    assert [float(held(part)) for part in made if part is not None] == [1.0, 3.0, 5.0, 7.0, 9.0]


def test_what_is_changed_in_place_is_changed_by_replays_too() -> None:
    total = on(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

    def put(at: Tensor, value: Tensor) -> None:
        total.index_copy_(0, at, value)

    work = Replayed(put)
    with on_card():
        for i in range(5):
            work(CardTensor(torch.tensor([i])), on(float(i)))
    assert held(total).tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 0.0]


def test_other_shapes_are_computed_as_ever() -> None:
    work = Replayed(twice)
    with on_card():
        for _ in range(3):
            work(on(1.0, 2.0))
        made = work(on(5.0))
    assert made is not None and float(held(made)) == 11.0


def test_what_waits_is_not_recorded_and_goes_on() -> None:
    work = Replayed(lambda x: x * float(x.sum()))
    with on_card(), pytest.warns(CmrgzWarning, match="graphs.*could not be recorded"):
        made = [work(on(float(value))) for value in range(1, 5)]
    assert [float(held(part)) for part in made if part is not None] == [1.0, 4.0, 9.0, 16.0]


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    work = Replayed(twice)
    with on_card() as costs:
        for _ in range(4):
            work(on(1.0))
    assert costs.launches.total() == 8


def test_a_stale_number_would_be_seen() -> None:
    """What is no argument is what it was when it was recorded: bits that differ from the CPU's tell it."""
    factor = iter([1.0, 2.0, 3.0, 4.0])
    work = Replayed(lambda x: x * next(factor))
    with on_card():
        made = [work(on(1.0)) for _ in range(4)]
    assert [float(held(part)) for part in made if part is not None] == [1.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize("name", ["ar-vq", "ar-maskgit", "ar-mar", "ldm-dit"])
def test_calls_of_networks_are_counted_as_on_the_cpu(name: str) -> None:
    subject = Subject.of(name)
    x, known = subject.items(2), subject.known_part(2)
    given = torch.where(known, x, 0.0)
    with CallCounter(subject.model) as here:
        subject.draw(given, known)
    there = moved(subject.model)
    with on_card(), CallCounter(there) as counted:
        subject.draw(CardTensor(given), CardTensor(known), model=there)
    assert counted.count == here.count > 2
