"""Wherever a process dies or fails, a file or folder is old or new and the log keeps what it acknowledged."""

import json
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cmrgz.durable import (
    Journal,
    read_journal,
    remove_stale,
)

SERVER = """
    import errno, hashlib, io, json, os, re, secrets, shutil, signal, stat, sys, warnings, zlib, pathlib, difflib

    sys.path.insert(0, os.getcwd())

    def save(new):
        from cmrgz.durable import atomic_write
        atomic_write("file", lambda f: [f.write(new), f.flush(), f.write(new)], overwrite=os.path.exists("file"))

    def folder(new):
        from cmrgz.durable import write_directory
        write_directory("folder", {"weights": new * 2, "more/meta.json": new})

    def log(new):
        from cmrgz.durable import Journal
        with Journal("log") as journal:
            for i in range(3):
                journal.append({"new": new.decode(), "i": i})
                os.write(1, b"+")  # an acknowledgement

    for line in sys.stdin:
        where, scenario, new, name, value = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.chdir(where)
            os.environ[name] = value  # read when cmrgz.durable is imported, which happens in this child alone
            try:
                globals()[scenario](new.encode())
            except Exception as error:
                os.write(1, f" {type(error).__name__} {getattr(error, 'code', '')}".encode())
                os._exit(1)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print("", status, flush=True)
"""


class Server:
    """Runs a scenario in a fresh process; returns its exit status and what it said."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", textwrap.dedent(SERVER)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )

    def __call__(self, where: Path, scenario: str, new: str, name: str = "UNUSED", value: str = "") -> tuple[int, str]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([str(where), scenario, new, name, value]) + "\n")
        self.process.stdin.flush()
        said, _, status = self.process.stdout.readline().rstrip("\n").rpartition(" ")
        return int(status), said.strip()


@pytest.fixture(scope="module")
def run() -> Any:
    server = Server()
    yield server
    server.process.communicate()
    assert server.process.returncode == 0


def content(where: Path) -> dict[str, bytes]:
    return {str(p.relative_to(where)): p.read_bytes() for p in sorted(where.rglob("*")) if p.is_file()}


class Cases:
    """Copies of a directory as a first run left it, and what a second run says in each."""

    def __init__(self, run: Server, root: Path, scenario: str, old: bool) -> None:
        self.run, self.root, self.scenario, self.number = run, root, scenario, 0
        (root / "before").mkdir()
        if old:
            run(root / "before", scenario, "old")
        shutil.copytree(root / "before", root / "after")
        run(root / "after", scenario, "new")
        self.before, self.after = content(root / "before"), content(root / "after")
        assert self.before != self.after and self.after

    def each(self, name: str, suffix: str = "") -> Iterator[tuple[Path, int, str]]:
        """Yield the directory, the exit status and what was said for each operation n, until none is left."""
        for n in range(1, 100):
            self.number += 1
            where = self.root / str(self.number)
            shutil.copytree(self.root / "before", where)
            status, said = self.run(where, self.scenario, "new", name, f"{n}{suffix}")
            if status == 0 and not suffix.endswith("SHORT"):
                assert n > 5  # it is a test of something
                return
            yield where, status, said
            if suffix.endswith("SHORT") and n == 12:
                return


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("scenario", ["save", "folder"])
def test_death_at_any_operation_leaves_old_or_new(tmp_path: Path, run: Server, scenario: str, old: bool) -> None:
    cases = Cases(run, tmp_path, scenario, old)
    seen = set()
    for suffix in ("", ":half"):
        for where, status, _ in cases.each("CMRGZ_TEST_KILL_AT", suffix):
            assert status == -signal.SIGKILL
            remove_stale(where)
            assert content(where) in (cases.before, cases.after)
            assert not [p for p in where.rglob("*") if p.name.startswith((".tmp-", ".old-"))]
            seen.add(content(where) == cases.after)
    assert seen == {False, True}


@pytest.mark.parametrize("scenario", ["save", "folder"])
def test_run_after_a_death_finishes(tmp_path: Path, run: Server, scenario: str) -> None:
    cases = Cases(run, tmp_path, scenario, True)
    for where, _, _ in cases.each("CMRGZ_TEST_KILL_AT", ":half"):
        assert run(where, scenario, "new")[0] == 0
        remove_stale(where)
        assert content(where) == cases.after


@pytest.mark.parametrize("scenario, error, code", [("save", "EDQUOT", "disk-full"), ("folder", "EIO", "io")])
def test_failure_at_any_operation_is_named_and_cleaned(
    tmp_path: Path, run: Server, scenario: str, error: str, code: str
) -> None:
    cases = Cases(run, tmp_path, scenario, True)
    for where, status, said in cases.each("CMRGZ_TEST_FAIL_AT", f":{error}"):
        assert (status, said) == (1, f"ResourceError {code}")
        assert {k: v for k, v in content(where).items() if k[0] != "."} in (cases.before, cases.after)
        remove_stale(where)  # an old folder whose removal failed
        assert content(where) in (cases.before, cases.after) and not list(where.glob(".*"))


@pytest.mark.parametrize("scenario", ["save", "folder", "log"])
def test_short_writes_go_on(tmp_path: Path, run: Server, scenario: str) -> None:
    cases = Cases(run, tmp_path, scenario, False)
    for where, status, _ in cases.each("CMRGZ_TEST_FAIL_AT", ":SHORT"):
        assert status == 0 and content(where) == cases.after


def test_acknowledged_records_survive_death(tmp_path: Path, run: Server) -> None:
    cases = Cases(run, tmp_path, "log", True)
    for suffix in ("", ":half"):
        for where, status, said in cases.each("CMRGZ_TEST_KILL_AT", suffix):
            assert status == -signal.SIGKILL
            with Journal(where / "log") as log:
                records = log.read()
                assert [r["new"] for r in records[:3]] == ["old"] * 3
                assert [r["i"] for r in records[3:]] == list(range(len(records) - 3))
                assert len(records) - 3 >= said.count("+")
                log.append({"next": True})
                assert log.read()[:-1] == records


def test_failed_append_is_cut_back(tmp_path: Path, run: Server) -> None:
    for where, status, said in Cases(run, tmp_path, "log", True).each("CMRGZ_TEST_FAIL_AT", ":ENOSPC"):
        assert (status, said.split()[-1]) == (1, "disk-full")
        assert (where / "log").read_bytes().endswith(b"\n")
        assert len(read_journal(where / "log")) == 3 + said.count("+")
