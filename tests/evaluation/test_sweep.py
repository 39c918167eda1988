"""A sweep does every cell once, whatever stops it, and grows without redoing any."""

import dataclasses
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmrgz.errors import CheckpointError, PartialError, PluginError, Stopped
from cmrgz.evaluation.competitors import Draws
from cmrgz.evaluation.frames import Frame
from cmrgz.evaluation.lineup import Lineup
from cmrgz.evaluation.store import JOURNAL, read_lines, repair, result_path, results
from cmrgz.evaluation.sweep import ATTEMPTS, Sweep, run
from cmrgz.evaluation.table import Table

MakeSweep = Callable[..., Sweep]
MakeNoise = Callable[..., Any]


def contents(root: Path) -> dict[str, tuple[float, ...]]:
    """Return the numbers of every cell, by its address."""
    found = {}
    for line, arrays in results(root, read_lines(root)):
        for cell, row in zip(line.cells, arrays["metrics"], strict=True):
            assert cell not in found, "a cell was done twice"
            found[cell] = tuple(row)
    return found


def louder(lineup: Lineup) -> Lineup:
    """Return a lineup whose methods have another option."""
    return dataclasses.replace(lineup, methods=[method.louder() for method in lineup.methods])  # type: ignore[attr-defined]


def equal(a: dict[str, tuple[float, ...]], b: dict[str, tuple[float, ...]]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k], equal_nan=True) for k in a)


def test_all_cells_are_done_once(make_sweep: MakeSweep, tmp_path: Path) -> None:
    order = make_sweep()
    told: list[tuple[int, int]] = []
    made = run(order, tmp_path, report=lambda done, total: told.append((done, total)))
    assert made == len(order) == len(contents(tmp_path))
    assert told[0] == (0, made) and told[-1] == (made, made)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_finished_sweep_does_nothing_again(make_sweep: MakeSweep, noise: MakeNoise, tmp_path: Path) -> None:
    run(make_sweep(), tmp_path)
    method = noise()
    assert run(make_sweep([method]), tmp_path) == 0
    assert method.drawn == 0


def test_another_ratio_model_or_seed_adds_to_a_sweep(make_sweep: MakeSweep, noise: MakeNoise, tmp_path: Path) -> None:
    run(make_sweep(), tmp_path)
    before = contents(tmp_path)
    for more in ({"ratios": (0.25, 0.5, 0.75)}, {"seeds": (0, 1), "ratios": (0.25,)}):
        method = noise()
        assert run(make_sweep([method], **more), tmp_path) == 8
        assert method.drawn == 8 + 1  # one frame more for the test of leaks
    both = [noise(), noise("stronger", 0.2)]
    assert run(make_sweep(both), tmp_path) == 16
    assert both[0].drawn == 0
    after = contents(tmp_path)
    assert equal({cell: after[cell] for cell in before}, before)


@pytest.mark.parametrize(
    "change",
    [
        lambda order: dataclasses.replace(order, options=dataclasses.replace(order.options, samples=3)),
        lambda order: dataclasses.replace(order, options=dataclasses.replace(order.options, seeds=(1,))),
        lambda order: dataclasses.replace(
            order, lineup=dataclasses.replace(order.lineup, methods=[order.lineup.methods[0].louder()])
        ),
    ],
)
def test_an_address_is_that_of_all_a_result_depends_on(make_sweep: MakeSweep, change: object) -> None:
    order = make_sweep()
    before = {cell for unit in order.grid.units() for cell in unit.cells}
    after = {cell for unit in change(order).grid.units() for cell in unit.cells}  # type: ignore[operator]
    assert len(before) == len(after) == 16 and not before & after


def test_which_cells_share_a_unit_changes_no_result(make_sweep: MakeSweep, tmp_path: Path) -> None:
    for number, batch in enumerate((2, 16)):
        run(dataclasses.replace(make_sweep(), batch=batch), tmp_path / str(number))
    assert equal(contents(tmp_path / "0"), contents(tmp_path / "1"))


def test_a_lost_file_of_results_is_made_again(make_sweep: MakeSweep, tmp_path: Path) -> None:
    run(make_sweep(), tmp_path)
    before = contents(tmp_path)
    line = read_lines(tmp_path)[3]
    result_path(tmp_path, line.unit).unlink()
    assert run(make_sweep(), tmp_path) == len(line.cells)
    table = Table.read(tmp_path)
    assert len(table) == len(before)


def test_a_changed_file_of_results_is_told(make_sweep: MakeSweep, tmp_path: Path) -> None:
    run(make_sweep(), tmp_path)
    path = result_path(tmp_path, read_lines(tmp_path)[0].unit)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="hash"):
        Table.read(tmp_path)


