"""Wherever training dies, the next run ends as one that never died: every file, to the bit."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cmrgz.durable import read_journal
from cmrgz.errors import CheckpointError, CmrgzWarning
from cmrgz.meta import check_folder
from cmrgz.training.options import TrainOptions
from cmrgz.training.plan import Plan
from cmrgz.training.ranks import Ranks
from cmrgz.training.run import train
from cmrgz.training.watch import SPEED

OPTIONS = TrainOptions(
    steps=6,
    batch_size=1,
    warmup=2,
    save_every=2,
    validate_every=3,
    validation_items=1,
    fit_items=1,
    item=(128, 128),
    early=3,
)


@pytest.fixture(scope="module")
def plan(small_plan: Callable[..., Plan], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small_plan(tmp_path_factory.mktemp("deaths") / "unbroken", OPTIONS)


@pytest.fixture(scope="module")
def unbroken(plan: Plan) -> dict[str, bytes]:
    train(plan)
    return content(plan.output)


@pytest.fixture
def run(plan: Plan, unbroken: dict[str, bytes], tmp_path: Path) -> Plan:
    return dataclasses.replace(plan, output=tmp_path / "run")


@pytest.fixture
def done(plan: Plan, run: Plan) -> Plan:
    """Return a plan whose run is finished."""
    shutil.copytree(plan.output, run.output)
    return run


def content(folder: Path) -> dict[str, bytes]:
    """Return what is in a run, without how fast it went."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != SPEED
    }


def unlike(folder: Path, unbroken: dict[str, bytes]) -> set[str]:
    """Return the files that are missing, too many or other than those of the unbroken run."""
    found = content(folder)
    return {name for name in found.keys() | unbroken.keys() if found.get(name) != unbroken.get(name)}


def points(operations: int, many: bool) -> list[str]:
    """Return every point of death, before an operation and half way in a write, or some, of start-up and export too."""
    every = [f"{n}{half}" for n in range(1, operations + 1) for half in ("", ":half")]
    return every if many else [every[int(share * (len(every) - 1))] for share in (0, 0.3, 0.6, 0.9, 1)]


@pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_a_run_that_died_at_any_operation_ends_as_one_that_did_not(
    run: Plan, unbroken: dict[str, bytes], deaths: Any, many: bool
) -> None:
    """Start-up and export among them; every third dies again while it goes on."""
    operations = deaths.operations(lambda: train(run))
    assert operations > 50 and not unlike(run.output, unbroken)
    rng, wrong = np.random.default_rng(0), {}
    for number, point in enumerate(points(operations, many)):
        shutil.rmtree(run.output)
        assert deaths.at(lambda: train(run), point)
        if number % 3 == 2:
            deaths.at(lambda: train(run), str(rng.integers(1, operations)))
        train(run)
        if odd := unlike(run.output, unbroken):
            wrong[point] = odd
    assert not wrong


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.exhaustive)])
def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(
    run: Plan, unbroken: dict[str, bytes], deaths: Any, kills: int
) -> None:
    rng, died = np.random.default_rng(0), 0
    while died < kills:
        alive = not deaths.after(lambda: train(run), float(rng.uniform(0, 0.6)))
        died += not alive
        if alive or died == kills:
            train(run)
            assert not unlike(run.output, unbroken)
            shutil.rmtree(run.output)


Damage = Callable[[Path], None]


def flip(path: Path, place: int = -5) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "checkpoint" / "meta.json").write_bytes(b""),
        lambda folder: (folder / "checkpoint" / "meta.json").unlink(),
        lambda folder: flip(folder / "checkpoint" / "weights.safetensors"),
        lambda folder: (folder / "checkpoint" / "weights.safetensors").unlink(),
        lambda folder: replace(folder / "checkpoint" / "meta.json", b'"loss": ', b'"loss": 1'),
        lambda folder: replace(folder / "checkpoint" / "meta.json", b'"spacing": 1.4', b'"spacing": 1.5'),
    ],
)
def test_a_damaged_checkpoint_of_a_finished_run_is_told_and_written_anew(
    done: Plan, unbroken: dict[str, bytes], damage: Damage
) -> None:
    damage(done.output)
    assert unlike(done.output, unbroken)
    with pytest.warns(CmrgzWarning, match="the checkpoint is written anew"):
        train(done)
    assert not unlike(done.output, unbroken)


