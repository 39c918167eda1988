"""Looking at what is on disk: a question raises nothing, and what cannot be read is told in the class of its file.

pathlib's own questions raise where a name is too long or a folder may not be looked into.
"""

import errno
import glob
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from cmrgz import records
from cmrgz.durable.system import resource_error
from cmrgz.errors import CheckpointError, CmrgzError

StrPath = str | os.PathLike[str]
MOST = 64 << 20
"""Bytes of the largest record that is read."""

DENIED, ABSENT = ("permission", "may not be read", "ask its owner for access"), ("not-found", "is not there")
REFUSED = {
    errno.EACCES: DENIED,
    errno.EPERM: DENIED,
    # Of a socket, and of a device that is not there.
    errno.ENXIO: ("not-a-file", "is not a regular file", "name a file"),
    errno.ENOENT: (*ABSENT, "check the path"),
    errno.ENOTDIR: (*ABSENT, "check the path"),
    errno.ELOOP: ("not-found", "is a link in a circle", "check the path"),
    errno.ENAMETOOLONG: ("not-found", "has too long a name", "check the path"),
}
"""What is the fault of a file: code, what, hint. All else is that of the machine."""
TYPES = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
# O_NONBLOCK: opening a pipe would wait for whoever writes to it, for ever.
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def exists(path: StrPath) -> bool:
    """Whether something that can be looked at has this name."""
    return os.path.exists(path)


def is_file(path: StrPath) -> bool:
    """Whether this is a regular file, or a link to one."""
    return os.path.isfile(path)


def is_folder(path: StrPath) -> bool:
    """Whether this is a folder, or a link to one."""
    return os.path.isdir(path)


def status(path: StrPath) -> os.stat_result | None:
    """Return what `os.stat` says, or None where it cannot tell."""
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def matching(folder: StrPath, pattern: str) -> list[Path]:
    """Return what a pattern matches in a folder, sorted; nothing where it cannot be looked into."""
    try:
        return sorted(Path(folder, name) for name in glob.glob(pattern, root_dir=folder, recursive=True))
    except ValueError:  # a NUL in a name
        return []


def inside_of(folder: StrPath, refusal: type[CmrgzError]) -> list[Path]:
    """Return what lies in a folder, sorted, without what is hidden; raises as `refused`."""
    with refused(folder, refusal):
        return sorted(Path(folder, name) for name in os.listdir(folder) if not name.startswith("."))


def why_not(path: StrPath, refusal: type[CmrgzError]) -> CmrgzError | None:
    """Return why a path cannot be looked at, None where it can."""
    try:
        with refused(path, refusal):
            os.stat(path)
    except CmrgzError as error:
        return error
    return None


@contextmanager
def refused(path: StrPath, refusal: type[CmrgzError], where: str = "") -> Iterator[None]:
    """Turn an OSError about a file that is read into an error of its class, or of the machine.

    Args:
        path: The file.
        refusal: The class of what it is read as.
        where: What to call it, the path by default.

    Raises:
        CmrgzError: Of the class `refusal`: `not-found`, `permission` or `not-a-file`.
        ResourceError: `io`: the disk, the network or the number of open files.
    """
    where = where or os.fspath(path)
    # Python raises a ValueError of its own before it asks the system.
    if "\0" in os.fspath(path):
        raise refusal("not-found", where, "is not there", "its name holds a NUL", "check the path")
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSED:
            raise resource_error(error, where, "read") from error
        code, what, hint = REFUSED[error.errno]
        raise refusal(code, where, what, "", hint) from error


@contextmanager
def opened(path: StrPath, refusal: type[CmrgzError], where: str = "") -> Iterator[FileIO]:
    """Open a regular file for reading, without waiting for the other end of a pipe; raises as `refused`."""
    with refused(path, refusal, where):
        fd = os.open(path, FLAGS)
        # Of what was opened, not of its name, which may lead to something else by now.
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            os.close(fd)
            kind = TYPES.get(stat.S_IFMT(mode), "")
            raise refusal("not-a-file", where or os.fspath(path), "is not a regular file", kind, "name a file")
        with FileIO(fd) as file:
            yield file


def read_whole(path: StrPath, refusal: type[CmrgzError], limit: int | None = None) -> bytearray:
    """Return the bytes of a regular file, read once: what is hashed is what is parsed.

    Raises:
        CmrgzError: As `refused`; of the class `refusal`: `too-large` for more than `limit` bytes, `truncated` for a
            file that changes meanwhile.
    """
    with opened(path, refusal) as file:
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            raise refusal("too-large", os.fspath(path), f"expected at most {limit} bytes, got {size}")
        data = bytearray(size)
        view = memoryview(data)
        while view and (done := file.readinto(view)):
            view = view[done:]
        # One byte more is asked for: a file that has grown is not the one that was measured.
        if view or file.read(1):
            raise refusal("truncated", os.fspath(path), "changed while it was read", hint="try again")
    return data


def read_record(
    path: StrPath,
    checks: records.Checks,
    *,
    refuse: type[CmrgzError] = CheckpointError,
    code: str = "header",
    limit: int = MOST,
) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Args:
        path: The file.
        checks: The fields that it must have; it may have others.
        refuse: Error of what the file is.
        code: Of a file that holds something else.
        limit: Most bytes to accept.

    Raises:
        CmrgzError: Of the class `refuse`: as `read_whole`, `records.parse` and `records.check`.
    """
    where = os.fspath(path)
    found = records.parse(bytes(read_whole(path, refuse, limit)), where, refuse=refuse, code=code)
    return records.check(found, checks, where, refuse=refuse, code=code)


def read_bytes(path: StrPath, refusal: type[CmrgzError], most: int = -1) -> bytes:
    """Return the bytes of a regular file, at most so many of them; raises as `refused`."""
    with opened(path, refusal) as file:
        data = file.readall() if most < 0 else file.read(most)
    return data or b""
