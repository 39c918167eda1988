"""Wherever a sweep dies, start-up and report among it, the next run ends as one that never died; two do not mix."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmrgz.durable import read_journal
from cmrgz.errors import ResourceError
from cmrgz.evaluation import scoring, sweep
from cmrgz.evaluation.publish import publish
from cmrgz.evaluation.store import JOURNAL, Store, repair
from cmrgz.evaluation.sweep import Sweep, run

KILLS = 100
MakeSweep = Callable[..., Sweep]


@pytest.fixture
def work(make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Return what runs a small sweep and writes its report, at a time that stands still."""
    for module in (scoring, sweep):
        monkeypatch.setattr(module.time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(sweep, "memory_mb", lambda: 1.0)
    monkeypatch.setattr("cmrgz.evaluation.report.content._figures", lambda *_: iter(()))  # slow

    def make() -> Path:
        run(make_sweep(ratios=(0.25,), samples=1), tmp_path / "run")
        publish(tmp_path / "run")
        return tmp_path / "run"

    return make


def content(root: Path) -> dict[str, Any]:
    """Return every file; of the journal all but what was tested for leaks, which each process does anew."""
    found: dict[str, Any] = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    lines = read_journal(root / JOURNAL)
    for line in lines:
        line["facts"].pop("leak_tested")
    return {**found, JOURNAL: json.dumps(lines)}


def unlike(root: Path, whole: dict[str, Any]) -> set[str]:
    found = content(root)
    return {name for name in found.keys() | whole.keys() if found.get(name) != whole.get(name)}


@pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_a_sweep_that_died_at_any_operation_ends_as_one_that_did_not(
    work: Callable[[], Path], deaths: Any, tmp_path: Path, many: bool
) -> None:
    operations = deaths.operations(work)
    whole, wrong = content(tmp_path / "run"), {}
    assert operations > 40
    every = [f"{n}{half}" for n in range(1, operations + 1) for half in ("", ":half")]
    for point in every if many else [every[int(share * (len(every) - 1))] for share in (0.05, 0.4, 1)]:
        shutil.rmtree(tmp_path / "run")
        assert deaths.at(work, point)
        work()
        if odd := unlike(tmp_path / "run", whole):
            wrong[point] = odd
    assert not wrong


@pytest.mark.exhaustive  # a few such kills are in test_sweep.py
def test_a_sweep_killed_at_random_moments_ends_as_one_that_was_not(
    work: Callable[[], Path], deaths: Any, tmp_path: Path
) -> None:
    start = time.monotonic()
    whole, took = content(work()), time.monotonic() - start
    rng, died = np.random.default_rng(0), 0
    while died < KILLS:
        alive = not deaths.after(work, float(rng.uniform(0, took)))
        died += not alive
        if alive or died == KILLS:
            work()
            assert not unlike(tmp_path / "run", whole)
            shutil.rmtree(tmp_path / "run")


def test_two_sweeps_cannot_share_a_folder(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """Neither would see what the other does: each unit would be done twice, and a line might be cut."""
    run(make_sweep(), tmp_path)
    before = content(tmp_path)
    with Store(tmp_path):
        for other in (lambda: run(make_sweep(), tmp_path), lambda: repair(tmp_path)):
            with pytest.raises(ResourceError, match="locked.*evaluating") as caught:
                other()
            assert caught.value.exit_code == 6
    assert content(tmp_path) == before and run(make_sweep(), tmp_path) == 0


def test_a_second_sweep_goes_on_where_the_first_was_killed(make_sweep: MakeSweep, deaths: Any, tmp_path: Path) -> None:
    def first() -> None:
        run(make_sweep(), tmp_path, report=lambda done, total: done and time.sleep(60))

    child = deaths._start(lambda faults: first())
    while not (tmp_path / JOURNAL).exists() or not read_journal(tmp_path / JOURNAL):
        time.sleep(0.01)
    with pytest.raises(ResourceError, match="locked"):
        run(make_sweep(), tmp_path)
    os.kill(child, 9)
    os.waitpid(child, 0)
    order = make_sweep()
    assert run(order, tmp_path) == len(order) - len(read_journal(tmp_path / JOURNAL)[0]["cells"])
