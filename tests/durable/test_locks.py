"""A folder has one holder, until it lets go or dies."""

import errno
import os
import signal
import time
from pathlib import Path

import pytest

from cmrgz.durable import locked, locks
from cmrgz.errors import CmrgzWarning, ResourceError


def holder(folder: Path, workers: bool = False) -> int:
    """Return a child that holds a folder, and has a child of its own if `workers`."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with locked(folder, "working"):
            if not workers or os.fork():
                os.write(writer, b"1")
            time.sleep(20)
        os._exit(0)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return child


@pytest.mark.parametrize("workers", [False, True])
def test_a_lock_ends_with_the_process_that_holds_it(tmp_path: Path, workers: bool) -> None:
    """Also where a worker that it had forked lives on."""
    child = holder(tmp_path, workers)
    with (
        pytest.raises(ResourceError, match="locked.*another process is working here") as caught,
        locked(tmp_path, "working"),
    ):
        pass
    assert caught.value.exit_code == 6
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with locked(tmp_path, "working"):
        pass


def test_a_lock_ends_with_its_block(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path, "working"), pytest.raises(ResourceError, match="locked"), locked(tmp_path, "working"):
            pass


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_refused", lambda fd: errno.ENOLCK)
    with pytest.warns(CmrgzWarning, match="no-locks"), locked(tmp_path, "working"):
        pass


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / ".lock").symlink_to(tmp_path / "target")
    with pytest.raises(ResourceError, match="io"), locked(tmp_path, "working"):
        pass
