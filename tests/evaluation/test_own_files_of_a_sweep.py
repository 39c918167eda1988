"""The journal and the settings of a sweep are read as if a stranger had written them."""

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cmrgz.cli import main
from cmrgz.durable import Journal
from cmrgz.errors import CheckpointError
from cmrgz.evaluation.publish import publish
from cmrgz.evaluation.store import JOURNAL, SETTINGS, read_lines, repair
from cmrgz.evaluation.sweep import Sweep, check_same, run
from cmrgz.evaluation.verify import read_options

Fuzz = Callable[..., None]
MakeSweep = Callable[..., Sweep]
MANY = [20, pytest.param(1000, marks=pytest.mark.exhaustive)]
SOURCES: dict[str, Any] = {}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sweep that `root` makes once."""
    return tmp_path_factory.mktemp("done") / "run"


@pytest.fixture
def root(done: Path, make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of a small sweep that is done, reports of which have no figures."""
    monkeypatch.setattr("cmrgz.evaluation.report.content._figures", lambda *_: iter(()))  # slow
    if not done.exists():
        run(make_sweep(ratios=(0.25,)), done)
        publish(done)
    shutil.copytree(done, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("number", MANY)
def test_a_journal_is_read_or_refused(root: Path, make_sweep: MakeSweep, fuzz: Fuzz, number: int) -> None:
    order = make_sweep(ratios=(0.25,))

    def use() -> None:
        check_same(read_lines(root), order)
        publish(root)

    fuzz(root / JOURNAL, use, number)


@pytest.mark.parametrize("number", MANY)
def test_settings_are_read_or_refused(root: Path, fuzz: Fuzz, number: int) -> None:
    def use() -> None:
        read_options(root, SOURCES)
        publish(root)

    fuzz(root / SETTINGS, use, number)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that was told."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cmrgz: error")]
    return line


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"unit":5}', b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}", None],
    ids=["none", "few", "deep", "path"],
)
@pytest.mark.parametrize("last", [False, True])
def test_a_line_with_a_right_checksum_that_is_no_unit_is_told_and_repaired(
    root: Path, make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str], body: bytes | None, last: bool
) -> None:
    """Also at the end: it is whole, so that no death has left it."""
    lines = (root / JOURNAL).read_bytes().splitlines(keepends=True)
    if body is None:  # the name of a file outside of the run
        record = json.loads(lines[1])
        record.pop("crc")
        body = json.dumps({**record, "unit": "../../../etc/passwd"}).encode()
    line = b'{"crc":"%08x"%s%s\n' % (zlib.crc32(body), b"," if body != b"{}" else b"", body[1:])
    at = len(lines) if last else 1
    (root / JOURNAL).write_bytes(b"".join([*lines[:at], line, *lines[at:]]))
    whole = (root / JOURNAL).read_bytes()
    assert main(["evaluate", "report", str(root)]) == 4
    told = said(capsys)
    assert f"error[log-corrupt]: {root / JOURNAL}"[:40] in told and f".jsonl:{at + 1}" in told
    with pytest.raises(CheckpointError, match="log-corrupt") as caught:
        run(make_sweep(ratios=(0.25,)), root)
    assert "evaluate repair" in caught.value.hint
    assert (root / JOURNAL).read_bytes() == whole
    assert repair(root) == (len(lines), 1)
    assert run(make_sweep(ratios=(0.25,)), root) == 0


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b'{"options": {"models": 5}, "methods": []}'])
def test_settings_that_were_written_over_are_told(
    root: Path, make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (root / SETTINGS).write_bytes(content)
    for command in ("report", "verify"):
        assert main(["evaluate", command, str(root)]) == 4
        assert "error[header]" in said(capsys)
    run(make_sweep(ratios=(0.25,)), root)
    assert main(["evaluate", "report", str(root)]) == 0


def test_results_without_a_row_for_each_cell_are_told(root: Path) -> None:
    first, *lines = (json.loads(line) for line in (root / JOURNAL).read_bytes().splitlines())
    first["cells"].pop()
    (root / JOURNAL).unlink()
    with Journal(root / JOURNAL) as journal:
        for record in (first, *lines):
            journal.append({name: value for name, value in record.items() if name != "crc"})
    with pytest.raises(CheckpointError, match=r"syntax.*does not hold results"):
        publish(root)
