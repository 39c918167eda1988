"""The training loop on the card that is none: what is asked of a GPU, and that it does what it does on the CPU."""

import copy
import dataclasses
import json
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cmrgz.errors import DivergedError, Stopped
from cmrgz.graphs import VARIABLE
from cmrgz.testing.card import Costs, card, held, on_card
from cmrgz.testing.elsewhere import moved
from cmrgz.testing.subject import Subject
from cmrgz.training import loop, shards
from cmrgz.training.frames import Batch
from cmrgz.training.loop import run
from cmrgz.training.options import TrainOptions
from cmrgz.training.state import State, resume

FEW = 4
"""Steps whose figures are asked for together: fewer than in use, which would take long."""
OPTIONS = TrainOptions(steps=2 * FEW, batch_size=2, warmup=2, save_every=10**6, validate_every=10**6)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject.of("ldm-dit")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loop.LATE == 20
    monkeypatch.setattr(loop, "LATE", FEW)


def batches(subject: Subject) -> Any:
    def made(seed: int, steps: range, items: Sequence[int], workers: int) -> Any:
        size = len(items)
        return (Batch(subject.items(size, seed=step), {"phase": torch.linspace(0, 0.9, size)}) for step in steps)

    return SimpleNamespace(batches=made)


def trained(
    subject: Subject, folder: Path, there: bool, options: TrainOptions = OPTIONS, stop: Any = None
) -> tuple[State, list[dict[str, Any]], Costs]:
    """Return the state, the log and the costs of a run."""
    model = moved(subject.model) if there else copy.deepcopy(subject.model)
    stop = stop or SimpleNamespace(asked=False)
    folder.mkdir(exist_ok=True)
    with on_card() as costs, torch.random.fork_rng():
        state = State.start(model, options)
        resume(state, folder, "0" * 64)
        told: Any = run, state, model, batches(subject), options, folder, "0" * 64, 0, stop
        told[0](*told[1:], lambda state: {"validation": {"loss": 1.0}}, lambda state: None, lambda state: None)
    log = [json.loads(line)["record"] if "record" in json.loads(line) else json.loads(line)
           for line in (folder / loop.LOG).read_text().splitlines()]  # fmt: skip
    return state, log, costs


def figures(log: list[dict[str, Any]]) -> list[float]:
    return [row["loss"] for row in log if "loss" in row]


@pytest.mark.parametrize("count", [1, 2])
def test_many_steps_ask_once_and_learn_what_the_cpu_learns(subject: Subject, tmp_path: Path, count: int) -> None:
    options = dataclasses.replace(OPTIONS, shards=count)
    here, log, _ = trained(subject, tmp_path / "here", False, options)
    there, other, costs = trained(subject, tmp_path / "there", True, options)
    assert len(other) == len(log) == 2 * FEW
    assert figures(other) == pytest.approx(figures(log), rel=1e-4)
    for name, value in here.average.items():
        assert torch.allclose(value, held(there.average[name]), atol=1e-4)
    in_loop = {line: count for line, count in costs.waits.items() if line.startswith("cmrgz.training.loop")}
    assert sum(in_loop.values()) == 2  # once in so many steps; the rest is what is stored and checked at the end
    assert not [line for line in costs.waits if not line.startswith(("cmrgz.training", "cmrgz.weights"))]


def test_later_steps_are_recorded_with_the_same_bits(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, log, costs = trained(subject, tmp_path / "recorded", True)
    monkeypatch.setenv(VARIABLE, "0")
    plain, other, more = trained(subject, tmp_path / "plain", True)
    assert figures(log) == figures(other)
    assert all(torch.equal(held(value), held(plain.average[name])) for name, value in recorded.average.items())
    assert costs.launches.total() < 0.6 * more.launches.total()


def test_a_step_whose_loss_is_not_finite_changes_nothing(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, seen = shards.step_loss, []

    def step_loss(module: Any, batch: Any, seed: int, step: int, precision: str) -> torch.Tensor:
        seen.append([held(p).detach().clone() for p in module.parameters() if p.requires_grad])
        return original(module, batch, seed, step, precision) * (math.nan if step == 3 else 1)

    monkeypatch.setattr(shards, "step_loss", step_loss)
    state, log, _ = trained(subject, tmp_path / "run", True, TrainOptions(steps=6, batch_size=2))
    moves = [any(not torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in pairwise(seen)]
    assert moves == [True, True, True, False, True]
    assert [row["loss"] is None for row in log] == [False, False, False, True, False, False]
    assert all(bool(held(value).isfinite().all()) for value in state.average.values())


def test_three_lost_steps_are_divergence_also_where_they_are_told_late(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = shards.step_loss
    monkeypatch.setattr(shards, "step_loss", lambda *args: original(*args) * (math.nan if 2 <= args[3] < 5 else 1))
    with pytest.raises(DivergedError, match="loss is not finite"):
        trained(subject, tmp_path / "run", True)


def test_a_stopped_run_goes_on_to_the_same_bits(subject: Subject, tmp_path: Path) -> None:
    options = TrainOptions(steps=6, batch_size=2, save_every=10**6, validate_every=10**6)
    whole, log, _ = trained(subject, tmp_path / "whole", True, options)
    asked = iter([False] * 2 + [True] * 20)
    stop = type("Stop", (), {"asked": property(lambda self: next(asked))})()
    with pytest.raises(Stopped):
        trained(subject, tmp_path / "broken", True, options, stop)
    again, other, _ = trained(subject, tmp_path / "broken", True, options)
    assert figures(other) == figures(log)
    assert all(torch.equal(held(value), held(again.average[name])) for name, value in whole.average.items())
    assert card().type == "card"
