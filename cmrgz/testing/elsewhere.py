"""The same work on the CPU and on the card that is none: results of both, and what it would cost."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cmrgz.arithmetic import repeatable
from cmrgz.model import Model, Tokenizer, Trainable
from cmrgz.pieces import Pieces
from cmrgz.testing.card import CardTensor, Costs, card, held, on_card
from cmrgz.testing.subject import Subject, items, shaken, streams

M = TypeVar("M", bound=nn.Module)
ITEMS = 2
"""Of a run: of the first a part is known, of the second nothing."""


@dataclass(frozen=True)
class Both:
    """What came out of a run on the CPU and on the card, and what that cost."""

    here: list[Tensor]
    there: list[Tensor]
    costs: Costs

    @property
    def equal(self) -> bool:
        """Whether all bits are."""
        return all(torch.equal(a, b) for a, b in zip(self.here, self.there, strict=True))

    @property
    def apart(self) -> float:
        """The difference of all results as a share of their size, in the mean square."""
        off = sum(float((a - b).double().square().sum()) for a, b in zip(self.here, self.there, strict=True))
        return math.sqrt(off / max(sum(float(a.double().square().sum()) for a in self.here), 1e-12))


def moved(module: M) -> M:
    """Return a copy of a module on the card.

    Raises:
        AssertionError: Something of it stays behind.
    """
    with on_card():
        there = copy.deepcopy(module).to(card())
    tensors = {**dict(there.named_parameters()), **dict(there.named_buffers())}
    stray = [name for name, value in tensors.items() if not isinstance(value, CardTensor)]
    assert not stray, f"stays on the CPU: {', '.join(stray)}"
    return there


def both(module: M, work: Callable[..., list[Tensor]], *given: Tensor, steady: bool = False) -> Both:
    """Do `work(module, *given)` on the CPU and on the card; there `steady` as training is, see `repeatable`."""
    here = [value.detach().clone() for value in work(module, *given)]
    # The copy for the card must not begin with the gradients of the CPU, to which its own would be added.
    module.zero_grad(set_to_none=True)
    there, carried = moved(module), [CardTensor(value.clone()) for value in given]
    with on_card() as costs, repeatable(card() if steady else "cpu"):
        made = work(there, *carried)
    stray = [tuple(value.shape) for value in made if not isinstance(value, CardTensor)]
    assert not stray, f"results are on the CPU: {stray}"
    return Both(here, [held(value).detach() for value in made], costs)


def gradients(module: Trainable, x: Tensor) -> list[Tensor]:
    """Return the loss of items, and the gradients of all that is trained."""
    module.train()
    loss = module.loss(x, rng=streams(len(x)))
    loss.backward()
    module.eval()
    return [loss, *(p.grad for p in module.parameters() if p.grad is not None)]


def learning(subject: Subject) -> Both:
    """Return the loss and the gradients of the model of a subject."""
    return both(subject.model, gradients, subject.items(ITEMS), steady=True)


def going_on(module: Trainable, x: Tensor) -> Both:
    """Return loss and gradients of a step on the card, kernel by kernel and in recorded pieces, and what these cost."""
    there, given, used = moved(module), CardTensor(x), Pieces()

    def step(pieces: Pieces) -> Both:
        there.zero_grad(set_to_none=True)
        with on_card() as costs, repeatable(card()), torch.random.fork_rng(devices=[]), pieces.in_use():
            torch.manual_seed(0)  # of dropout
            made = [held(value).detach().clone() for value in gradients(there, given)]
        return Both([], made, costs)

    plain = step(Pieces())
    *_, last = (step(used) for _ in range(3))
    return Both(plain.there, last.there, last.costs)


def drawing(subject: Subject, options: Mapping[str, Any] | None = None) -> Both:
    """Return what the model of a subject draws, with options beside those of the subject."""
    # Every operation goes through Python on the card: two of each axis show all that more would.
    size = (*(min(length, 2) for length in subject.extent.item[:-2]), *subject.extent.item[-2:])
    n = 1 if subject.on_blocks else ITEMS  # a block of which nothing is known takes long
    x, known = subject.items(n, size=size), subject.known_part(ITEMS, size=size)[:n]

    def draw(model: Model, x: Tensor, known: Tensor) -> list[Tensor]:
        told = {"fill": torch.cat([x, known.to(x)], 1)} if subject.on_blocks else {}  # as the whole scan has it
        return [subject.draw(x, known, model=model, condition=told, **(options or {}))]

    return both(subject.model, draw, torch.where(known, x, 0.0), known)


def coding(tokenizer: Tokenizer) -> Both:
    """Return items that a tokenizer has encoded and decoded."""
    return both(tokenizer, lambda module, x: [module.reconstruct(x)], items(ITEMS))


def reconstruction(tokenizer: Tokenizer) -> Both:
    """Return the loss and the gradients of a tokenizer."""
    return both(tokenizer, gradients, items(ITEMS), steady=True)


def subjects(name: str) -> list[Subject]:
    """Return the subjects of a registered model; those of blocks are not fitted, which takes long."""
    every = Subject.every(name)
    for subject in every:
        if subject.on_blocks:
            # In the place where `cached_property` keeps its value; a frozen dataclass lets none be set.
            vars(subject)["model"] = shaken(subject.unfitted()).eval()
    return every


def priced(name: str) -> dict[str, dict[str, int]]:
    """Return the kernels and waits of a draw and of loss and gradients of a registered model, in its tiny builds."""
    found = {}
    for subject in subjects(name):
        later = going_on(subject.model, subject.items(ITEMS))
        for work, run in (("draw", drawing(subject)), ("step", learning(subject)), ("later step", later)):
            found[f"{subject.kind} {work}"] = counted(run.costs)
    return found


def counted(costs: Costs) -> dict[str, int]:
    """Return the kernels and waits of costs."""
    return {"kernels": costs.launches.total(), "waits": costs.waits.total()}
