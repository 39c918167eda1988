"""Pieces of a training step, rehearsed on the card that is none: the same bits by one launch."""

import copy
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from cmrgz import registry
from cmrgz.errors import CmrgzWarning, UsageError
from cmrgz.graphs import VARIABLE
from cmrgz.pieces import MOST, Pieces, piece, require_compiler
from cmrgz.testing.card import CardTensor, Costs, held, on_card
from cmrgz.testing.elsewhere import ITEMS, gradients, moved, subjects


class Given(NamedTuple):
    x: Tensor
    scale: Tensor | None


class Layer(nn.Module):
    """Takes and returns more than a tensor, and has a weight that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.unused = nn.Linear(3, 3), nn.Parameter(torch.ones(2))
        self.fixed = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, given: Given, told: dict[str, Tensor], factor: float) -> list[Tensor]:
        y = self.inner(given.x).sin() * factor + told["a"] * self.fixed
        return [y if given.scale is None else y * given.scale, y.mT]


def twice(x: Tensor) -> Tensor:
    return (x * 2).add_(1)


def asking(x: Tensor) -> Tensor:
    return x * float(x.sum())


def launches(work: Callable[[], object]) -> int:
    with on_card() as costs:
        work()
    return costs.launches.total()


def card_tensor(*values: float) -> CardTensor:
    return CardTensor(torch.tensor(values))


def step(layer: Layer, used: Pieces | None, number: int, shape: tuple[int, ...] = (4, 3)) -> tuple[list[Tensor], Costs]:
    """Return the loss and all gradients of a step on the card, and its costs."""
    generator = torch.Generator().manual_seed(number)
    x, a, scale = (CardTensor(torch.randn(shape, generator=generator)) for _ in range(3))
    enter = CardTensor(torch.ones(shape[-1]), requires_grad=True)
    layer.zero_grad(set_to_none=True)
    with on_card() as costs, (used or Pieces()).in_use():
        call = piece(layer) if used else layer
        first, second = call(Given(x * enter, scale), {"a": a}, 2.0)
        loss = (first.square().sum() + second.exp().sum(0).mean()).reshape(1)
        loss.backward()
    gradients = [p.grad for p in (enter, *layer.parameters())]
    return [held(value).detach().clone() for value in (loss, *gradients) if value is not None], costs


@pytest.fixture
def layer() -> Layer:
    torch.manual_seed(0)
    return moved(Layer())


def test_outside_of_steps_it_is_the_function() -> None:
    assert piece(twice) is twice
    with Pieces().in_use():
        assert piece(twice) is not twice
    assert piece(twice) is twice


def test_on_the_cpu_it_does_what_the_function_does() -> None:
    x = torch.ones(3, requires_grad=True)
    used = Pieces()
    for _ in range(4):
        with used.in_use():
            piece(torch.sin)(x).sum().backward()
    assert x.grad is not None and torch.equal(x.grad, 4 * torch.ones(3).cos())


def test_losses_and_gradients_have_the_same_bits_and_cost_less(layer: Layer) -> None:
    used, counts = Pieces(), []
    for number in range(5):
        plain, _ = step(layer, None, number)
        made, costs = step(layer, used, number)
        assert len(made) == len(plain) == 4, "the weight that is not used has no gradient"
        assert all(torch.equal(a, b) for a, b in zip(made, plain, strict=True))
        counts.append(costs.launches.total())
    assert counts[2] == counts[3] == counts[4] < counts[0]


def test_new_weights_are_used_where_they_are(layer: Layer) -> None:
    used = Pieces()
    for number in range(4):
        with torch.no_grad(), on_card():
            layer.inner.weight.mul_(0.5)
        plain, _ = step(layer, None, number)
        made, _ = step(layer, used, number)
        assert all(torch.equal(a, b) for a, b in zip(made, plain, strict=True))


def test_a_few_shapes_are_recorded_and_the_others_made_as_ever(layer: Layer) -> None:
    used = Pieces()
    for number in range(3):
        for length in range(1, MOST + 3):
            plain, kernel_by_kernel = step(layer, None, number, (length, 3))
            made, costs = step(layer, used, number, (length, 3))
            assert all(torch.equal(a, b) for a, b in zip(made, plain, strict=True))
            cheaper = costs.launches.total() < kernel_by_kernel.launches.total()
            assert cheaper == (number > 0 and length <= MOST)


def test_what_gradients_are_made_from_is_not_overwritten() -> None:
    """A second call before the gradients of the first would write to the same memory."""
    layer, used, found = moved(nn.Linear(3, 3)), Pieces(), []
    for _ in range(4):
        layer.zero_grad(set_to_none=True)
        with on_card(), used.in_use():
            a, b = (piece(layer)(CardTensor(torch.full((1, 3), value))).exp() for value in (1.0, 2.0))
            (a.sum() * 2 + b.sum()).backward()
        assert layer.weight.grad is not None
        found.append(held(layer.weight.grad).clone())
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_a_step_that_died_does_not_stop_later_ones(layer: Layer) -> None:
    used = Pieces()
    for number in range(3):
        step(layer, used, number)
    with on_card(), used.in_use():
        piece(layer)(Given(CardTensor(torch.ones(1, 3)), None), {"a": CardTensor(torch.ones(1, 3))}, 2.0)
    cheap = step(layer, used, 3)[1].launches.total()
    with on_card(), used.in_use():
        x = CardTensor(torch.ones(4, 3), requires_grad=True)
        piece(layer)(Given(x * 1, x.detach()), {"a": x.detach()}, 2.0)  # without gradients
    assert step(layer, used, 4)[1].launches.total() == cheap


def test_without_gradients_it_is_one_kernel_beside_its_copies_and_keeps_results() -> None:
    used, made = Pieces(), []

    def once(value: float) -> None:
        with used.in_use(), torch.no_grad():
            made.append(piece(twice)(card_tensor(value)))

    assert [launches(partial(once, value)) for value in range(5)] == [2, 4, 3, 3, 3]
    assert [float(held(value)) for value in made] == [1.0, 3.0, 5.0, 7.0, 9.0]


def test_what_waits_is_not_recorded_and_goes_on() -> None:
    used, made = Pieces(), []
    with on_card(), used.in_use(), pytest.warns(CmrgzWarning, match="graphs.*could not be recorded"):
        work = piece(asking)
        made = [work(card_tensor(value)) for value in range(1, 5)]
    assert [float(held(part)) for part in made] == [1.0, 4.0, 9.0, 16.0]


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch, layer: Layer) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    used = Pieces()
    assert len({step(layer, used, 0)[1].launches.total() for _ in range(4)}) == 1


def test_compiled_pieces_give_the_same_up_to_rounding() -> None:
    """With the compiler itself: the layer is small, and that takes seconds."""
    require_compiler("cpu")
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(3, 5), nn.SiLU())
    layer, used = copy.deepcopy(plain), Pieces(compiled=True)
    for length in (4, 6, 4):
        x = torch.randn(length, 3)
        for one in (plain, layer):
            one.zero_grad(set_to_none=True)
        plain(x).square().sum().backward()
        with used.in_use():
            piece(layer)(x).square().sum().backward()
        for a, b in zip(plain.parameters(), layer.parameters(), strict=True):
            assert a.grad is not None and b.grad is not None and torch.allclose(a.grad, b.grad, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.models())
def test_the_pieces_of_each_family_are_graphs_without_breaks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # all but to write kernels
    for subject in subjects(name):
        x, model = subject.items(ITEMS), subject.model
        plain = [value.detach().clone() for value in gradients(model, x)]
        model.zero_grad(set_to_none=True)
        with Pieces(compiled=True).in_use():
            made = [value.detach().clone() for value in gradients(model, x)]
        model.zero_grad(set_to_none=True)
        assert len(made) == len(plain)
        assert all(float((a - b).abs().max()) <= 1e-4 * float(a.abs().max()) for a, b in zip(plain, made, strict=True))


def test_where_nothing_compiles_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no C++ compiler\nand much more")

    monkeypatch.setattr(torch, "compile", compile_)
    with pytest.raises(UsageError, match=r"cannot compile here \(no C\+\+ compiler\)"):
        require_compiler("cpu")