def replace(path: Path, old: bytes, new: bytes) -> None:
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, 1))


def test_a_finished_run_asked_for_in_half_precision_is_exported_anew(done: Plan, unbroken: dict[str, bytes]) -> None:
    half = dataclasses.replace(done, dtype="float16")
    with pytest.warns(CmrgzWarning, match="written anew.*dtype"):
        train(half)
    assert check_folder(done.output / "checkpoint").dtype == "float16"
    train(half)  # in silence
    with pytest.warns(CmrgzWarning, match="written anew.*dtype"):
        train(done)
    assert not unlike(done.output, unbroken)


def test_a_damaged_checkpoint_without_a_state_is_refused(done: Plan) -> None:
    for folder in done.output.glob("state-*"):
        shutil.rmtree(folder)
    assert train(done)  # a whole one needs none
    flip(done.output / "checkpoint" / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"hash.*weights"):
        train(done)


@pytest.mark.parametrize("kept", [0, 3])
def test_a_cut_log_is_told(done: Plan, kept: int) -> None:
    log = done.output / "log.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:kept]) + b'{"crc":"')
    for name in ("checkpoint", "nothing"):  # of a finished run, and of one that only exports
        shutil.rmtree(done.output / name, ignore_errors=True)
        with pytest.warns(CmrgzWarning, match=rf"log-cut.*{6 - kept} of 6"):
            train(done)


def test_a_log_that_was_damaged_after_the_end_costs_no_result(done: Plan) -> None:
    flip(done.output / "log.jsonl", 40)
    with pytest.warns(CmrgzWarning, match=r"log-corrupt.*log\.jsonl:1"):
        assert train(done)


@pytest.mark.parametrize(
    "record",
    [b"", b"{}", b"null", b'"x"', b"\xff", b"[" * 1000, b'{"crc":"00000000","step":6}\n', None],
    ids=["empty", "no-step", "null", "text", "not-utf8", "deep", "checksum", "missing"],
)
def test_a_damaged_record_of_a_state_costs_the_steps_since_the_one_before(
    done: Plan, unbroken: dict[str, bytes], record: bytes | None
) -> None:
    shutil.rmtree(done.output / "checkpoint")
    for again in range(2):  # the second is set aside beside the first
        path = done.output / "state-00000006" / "state.json"
        path.unlink() if record is None else path.write_bytes(record)
        with pytest.warns(CmrgzWarning, match="taking the one before"):
            train(done)
        aside = {name for name in unlike(done.output, unbroken)}
        assert all(name.startswith("corrupt-state-00000006") for name in aside)
        assert len(list(done.output.glob("corrupt-*"))) == again + 1
        shutil.rmtree(done.output / "checkpoint")


def test_the_figures_of_a_run_that_died_before_its_export_are_kept(done: Plan, unbroken: dict[str, bytes]) -> None:
    shutil.rmtree(done.output / "checkpoint")
    train(done)
    assert b'"validation"' in unbroken["checkpoint/meta.json"] and not unlike(done.output, unbroken)


def test_redone_figures_that_are_no_numbers_are_no_difference(done: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN is not equal to itself."""
    from cmrgz.training import loop

    told = [{"step": 1, "loss": 1.0, "validation": {"loss": float("nan")}} for _ in range(2)]
    state: Any = SimpleNamespace(step=0, module=torch.nn.Linear(1, 1))
    with loop._Log.of(done.output, state, OPTIONS, None, Ranks()) as log:
        assert log is not None
        log.before[1] = told[0]
        log.note([told[1]], True, True)
        told[1]["loss"] = 2.0
        with pytest.raises(CheckpointError, match="nondeterminism"):
            log.note([told[1]], True, True)
    assert len(read_journal(done.output / "log.jsonl")) == 6
