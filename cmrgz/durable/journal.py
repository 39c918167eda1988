"""An append log: JSON lines, each with the checksum of its own record under the key `crc`."""

import json
import os
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cmrgz import records
from cmrgz.durable.files import sync_directory, write_all
from cmrgz.durable.system import reported, system
from cmrgz.errors import CheckpointError, ResourceError

# O_APPEND: a line goes to the end whatever was cut off meanwhile. It is not atomic on NFS: one writer a file.
FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
ANY: records.Checks = {}
CORRUPT = "log-corrupt"
START = b'{"crc":"'
TORN_FIRST = re.compile(rb'\{"crc":"[0-9a-f]{0,8}("[^\n]*)?')
"""What a first record may look like that was cut off by a death, after NULs at its end are dropped."""


class Journal:
    """An append log that survives the death of its writer; one writer a file.

    Opening creates the file if need be and cuts a torn tail: an unfinished last line, or the NULs that a power loss
    leaves. Use it as a context manager, or close it.

    Args:
        path: The log; its directory must be there.
        checks: The fields that each record must have.

    Raises:
        CheckpointError: `log-corrupt`: a line before the last good one is bad, or a whole one is no such record; where
            is `path:line`.
        ResourceError: `permission`, `disk-full` or `io`.
    """

    def __init__(self, path: str | os.PathLike[str], checks: records.Checks = ANY) -> None:
        self.path, self._checks = Path(path), checks
        with reported(path):
            new = not self.path.exists()
            self._fd = os.open(self.path, FLAGS, 0o600)
            try:
                self._end = self._cut_tail()
            except BaseException:
                self.close()
                raise
            if new:
                sync_directory(self.path.parent)

    def append(self, record: Mapping[str, Any], sync: bool = True) -> None:
        """Append a record; with `sync` it is durable when this returns.

        A line that cannot be written whole is cut off again, so that the log stays good.

        Args:
            record: What json can write; keys are sorted.
            sync: Wait for the disk. Without, records since the last sync may be lost with the power.

        Raises:
            ResourceError: `disk-full`, `permission` or `io`; the record is not in the log.
        """
        self._check_open()
        line = encode(record)
        with reported(self.path):
            try:
                write_all(self._fd, line)
            except BaseException:
                self._cut_back()
                raise
        if sync:
            self._sync()
        # Counted only now: a line whose sync failed is cut off again, for nobody was told that it is there.
        self._end += len(line)

    def sync(self) -> None:
        """Wait until all records are on the disk.

        Raises:
            ResourceError: `io`; the log must be opened again.
        """
        self._check_open()
        self._sync()

    def read(self) -> list[dict[str, Any]]:
        """Return all records, oldest first."""
        return read_journal(self.path, self._checks)

    def close(self) -> None:
        """Close the log; it takes no more records."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._fd < 0:
            raise ResourceError("io", str(self.path), "the log is closed, or failed to be written", "", "reopen it")

    def _cut_tail(self) -> int:
        """Cut a torn tail and return the length of the good part."""
        data = self.path.read_bytes()
        _, end = _parse(data, str(self.path), self._checks)
        if end < len(data):
            # Durable before anything is appended: a power loss could else leave the old tail before the new line.
            system.ftruncate(self._fd, end)
            system.fsync(self._fd)
        return end

    def _cut_back(self) -> None:
        """Take back what was written of the last line; a log that cannot be cut takes no more lines."""
        try:
            os.ftruncate(self._fd, self._end)
        except OSError:
            self.close()

    def _sync(self) -> None:
        with reported(self.path):
            try:
                system.fsync(self._fd)
            except BaseException:  # the kernel may have dropped the pages: this descriptor cannot be trusted again
                self._cut_back()
                self.close()
                raise


def read_journal(path: str | os.PathLike[str], checks: records.Checks = ANY) -> list[dict[str, Any]]:
    """Return the records of a log that another process may be writing; the file is not changed.

    Args:
        path: The log; one that is not there has no records.
        checks: The fields that each record must have.

    Raises:
        CheckpointError: `log-corrupt`: a line before the last good one is bad, or a whole one is no such record; where
            is `path:line`.
        ResourceError: `permission` or `io`.
    """
    data = b""
    with reported(path, "read"), suppress(FileNotFoundError):
        data = Path(path).read_bytes()
    return _parse(data, os.fspath(path), checks)[0]


def salvage(path: str | os.PathLike[str], checks: records.Checks = ANY) -> tuple[list[bytes], int]:
    """Return the good lines of a log, each with its end, and how many are bad; the file is not changed.

    Raises:
        ResourceError: `permission` or `io`.
    """
    with reported(path, "read"):
        lines = Path(path).read_bytes().split(b"\n")
    # A power loss leaves NULs where the file had grown already and its data had not arrived.
    lines = [line for line in lines if line.strip(b"\0")]
    good = [line + b"\n" for line in lines if _good(line, checks)]
    return good, len(lines) - len(good)


def encode(record: Mapping[str, Any]) -> bytes:
    """Return a record as a line with its checksum."""
    # The checksum comes first and has a fixed length, so that it is proved before anything is parsed.
    body = json.dumps(record, separators=(",", ":"), sort_keys=True).encode()
    return b'%s%08x"%s%s\n' % (START, zlib.crc32(body), b"," if record else b"", body[1:])


def _body(line: bytes) -> bytes | None:
    """Return the JSON of a line without its checksum, None if it does not match that."""
    rest = line[len(START) + 9 :].removeprefix(b",")
    body = b"{" + rest
    whole = line == b'%s%08x"%s%s' % (START, zlib.crc32(body), b"," if body != b"{}" else b"", rest)
    return body if whole else None


def _record(body: bytes, where: str, checks: records.Checks) -> dict[str, Any]:
    """Return the record that the JSON of a line is."""
    record = records.parse(body, where, code=CORRUPT, lenient=True)
    return records.check(record, checks, where, code=CORRUPT)


def _good(line: bytes, checks: records.Checks) -> bool:
    if (body := _body(line)) is None:
        return False
    try:
        _record(body, "", checks)
    except CheckpointError:
        return False
    return True


def _torn_first(data: bytes) -> bool:
    """Whether data may be the start of a first record, or nothing."""
    return START.startswith(data) or TORN_FIRST.fullmatch(data) is not None


def _parse(data: bytes, where: str, checks: records.Checks) -> tuple[list[dict[str, Any]], int]:
    """Return the records and the length of the good part."""
    found: list[dict[str, Any]] = []
    end, bad = 0, 0
    # What follows the last line end is torn, whatever it holds. Bad lines at the end are a torn tail, too; one before a
    # good line is damage, of which cutting would make more.
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        body = _body(line)
        if body is None:
            bad = bad or number
        elif bad:
            raise _corrupt(where, bad)
        else:
            found.append(_record(body, f"{where}:{number}", checks))
            end += len(line) + 1
    if not found and not _torn_first(data.rstrip(b"\0")):
        raise _corrupt(where, 1)  # rather than cut a file to nothing that may never have been a log
    return found, end


def _corrupt(where: str, line: int) -> CheckpointError:
    return CheckpointError(CORRUPT, f"{where}:{line}", "does not match its checksum", "", "repair the log")
