"""A sweep on a local Ray cluster gives the bits of a local run, also when a worker is killed."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmrgz.errors import ResourceError
from cmrgz.evaluation.options import SweepOptions
from cmrgz.evaluation.store import read_lines, results
from cmrgz.evaluation.sweep import Sweep, prepare, run


def contents(root: Path) -> dict[str, tuple[float, ...]]:
    return {
        cell: tuple(row)
        for line, arrays in results(root, read_lines(root))
        for cell, row in zip(line.cells, arrays["metrics"], strict=True)
    }


def busy() -> list[int]:
    """Return the processes that are at work on a task: Ray names them after it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::_task"):
                found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield ray
        ray.shutdown()


@pytest.fixture(scope="module")
def make(phantoms: Path, training: Path, tiny_checkpoint: Path) -> Callable[[], Sweep]:
    options = SweepOptions(
        data=(str(phantoms),), bank=(str(training),), models=(str(tiny_checkpoint),), ratios=(0.25, 0.75)
    )
    return lambda: prepare(options)


@pytest.mark.skipif(not Path("/proc").exists(), reason="workers are found in /proc")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_two_workers_of_which_one_is_killed_give_the_bits_of_one_process(
    ray: Any, make: Callable[[], Sweep], tmp_path: Path
) -> None:
    from cmrgz.evaluation.cluster import on_cluster

    run(make(), tmp_path / "local")
    order, killed = make(), []

    def kill_one(done: int, total: int) -> None:
        workers = busy()
        if done and workers and not killed:
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    run(order, tmp_path / "cluster", on_cluster(order, "auto"), kill_one)
    assert killed
    alone, together = contents(tmp_path / "local"), contents(tmp_path / "cluster")
    assert alone.keys() == together.keys()
    assert all(np.array_equal(alone[cell], together[cell], equal_nan=True) for cell in alone)


def test_without_ray_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Sweep]) -> None:
    import sys

    from cmrgz.evaluation.cluster import on_cluster

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ResourceError, match=r"cmrgz\[cluster\]"):
        on_cluster(make(), "auto")