def test_a_damaged_line_is_told_and_repaired(make_sweep: MakeSweep, tmp_path: Path) -> None:
    run(make_sweep(), tmp_path)
    before, journal = contents(tmp_path), tmp_path / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], lines[1].replace(b"mask", b"musk", 1), *lines[2:]]))
    with pytest.raises(CheckpointError, match=r"log-corrupt.*cells\.jsonl:2.*evaluate repair"):
        run(make_sweep(), tmp_path)
    assert repair(tmp_path) == (len(lines) - 1, 1)
    assert (tmp_path / "cells.jsonl.damaged").exists()
    run(make_sweep(), tmp_path)
    assert equal(contents(tmp_path), before)


def failing(method: Any) -> Any:
    """Let a method fail on some masks."""
    original = method.draw

    def draw(frames: Sequence[Frame], known: Sequence[NDArray[np.bool_]], seed: int, samples: int) -> Draws:
        if np.mean(known) < 0.5:
            raise PluginError("plugin-broken", "model", "cannot")
        return original(frames, known, seed, samples)

    method.draw = draw
    return method


def test_a_unit_that_fails_costs_no_other_and_is_left_alone_in_the_end(
    make_sweep: MakeSweep, noise: MakeNoise, tmp_path: Path
) -> None:
    order = make_sweep([failing(noise()), noise("well")])
    for _ in range(ATTEMPTS):
        with pytest.raises(PartialError, match="8 of"):
            run(order, tmp_path)
    assert len(contents(tmp_path)) == len(order) - 8
    lines = len(read_lines(tmp_path))
    with pytest.raises(PartialError):
        run(order, tmp_path)
    assert len(read_lines(tmp_path)) == lines
    assert "cannot" in str(Table.read(tmp_path).failures[0]["reason"])


def peeking(method: Any) -> Any:
    """Let a method look at hidden pixels."""
    original = method.draw

    def draw(frames: Sequence[Frame], known: Sequence[NDArray[np.bool_]], seed: int, samples: int) -> Draws:
        draws = original(frames, known, seed, samples)
        peeked = np.stack([0.9 * frame.unit for frame in frames]) + 0 * draws.samples(frames)
        return Draws.of(frames, peeked.astype(np.float32))

    method.draw = draw
    return method


def test_a_method_that_peeks_is_found(make_sweep: MakeSweep, noise: MakeNoise, tmp_path: Path) -> None:
    with pytest.raises(PartialError):
        run(make_sweep([peeking(noise("peeking"))]), tmp_path)
    assert "error[leak]" in str(Table.read(tmp_path).failures[0]["reason"])


def test_a_stop_between_units_keeps_what_is_done(make_sweep: MakeSweep, tmp_path: Path) -> None:
    def report(done: int, total: int) -> None:
        if done:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="goes on"):
        run(make_sweep(), tmp_path, report=report)
    done = len(contents(tmp_path))
    assert 0 < done < len(make_sweep())
    assert run(make_sweep(), tmp_path) == len(make_sweep()) - done


SCRIPT = Path(__file__).with_name("killed_sweep.py")


@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_at_random_moments_lose_and_double_nothing(kills: int, phantoms: Path, tmp_path: Path) -> None:
    for name, count in (("whole", 0), ("killed", kills)):
        subprocess.run([sys.executable, SCRIPT, phantoms, tmp_path / name, str(count)], check=True)
    assert equal(contents(tmp_path / "killed"), contents(tmp_path / "whole"))


def test_a_name_stands_for_one_thing_in_a_run(make_sweep: MakeSweep, noise: MakeNoise, tmp_path: Path) -> None:
    run(make_sweep(), tmp_path)
    for changed in (make_sweep([noise(level=0.5)]), make_sweep(samples=3)):
        with pytest.raises(CheckpointError, match="changed.*'noise'"):
            run(changed, tmp_path)
    assert run(make_sweep([noise("other", 0.5)]), tmp_path) == 16


def test_cells_of_an_older_version_are_done_again_and_not_mixed(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(make_sweep(), tmp_path)
    monkeypatch.setattr("cmrgz.evaluation.scoring.__version__", "99")
    order = make_sweep()
    assert run(order, tmp_path) == len(order)
    assert len(Table.read(tmp_path)) == len(order)


def test_memory_does_not_grow_with_the_number_of_cells(make_sweep: MakeSweep, noise: MakeNoise, tmp_path: Path) -> None:
    """A cell keeps its address and its place in the journal, some hundred bytes: no numbers and no pictures."""
    peaks = []
    for name, count in (("few", 2), ("many", 22)):
        order = make_sweep([noise()], ratios=tuple(round(0.02 * (k + 1), 2) for k in range(count)))
        tracemalloc.start()
        run(order, tmp_path / name)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / (20 * 8) < 4000
