"""Wherever `cmrgz inpaint` is killed, the same command ends with the files of one that was not."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmrgz.cli import main
from cmrgz.data.scan import Scan, save

KILLS = 100
SHAPE = (2, 2, 64, 64)
OPTIONS = ["--mask", "0.5", "--samples", "2", "--keep-samples", "--skip-existing", "--device", "cpu", "-o", "out"]


@pytest.fixture
def command(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the arguments that inpaint three scans of a folder, of which all start and export."""
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    for number in range(3):
        voxels = np.random.default_rng(number).integers(0, 900, SHAPE, np.int16)
        save(f"set/{number}.nii.gz", Scan.blank(SHAPE, (10.0, 1.4, 1.4)), voxels)
    return ["-q", "inpaint", "set", "--model", str(tiny_checkpoint), *OPTIONS]


def content() -> dict[str, Any]:
    """Return every file; of what a sidecar says all but how long it took."""
    found: dict[str, Any] = {str(path): path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    for name in (name for name in found if name.endswith(".json")):
        found[name] = {key: value for key, value in json.loads(found[name]).items() if key != "seconds"}
    return found


def unlike(whole: dict[str, Any]) -> set[str]:
    found = content()
    return {name for name in found.keys() | whole.keys() if found.get(name) != whole.get(name)}


def killed(command: list[str], seconds: float) -> bool:
    """Run a command as a process of its own that is killed after some seconds; return whether it was."""
    process = subprocess.Popen([sys.executable, "-m", "cmrgz", *command], stderr=subprocess.PIPE, text=True)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    _, err = process.communicate()
    assert process.returncode in (0, -9), err
    return process.returncode != 0


def test_a_batch_that_died_at_some_operations_ends_as_one_that_did_not(command: list[str], deaths: Any) -> None:
    def work() -> None:
        assert main(command) == 0

    operations = deaths.operations(work)
    whole, wrong = content(), {}
    assert len(whole) == 15 and operations > 40
    for share in (0.0, 0.2, 0.45, 0.7, 1.0):
        shutil.rmtree("out")
        point = f"{1 + int(share * (operations - 1))}:half"
        assert deaths.at(work, point)
        work()
        if odd := unlike(whole):
            wrong[point] = odd
    assert not wrong


@pytest.mark.exhaustive
def test_a_batch_killed_at_random_moments_ends_as_one_that_was_not(command: list[str]) -> None:
    """Start-up and export among them."""
    start = time.monotonic()
    assert not killed(command, 600)
    whole, took = content(), time.monotonic() - start
    rng, died = np.random.default_rng(0), 0
    shutil.rmtree("out")
    while died < KILLS:
        alive = not killed(command, float(rng.uniform(0, took)))
        died += not alive
        if alive or died % 4 == 0:
            assert not killed(command, 600) and not unlike(whole)
            shutil.rmtree("out")
