"""How fast a run goes is told beside its log, and curves for TensorBoard: no part of the result."""

import dataclasses
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from cmrgz.cli import main
from cmrgz.durable import read_journal
from cmrgz.errors import CmrgzWarning, ResourceError
from cmrgz.training.frames import Batch
from cmrgz.training.options import TrainOptions
from cmrgz.training.plan import Plan
from cmrgz.training.run import train
from cmrgz.training.watch import Watch

OPTIONS = TrainOptions(
    steps=6, batch_size=2, warmup=2, save_every=3, validate_every=4, validation_items=1, fit_items=1, item=(32, 32)
)


@pytest.fixture
def plan(small_plan: Callable[..., Plan], tmp_path: Path) -> Plan:
    return small_plan(tmp_path / "run", OPTIONS, (2, 1, 40, 40))


class Writer:
    """Stands for that of TensorBoard."""

    made: ClassVar[list["Writer"]] = []

    def __init__(self, folder: str, purge_step: int) -> None:
        self.folder, self.purge_step, self.curves, self.closed = Path(folder), purge_step, {}, False
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.curves.setdefault(name, {})[step] = value

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> list[Writer]:
    monkeypatch.setattr(Writer, "made", [])
    module = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)  # type: ignore[arg-type]
    return Writer.made


def test_speed_and_memory_are_told_at_validations_and_states(plan: Plan) -> None:
    train(plan)
    lines = read_journal(plan.output / "speed.jsonl")
    assert [line["step"] for line in lines] == [3, 6], "the fourth step begins where the third was stored"
    for line in lines:
        assert line["items_per_second"] > 0 and 0 <= line["waiting"] <= 1 and line["peak_mib"] > 50
    logged = read_journal(plan.output / "log.jsonl")
    assert not any({"items_per_second", "peak_mib"} & line.keys() for line in logged)


def test_steps_that_validate_are_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("cmrgz.training.watch.time.perf_counter", lambda: clock[0])

    def batches() -> Any:
        for _ in range(6):
            clock[0] += 1  # waited for
            yield Batch(torch.zeros(4, 1, 2, 2), {})

    with Watch(tmp_path, torch.device("cpu")) as seen:
        for step, _ in enumerate(seen.timed(batches()), 1):
            clock[0] += 3  # used
            seen.tell({"step": step}, 1e-3, whole=step % 3 == 0)
            clock[0] += 100 * (step % 3 == 0)
    lines = read_journal(tmp_path / "speed.jsonl")
    assert [(line["step"], line["items_per_second"], line["waiting"]) for line in lines] == [(3, 1, 0.25), (6, 1, 0.25)]


def test_a_damaged_file_of_speeds_costs_nothing(plan: Plan) -> None:
    plan.output.mkdir()
    (plan.output / "speed.jsonl").write_text("what?\n")
    with pytest.warns(CmrgzWarning, match="set aside"):
        train(plan)
    assert (plan.output / "corrupt-speed.jsonl").exists() and len(read_journal(plan.output / "speed.jsonl")) == 2


def test_curves_are_those_of_the_log(plan: Plan, board: list[Writer]) -> None:
    train(dataclasses.replace(plan, log="tensorboard"))
    (writer,) = board
    assert (writer.folder, writer.purge_step, writer.closed) == (plan.output / "tensorboard", 1, True)
    log = read_journal(plan.output / "log.jsonl")
    for name in ("loss", "grad_norm"):
        assert writer.curves[name] == {line["step"]: line[name] for line in log}
    assert writer.curves["lr"] == {n + 1: OPTIONS.learning_rate(n) for n in range(6)}
    told = {line["step"]: line["validation"]["loss"] for line in log if "validation" in line}
    assert writer.curves["validation/loss"] == told and told.keys() == {4, 6}
    assert writer.curves["items_per_second"].keys() == {3, 6}
    train(plan)  # the same run, without: it is done


def test_curves_can_be_read_by_tensorboard(plan: Plan) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(dataclasses.replace(plan, log="tensorboard"))
    curves = reader.EventAccumulator(str(plan.output / "tensorboard")).Reload()
    log = read_journal(plan.output / "log.jsonl")
    assert [event.step for event in curves.Scalars("loss")] == [line["step"] for line in log]
    np.testing.assert_allclose([event.value for event in curves.Scalars("loss")], [line["loss"] for line in log], 1e-6)
    assert {"lr", "grad_norm", "items_per_second", "validation/loss"} <= {*curves.Tags()["scalars"]}


def test_a_full_disk_ends_the_curves_and_not_the_run(
    plan: Plan, board: list[Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Writer, "add_scalar", full)
    with pytest.warns(CmrgzWarning, match="no more curves"):
        train(dataclasses.replace(plan, log="tensorboard"))
    assert len(read_journal(plan.output / "log.jsonl")) == 6 and board


def test_without_tensorboard_there_is_a_line_before_any_work(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ResourceError, match=r"missing.*cmrgz\[tensorboard\]"):
        train(dataclasses.replace(plan, log="tensorboard"))
    assert not plan.output.exists()
    assert main(["train", "vq", plan.data[0], "-o", str(tmp_path / "cli"), "--log", "tensorboard", "-d", "cpu"]) == 6
    assert "error[missing]" in capsys.readouterr().err.splitlines()[-1]
    assert main(["train", "vq", plan.data[0], "-o", str(tmp_path / "cli"), "--log", "wandb"]) == 2
