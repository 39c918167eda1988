"""Atomic files and folders: no clobber, nothing left behind, everything synced before it gets its name."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from cmrgz.durable import (
    Journal,
    atomic_write,
    files,
    folders,
    journal,
    remove_stale,
    restore,
    system,
    write_directory,
)
from cmrgz.errors import ResourceError, UsageError


def content(where: Path) -> dict[str, bytes]:
    return {str(p.relative_to(where)): p.read_bytes() for p in sorted(where.rglob("*")) if p.is_file()}


def test_keyboard_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(file: BinaryIO) -> None:
        file.write(b"part")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "a", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_directory(tmp_path / "b", {"c": b"whole", "d": interrupted})
    assert not list(tmp_path.iterdir())


def test_write_is_never_a_clobber(tmp_path: Path) -> None:
    target = tmp_path / "a"
    atomic_write(target, b"first")
    with pytest.raises(UsageError) as caught:
        atomic_write(target, b"second")
    assert caught.value.code == "exists" and target.read_bytes() == b"first"
    atomic_write(target, b"second", overwrite=True)
    assert target.read_bytes() == b"second" and target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("links", [True, False])
def test_file_that_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        faults = system.Faults(fail="3:EPERM")  # write, fsync, link: as on a file system without hard links
        monkeypatch.setattr(files, "system", faults)

    def race(file: BinaryIO) -> None:
        file.write(b"mine")
        (tmp_path / "a").write_bytes(b"theirs")

    with pytest.raises(UsageError, match="exists"):
        atomic_write(tmp_path / "a", race)
    assert content(tmp_path) == {"a": b"theirs"}


def test_no_hard_links_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "system", system.Faults(fail="3:EPERM"))
    atomic_write(tmp_path / "a", b"x")
    assert content(tmp_path) == {"a": b"x"}


def test_directory_without_fsync_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "system", system.Faults(fail="5:EINVAL"))
    atomic_write(tmp_path / "a", b"x")
    assert content(tmp_path) == {"a": b"x"}


def test_missing_directory_and_file_for_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for target in (tmp_path / "no" / "a", tmp_path / "file" / "a"):
        for write in (lambda p: atomic_write(p, b""), lambda p: write_directory(p, {"x": b""}), Journal):
            with pytest.raises(ResourceError) as caught:
                write(target)
            assert caught.value.code == "io" and str(target) in caught.value.where


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_directory_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ResourceError) as caught:
        atomic_write(tmp_path / "a", b"")
    tmp_path.chmod(0o700)
    assert caught.value.code == "permission"


@pytest.mark.parametrize("number, code", [(errno.EROFS, "permission"), (errno.EFBIG, "disk-full"), (errno.EINTR, "io")])
def test_errors_by_number(number: int, code: str) -> None:
    error = system.resource_error(OSError(number, os.strerror(number)), "some/file")
    assert error.code == code and error.where == "some/file"


def test_real_full_disk() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space"):
            files.fill(fd, lambda f: f.write(b"x" * 10))  # type: ignore[arg-type, return-value]
    finally:
        os.close(fd)


def test_file_size_limit_is_disk_full(tmp_path: Path) -> None:
    code = """if True:
        import resource, signal, sys
        from cmrgz.durable import atomic_write
        from cmrgz.errors import ResourceError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            atomic_write(sys.argv[1], b"x" * 9000)
        except ResourceError as error:
            sys.exit(error.code)
    """
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], stderr=subprocess.PIPE, text=True)
    assert done.stderr.strip() == "disk-full" and not list(tmp_path.iterdir())


def test_stale_is_what_has_no_living_writer(tmp_path: Path) -> None:
    def look(file: BinaryIO) -> None:
        file.write(b"x")
        remove_stale(tmp_path)
        assert len(list(tmp_path.glob(".tmp-*"))) == 1  # its own survives, that of the dead run is gone

    (tmp_path / ".tmp-dead").write_bytes(b"")
    (tmp_path / ".tmp-folder" / "deep").mkdir(parents=True)
    (tmp_path / ".tmp-folder" / "deep" / "file").write_bytes(b"")
    (tmp_path / "kept").write_bytes(b"kept")
    atomic_write(tmp_path / "a", look)
    assert content(tmp_path) == {"a": b"x", "kept": b"kept"}


def test_stale_never_follows_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"kept")
    inside = tmp_path / "inside"
    (inside / ".tmp-x").mkdir(parents=True)
    (inside / ".tmp-x" / "link").symlink_to(outside)
    (inside / ".tmp-y").symlink_to(outside)
    remove_stale(inside)
    assert [p.name for p in inside.iterdir()] == [".tmp-y"] and content(outside) == {"kept": b"kept"}


def test_folder_set_aside_by_a_dead_run_comes_back(tmp_path: Path) -> None:
    write_directory(tmp_path / "ckpt", {"a": b"old"})
    (tmp_path / "ckpt").rename(tmp_path / ".old-ckpt")
    restore(tmp_path / "ckpt")
    assert content(tmp_path) == {"ckpt/a": b"old"}
    (tmp_path / "ckpt").rename(tmp_path / ".old-ckpt")
    write_directory(tmp_path / "ckpt", {"b": b"new"})
    assert content(tmp_path) == {"ckpt/b": b"new"} and len(list(tmp_path.iterdir())) == 1


def test_folder_does_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a file")
    with pytest.raises(ResourceError):
        write_directory(tmp_path / "a", {"x": b""})
    assert content(tmp_path) == {"a": b"a file"}


class Recorder:
    """The order of durable operations, by path."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def operation(*args: Any) -> Any:
            target = (
                os.readlink(f"/proc/self/fd/{args[0]}")
                if isinstance(args[0], int)
                else os.fspath(args[0] if name == "mkdir" else args[-1])
            )
            self.calls.append((name, Path(target).name))
            return getattr(os, name)(*args)

        return operation


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_everything_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    recorder = Recorder()
    for module in (files, folders, journal):
        monkeypatch.setattr(module, "system", recorder)
    monkeypatch.setattr(files, "temporary_name", lambda directory: directory / ".tmp-x")
    monkeypatch.setattr(folders, "temporary_name", lambda directory: directory / ".tmp-x")
    atomic_write(tmp_path / "run" / "a", b"1")
    atomic_write(tmp_path / "run" / "a", b"2", overwrite=True)
    new, publish = [("write", ".tmp-x"), ("fsync", ".tmp-x")], ("fsync", "run")
    assert recorder.calls == [*new, ("link", "a"), ("unlink", ".tmp-x"), publish, *new, ("replace", "a"), publish]

    recorder.calls.clear()
    write_directory(tmp_path / "run" / "b", {"w": b"1"})
    made = [("mkdir", ".tmp-x"), ("write", "w"), ("fsync", "w"), ("fsync", ".tmp-x"), ("replace", "b")]
    assert recorder.calls == [*made, publish]

    recorder.calls.clear()
    write_directory(tmp_path / "run" / "b", {"w": b"2"})
    swap = [
        ("replace", ".old-b"),
        ("replace", "b"),
        publish,
        ("replace", ".tmp-x"),
        ("unlink", "w"),
        ("rmdir", ".tmp-x"),
    ]
    assert recorder.calls == [*made, *swap]

    recorder.calls.clear()
    with Journal(tmp_path / "run" / "log") as log:
        log.append({}, sync=False)
        log.append({})
        log.sync()
    assert recorder.calls == [publish, ("write", "log"), ("write", "log"), ("fsync", "log"), ("fsync", "log")]
