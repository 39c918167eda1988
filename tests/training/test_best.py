"""The best weights by validation and early stopping: resumable to the bit, and told."""

import dataclasses
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cmrgz import checkpoint
from cmrgz.durable import read_journal
from cmrgz.errors import CmrgzWarning, DataError, Stopped
from cmrgz.meta import check_folder
from cmrgz.training import loop, validation
from cmrgz.training.options import TrainOptions
from cmrgz.training.plan import Plan
from cmrgz.training.run import train

OPTIONS = TrainOptions(
    steps=9, batch_size=1, warmup=2, save_every=2, validate_every=1, validation_items=1, fit_items=1, ema=0.5,
    item=(32, 32), patience=3,
)  # fmt: skip
LOSSES = [9.0, 7.0, 8.0, 5.0, 5.0, 6.0, 5.5, 1.0, 1.0]
"""Of the validations: the best is the fourth, and after three more there is none that betters it."""


@pytest.fixture(autouse=True)
def losses(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(self: Any, batch: Any) -> dict[str, float]:
        return {"loss": LOSSES[self.step - 1]}

    original = validation.Validation.__call__

    def call(self: Any, state: Any) -> Any:
        self.step = state.step
        return original(self, state)

    monkeypatch.setattr(validation.Validation, "_row", row)
    monkeypatch.setattr(validation.Validation, "__call__", call)


@pytest.fixture
def plan(small_plan: Callable[..., Plan], tmp_path: Path) -> Plan:
    return small_plan(tmp_path / "run", OPTIONS, (2, 1, 40, 40))


def with_options(plan: Plan, **options: Any) -> Plan:
    return dataclasses.replace(plan, train=dataclasses.replace(plan.train, **options))


def content(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "speed.jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def average(folder: Path) -> dict[str, torch.Tensor]:
    stored = load_file(folder / "state.safetensors")
    return {name: value for name, value in stored.items() if name.startswith(("average.", "best."))}


def test_training_stops_when_patience_ends_and_the_best_weights_are_kept(plan: Plan) -> None:
    train(plan)
    log = read_journal(plan.output / "log.jsonl")
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6, 7]
    assert [line["best"]["step"] for line in log] == [1, 2, 2, 4, 4, 4, 4]
    assert log[-1]["stopped"] == 7 and not any("stopped" in line for line in log[:-1])
    last, best = (check_folder(plan.output / name).training for name in ("checkpoint", "best"))
    assert last["validation"] == {"loss": 5.5} and last["best"] == {"step": 4, "loss": 5.0} and last["stopped"] == 7
    assert best["validation"] == {"loss": 5.0} and best["best"] == {"step": 4, "loss": 5.0}
    weights = {name: load_file(plan.output / name / "weights.safetensors") for name in ("checkpoint", "best")}
    stored, name = average(plan.output / "state-00000007"), "decoder.enter.weight"
    assert torch.equal(weights["checkpoint"][name], stored[f"average.{name}"])
    assert torch.equal(weights["best"][name], stored[f"best.{name}"])
    assert not torch.equal(weights["best"][name], weights["checkpoint"][name])


def test_the_result_may_be_the_best_weights(plan: Plan, caplog: pytest.LogCaptureFixture) -> None:
    plan = with_options(plan, keep="best", patience=0)
    with caplog.at_level("INFO", "cmrgz.training"):
        result = train(plan)
    assert "weights of step 8" in caplog.text
    assert len(read_journal(plan.output / "log.jsonl")) == 9
    training = checkpoint.open_tokenizer(result)[1].training
    assert training["validation"] == {"loss": 1.0} and training["best"] == {"step": 8, "loss": 1.0}
    assert (result / "weights.safetensors").read_bytes() == (plan.output / "best/weights.safetensors").read_bytes()
    before = content(plan.output)
    assert train(plan) == result and content(plan.output) == before, "a finished run is left alone"
    (result / "meta.json").unlink()
    with pytest.warns(CmrgzWarning, match="written anew"):
        train(plan)
    assert content(plan.output) == before


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("at", [1, 4, 6, 7])
def test_a_run_that_was_stopped_ends_bit_equal(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, at: int
) -> None:
    plan = with_options(plan, keep=keep)
    train(plan)
    other = dataclasses.replace(plan, output=tmp_path / "other")
    original = loop.optimise

    def optimise(state: Any, *rest: Any) -> Any:
        if state.step == at - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "optimise", optimise)
        if at < 7:
            with pytest.raises(Stopped):
                train(other)
        else:
            train(other)  # it has come to its end
    train(other)
    kept = ("config.json", "log.jsonl", "checkpoint/", "best/", "state-00000007/")
    first, second = (
        {name: data for name, data in content(one.output).items() if name.startswith(kept)} for one in (plan, other)
    )
    assert first == second


def test_a_run_that_died_after_its_last_state_does_no_step_more(plan: Plan) -> None:
    train(plan)
    before = content(plan.output)
    shutil.rmtree(plan.output / "checkpoint")
    train(plan)
    assert content(plan.output) == before
    (plan.output / "log.jsonl").unlink()
    with pytest.warns(CmrgzWarning, match="7 of 7"):
        train(plan)


def test_without_held_out_patients_there_is_no_best(plan: Plan) -> None:
    plan = dataclasses.replace(plan, data=[f"{plan.data[0]}/a.nii.gz"])
    with pytest.raises(DataError, match=r"empty-dataset.*--validation"):
        train(plan)
    assert not plan.output.exists()


def test_unasked_there_is_none(plan: Plan) -> None:
    train(with_options(plan, patience=0, steps=2))
    assert not (plan.output / "best").exists()
    assert not any(name.startswith("best.") for name in average(plan.output / "state-00000002"))
