"""The append log: torn tails are cut, bad lines are named, foreign files are left alone."""

import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmrgz.durable import (
    Journal,
    journal,
    read_journal,
    system,
)
from cmrgz.errors import CheckpointError, CmrgzError

values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
records = st.lists(st.dictionaries(st.text(), values | st.lists(values)), max_size=6)
in_one_directory = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def _log(tmp_path: Path, wanted: list[dict[str, Any]]) -> Path:
    path = tmp_path / "log"
    path.unlink(missing_ok=True)
    with Journal(path) as log:
        for record in wanted:
            log.append(record, sync=False)
        log.sync()
        assert log.read() == wanted
    return path


@given(wanted=records, data=st.data())
@in_one_directory
def test_log_cut_anywhere_keeps_its_whole_lines(tmp_path: Path, wanted: list[dict[str, Any]], data: Any) -> None:
    path = _log(tmp_path, wanted)
    raw = path.read_bytes()
    cut = data.draw(st.integers(0, len(raw)))
    nuls = data.draw(st.sampled_from([0, 1, 4096]))
    path.write_bytes(raw[:cut] + bytes(nuls))
    whole = raw[:cut].count(b"\n")
    assert read_journal(path) == wanted[:whole]
    assert path.read_bytes() == raw[:cut] + bytes(nuls)  # reading changes nothing
    with Journal(path) as log:
        assert log.read() == wanted[:whole]
        log.append({"next": 1})
    assert read_journal(path) == [*wanted[:whole], {"next": 1}]


@given(wanted=records.filter(lambda r: len(r) > 1), data=st.data())
@in_one_directory
def test_bad_line_in_the_middle_is_named(tmp_path: Path, wanted: list[dict[str, Any]], data: Any) -> None:
    path = _log(tmp_path, wanted)
    lines = path.read_bytes().splitlines(keepends=True)
    number = data.draw(st.integers(1, len(lines) - 1))
    bad = bytearray(lines[number - 1])
    bad[data.draw(st.integers(0, len(bad) - 2))] ^= 1 << data.draw(st.integers(0, 7))
    raw = b"".join([*lines[: number - 1], bytes(bad), *lines[number:]])
    path.write_bytes(raw)
    for opener in (Journal, read_journal):
        with pytest.raises(CheckpointError) as caught:
            opener(path)
        assert caught.value.code == "log-corrupt" and caught.value.where == f"{path}:{number}"
    assert path.read_bytes() == raw


def test_log_line_format(tmp_path: Path) -> None:
    with Journal(tmp_path / "log") as log:
        log.append({"b": 1, "a": "é"})
    body = b'{"a":"\\u00e9","b":1}'
    assert (tmp_path / "log").read_bytes() == b'{"crc":"%08x",%s\n' % (zlib.crc32(body), body[1:])
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_record_must_be_an_object(tmp_path: Path) -> None:
    good = b'{"crc":"%08x"}\n' % zlib.crc32(b"{}")
    (tmp_path / "log").write_bytes(good + b"[1]\n" + good)
    with pytest.raises(CheckpointError, match="log:2"):
        read_journal(tmp_path / "log")


@pytest.mark.parametrize("data", [b"a,b\n1,2\n", b"not a log", b"\x89PNG\r\n", b'{"crc":"zz', b'{"a":1}\n'])
def test_foreign_file_is_never_cut(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "log").write_bytes(data)
    with pytest.raises(CheckpointError, match=":1"):
        Journal(tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == data


def test_missing_log_has_no_records(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "log") == [] and not list(tmp_path.iterdir())


def test_log_takes_no_record_after_a_failed_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path / "log") as log:
        log.append({"a": 1})
        monkeypatch.setattr(journal, "system", system.Faults(fail="1:EIO"))  # write_all is not in journal
        for _ in range(2):
            with pytest.raises(CmrgzError, match="io"):
                log.append({"a": 2})
        assert log.read() == [{"a": 1}]
    with Journal(tmp_path / "log") as log:
        log.append({"a": 3})
        assert log.read() == [{"a": 1}, {"a": 3}]


def test_many_records_come_back(tmp_path: Path) -> None:
    with Journal(tmp_path / "log") as log:
        for i in range(20_000):
            log.append({"cell": i, "value": i / 7}, sync=False)
    assert len(read_journal(tmp_path / "log")) == 20_000
