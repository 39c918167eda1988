"""How many items a call of a model has, and what is left of one that does not fit the memory."""

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cmrgz.calls import Caller, Items, Setting, call_size
from cmrgz.errors import CmrgzWarning
from cmrgz.model import Model


@pytest.mark.parametrize(
    ("kind", "frames", "items", "size"),
    [
        ("cpu", 1, 1, 16),
        ("cpu", 9, 50, 1),
        ("mps", 1, 1, 16),
        ("cuda", 1, 1, 8),
        ("cuda", 1, 8, 8),
        ("cuda", 1, 9, 32),
        ("cuda", 1, 99, 128),
        ("cuda", 1, 500, 128),
        ("cuda", 1, None, 128),
        ("cuda", 15, 1, 1),
        ("cuda", 15, 2, 2),
        ("cuda", 15, 9, 8),
    ],
)
def test_a_small_run_has_small_calls_on_a_gpu(kind: str, frames: int, items: int | None, size: int) -> None:
    assert call_size(kind, frames, items) == size


class Large(Model):
    """Holds a tensor while it is called, and fails on more than one item."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[weakref.ref[Tensor]] = []

    def loss(self, x: Tensor, **_: Any) -> Tensor:
        return x.sum()

    def sample(self, x: Tensor, known: Tensor, **_: Any) -> Tensor:
        drawn = torch.zeros_like(x)
        self.made.append(weakref.ref(drawn))
        if len(x) > 1:
            raise MemoryError
        return drawn


def test_what_a_failed_call_held_is_free_before_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model, held, halve = Large(), [], Caller._halve

    def watched(caller: Caller) -> None:
        held.append([made() is not None for made in model.made])
        halve(caller)

    monkeypatch.setattr(Caller, "_halve", watched)
    x, keys = np.zeros((2, 8, 8), np.float32), [(0, 0), (0, 1)]
    with pytest.warns(CmrgzWarning, match="out of memory"):
        Caller(model, Setting()).draw_all(Items(x, np.zeros(x.shape, bool), keys, {}))
    assert len(held) == 4 and not any(map(any, held))
