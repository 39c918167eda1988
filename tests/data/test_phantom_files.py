"""A phantom folder is a data set by itself; an interrupted one holds whole files only."""

import importlib
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from cmrgz.data.cases import find
from cmrgz.data.phantom import Phantom, label_truth, processes
from cmrgz.data.phantom.files import cache_directory, cached_subjects, middle, write_dataset
from cmrgz.data.phantom.processes import available, in_processes
from cmrgz.data.scan import load
from cmrgz.errors import ResourceError, UsageError


def tiny(seed: int, group: str | None = None) -> Phantom:
    return Phantom(seed, group, size=32, spacing=6.0, nsub=1, fit_rv=False)


def files(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def test_folder_is_a_data_set(tmp_path: Path) -> None:
    done: list[int] = []
    records = write_dataset(tmp_path, [tiny(3, "DCM"), tiny(12345, "HCM")], 3, progress=done.append)
    assert done == [1, 2]
    assert files(tmp_path) == [
        "manifest.csv", "sub-0003/cine.nii.gz", "sub-0003/labels.nii.gz", "sub-12345/cine.nii.gz",
        "sub-12345/labels.nii.gz", "truth.json",
    ]  # fmt: skip
    assert json.loads((tmp_path / "truth.json").read_text()) == json.loads(json.dumps(records))
    first, second = find(tmp_path)
    assert (first.subject, first.group, second.subject, second.group) == ("sub-0003", "DCM", "sub-12345", "HCM")
    assert first.label == tmp_path / "sub-0003/labels.nii.gz"


def test_files_hold_what_was_rendered(tmp_path: Path) -> None:
    (record,) = write_dataset(tmp_path, [tiny(3)], 4)
    scan, labels = load(tmp_path / "sub-0003/cine.nii.gz"), load(tmp_path / "sub-0003/labels.nii.gz")
    images, drawn = tiny(3).cine(4)
    assert np.array_equal(scan.stored, images) and np.array_equal(labels.stored, drawn)
    assert scan.stored.dtype == np.int16 and labels.stored.dtype == np.uint8
    assert scan.spacing == pytest.approx((10, 6, 6))
    assert scan.geometry.frame_time == pytest.approx(60 / record["request"]["hr"] / 4)
    assert scan.slice_positions[0] == 0, "the first slice is the base"
    expected = label_truth(drawn, 6.0, 10.0, record["es_frame"])
    assert record["labels"] == expected and record["slices"] == tiny(3).heights().tolist()


def test_middle_slices(tmp_path: Path) -> None:
    write_dataset(tmp_path, [tiny(3)], 1, slices=2)
    heights = tiny(3).heights()
    at = middle(heights, 2)
    assert load(tmp_path / "sub-0003/cine.nii.gz").shape == (1, 2, 32, 32)
    assert abs(at.mean() - heights.mean()) <= 5 and np.isin(at, heights).all()
    assert middle(heights, None) is heights
    for wrong in (0, len(heights) + 1):
        with pytest.raises(UsageError, match=r"error\[range\]"):
            middle(heights, wrong)


def test_a_stack_without_cavity_has_no_ejection_fraction(tmp_path: Path) -> None:
    phantom = Phantom(3, size=16, spacing=14.0, dz=50, nsub=1, fit_rv=False)
    write_dataset(tmp_path, [phantom], 1, slices=1)
    text = (tmp_path / "truth.json").read_text()
    assert "NaN" not in text and json.loads(text)


def test_what_is_there_is_kept_without_overwrite(tmp_path: Path) -> None:
    write_dataset(tmp_path, [tiny(3)], 1)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    for seed in (3, 4):
        with pytest.raises(UsageError, match=r"error\[exists\]"):
            write_dataset(tmp_path, [tiny(seed)], 2)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before
    write_dataset(tmp_path, [tiny(3)], 1, overwrite=True)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before, "the same bytes every time"


def test_interrupted_rendering_leaves_whole_files_only(tmp_path: Path) -> None:
    def interrupted() -> Iterator[Phantom]:
        yield tiny(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, interrupted(), 2)
    assert files(tmp_path) == ["sub-0000/cine.nii.gz", "sub-0000/labels.nii.gz"]
    assert load(tmp_path / "sub-0000/cine.nii.gz").shape[0] == 2


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        write_dataset(tmp_path / "file", [tiny(0)], 1)


# ---------------------------------------------------------------------- several processes
def makers(*seeds: int) -> list[Callable[[], Phantom]]:
    return [partial(Phantom, seed, size=32, spacing=6.0, nsub=1, fit_rv=False) for seed in seeds]


def test_several_processes_write_the_same_bytes(tmp_path: Path) -> None:
    done: list[int] = []
    one = write_dataset(tmp_path / "one", makers(3, 4, 5), 2)
    several = write_dataset(tmp_path / "several", makers(3, 4, 5), 2, progress=done.append, workers=2)
    assert several == one and [record["seed"] for record in several] == [3, 4, 5] and done == [1, 2, 3]
    assert files(tmp_path / "several") == files(tmp_path / "one")
    for name in files(tmp_path / "one"):
        assert (tmp_path / "several" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name


def test_several_processes_fill_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMRGZ_CACHE", str(tmp_path / "one"))
    done: list[int] = []
    one = cached_subjects(3, 3, 32, 6.0, 2)
    monkeypatch.setenv("CMRGZ_CACHE", str(tmp_path / "several"))
    cached_subjects(1, 4, 32, 6.0, 2)
    several = cached_subjects(3, 3, 32, 6.0, 2, done.append, workers=2)
    assert done == [1, 2, 3] and [case.subject for case in several] == ["sub-0003", "sub-0004", "sub-0005"]
    assert [case.image.read_bytes() for case in several] == [case.image.read_bytes() for case in one]


def test_an_error_of_a_process_is_told_as_ever_and_nothing_is_left_running(tmp_path: Path) -> None:
    write_dataset(tmp_path, makers(4), 1)
    (tmp_path / "manifest.csv").unlink()
    with pytest.raises(UsageError, match=r"error\[exists\].*sub-0004"):
        write_dataset(tmp_path, makers(3, 4, 5, 6), 1, workers=2)
    assert not multiprocessing.active_children()
    assert not (tmp_path / "manifest.csv").exists()


def test_a_process_that_is_killed_is_told() -> None:
    with pytest.raises(ResourceError, match="worker-lost"):
        in_processes(signal.raise_signal, [signal.SIGKILL, signal.SIGKILL], 2)


def interrupted_at(moment: int, act: Callable[[], object]) -> bool:
    """Call `act` with a Ctrl-C at the bytecode of this number, also of what it calls; False where it has fewer."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> object:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        if event == "opcode" and count == moment:
            signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return count >= moment


def test_a_ctrl_c_at_any_moment_leaves_a_process_able_to_talk_and_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of its work nothing breaks it off, half way through a message, and it keeps no lock that others wait for."""
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    before, moment = signal.getsignal(signal.SIGINT), 1
    try:
        processes._begin(multiprocessing.get_context("spawn").RawValue("b", 0))
        while interrupted_at(moment, partial(processes._call, abs, -1)):
            signal.raise_signal(signal.SIGINT)
            assert processes._call(abs, -1) == 1
            moment += 1
        assert moment > 10
    finally:
        signal.signal(signal.SIGINT, before)


def test_processes_that_swallow_an_interrupt_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deaf.py").write_text(DEAF)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(processes, "GRACE", 0.5)
    work = importlib.import_module("deaf").work
    with pytest.raises(ValueError, match="told"):
        in_processes(work, ["told", str(tmp_path / "begun")], 2)
    assert not multiprocessing.active_children()


DEAF = """
import time
from pathlib import Path

def work(what):
    if what == "told":
        while not list(Path(__file__).parent.glob("begun")):
            time.sleep(0.01)
        raise ValueError(what)
    while True:
        try:
            Path(what).touch()
            time.sleep(600)
        except KeyboardInterrupt:
            pass
"""


def test_there_is_a_processor() -> None:
    assert available() >= 1
    assert in_processes(abs, [-1, 2, -3], available()) == [1, 2, 3] == in_processes(abs, iter([-1, 2, -3]), 1)


@pytest.mark.parametrize("group", [True, False], ids=["terminal", "kill"])
def test_ctrl_c_ends_all_processes_at_once(tmp_path: Path, group: bool) -> None:
    """One line, none of which is a traceback, and whole files only; a subject of this size takes minutes."""
    options = ["--subjects", "4", "--size", "512", "--spacing", "0.5", "--phases", "60", "--lite", "--workers", "2"]
    command = [sys.executable, "-m", "cmrgz", "data", "phantom", str(tmp_path / "out"), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("out/sub-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130 and "Traceback" not in errors
    assert files(tmp_path) == []


def test_cache_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CMRGZ_CACHE", raising=False)
    assert cache_directory() == tmp_path / "cmrgz"
    monkeypatch.setenv("CMRGZ_CACHE", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_example_scan_is_what_its_command_makes() -> None:
    scan, labels = load(EXAMPLES / "phantom.nii.gz"), load(EXAMPLES / "phantom_label.nii.gz")
    assert scan.shape == labels.shape == (6, 6, 160, 160) and scan.stored.dtype == np.int16
    phantom = Phantom(7, size=160, spacing=1.4)
    image, label = phantom.frame(middle(phantom.heights(), 6)[2], 1 / 6)
    # Another processor may round a voxel to the other side.
    assert np.mean(scan.stored[1, 2] == image) > 0.999 and np.mean(labels.stored[1, 2] == label) > 0.999


def test_the_example_of_volumes_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "phantom_volumes.py"), run_name="__main__")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["LVEDV", "LVEF", "LVM_ED", "RVEDV"]
    for _, requested, continuum, stack in rows:
        assert float(continuum) == pytest.approx(float(requested), rel=0.01, abs=0.02)
        assert float(stack) == pytest.approx(float(continuum), rel=0.1, abs=0.06)
