"""Files of many blobs: appended one after another, each acknowledged by a line of a journal, and read at any place."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cmrgz.durable.files import NEW, remove, sync_directory, write_all
from cmrgz.durable.journal import Journal
from cmrgz.durable.reading import FLAGS, refused
from cmrgz.durable.system import reported, system
from cmrgz.errors import CmrgzError, DataError

JOURNAL = ".jsonl"


def journal_of(path: Path) -> Path:
    """Return the journal of a file of blobs."""
    return path.with_suffix(JOURNAL)


class Part:
    """A new file of blobs and the journal that says where each is; what that does not say is not there.

    Use it as a context manager.

    Args:
        path: The file; it must not be there.

    Raises:
        ResourceError: `disk-full`, `permission` or `io`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._end = path, 0
        with reported(path):
            self._fd = os.open(path, NEW, 0o600)
            sync_directory(path.parent)
        self._journal = Journal(journal_of(path))

    def append(self, chunks: Iterable[bytes], record: Mapping[str, Any]) -> dict[str, Any]:
        """Append a blob, and return its record with `part`, `offset` and `size`; it is durable when this returns.

        Args:
            chunks: Its bytes, one piece after another.
            record: What to say of it in the journal.

        Raises:
            ResourceError: `disk-full`, `permission` or `io`; the blobs before it stay.
        """
        start = self._end
        with reported(self.path):
            for chunk in chunks:
                write_all(self._fd, chunk)
                self._end += len(chunk)
            system.fsync(self._fd)
        # The journal's line comes last: it is what acknowledges, and must not speak of bytes that may be lost yet.
        told = {**record, "part": self.path.name, "offset": start, "size": self._end - start}
        self._journal.append(told)
        return told

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
        os.close(self._fd)


def discard_part(path: Path) -> None:
    """Remove a file of blobs and its journal where that can be done."""
    remove(path)
    remove(journal_of(path))


class PlaceReader:
    """The bytes of a file at any place, for several threads at once.

    Opened at first use; sent to another process, it is opened there anew. Nothing stays in memory, as pages of a mapped
    file do, and a file that is cut while it is in use is an error, where a mapped one would end the process.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on.

        Raises:
            DataError: `truncated`, or as `refused`.
            ResourceError: `io`.
        """
        data = b""
        with refused(self.path, DataError):
            if self._fd is None:
                self._fd = os.open(self.path, FLAGS)
            # pread may give less than was asked for, over 2 GiB or after a signal; the usual case makes no copy.
            while len(data) < size and (more := os.pread(self._fd, size - len(data), offset + len(data))):
                data = data + more if data else more
        if len(data) < size:
            raise cut(self.path, offset + size, offset + len(data))
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_fd": None}

    def __del__(self) -> None:
        if self._fd is not None:
            os.close(self._fd)


def cut(path: Path, expected: int, got: int) -> CmrgzError:
    """Return the error of a file that is too short."""
    return DataError("truncated", os.fspath(path), "is too short", f"{got} bytes, expected {expected}")
