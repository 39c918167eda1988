"""Files that are old, new or absent, never part."""

import errno
import io
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from cmrgz.durable.locks import lock
from cmrgz.durable.system import reported, system
from cmrgz.errors import UsageError

Content = bytes | Callable[[BinaryIO], None]
"""What a file is to hold: its bytes, or a function that writes them to an open file."""

TEMPORARY = ".tmp-"
# O_EXCL and O_NOFOLLOW: what somebody else put there under that name, a link say, is never written through.
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
# What file systems without hard links, or without fsync of a folder, answer: EPERM is what Linux says of FAT.
UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM}


def atomic_write(path: str | os.PathLike[str], write: Content, *, overwrite: bool = False) -> None:
    """Write a file that is old, new or absent, never part.

    Args:
        path: The file; its directory must be there. Its mode is 0600.
        write: The bytes, or a function that writes them to an open file.
        overwrite: Replace a file that is there.

    Raises:
        UsageError: `exists`: the file is there, or appeared meanwhile, and `overwrite` is False.
        ResourceError: `disk-full`, `permission` or `io`; nothing is left behind.
    """
    path = Path(path)
    # Only so that nothing is made in vain: what decides is the link in `_publish`, which cannot come too late.
    if not overwrite and os.path.lexists(path):
        raise _exists(path)
    with reported(path):
        fd, temporary = _open_temporary(path.parent)
        try:
            fill(fd, write)
            _publish(temporary, path, overwrite)
        finally:
            remove(temporary)  # gone already if all went well
            os.close(fd)
        # A rename is lost with the power until the folder itself is on the disk.
        sync_directory(path.parent)


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file where that can be done."""
    with suppress(OSError):
        os.unlink(path)


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Make the names in a directory durable, where the file system can."""
    fd = os.open(path, os.O_RDONLY)
    try:
        system.fsync(fd)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`; a short write is legal and goes on."""
    view = memoryview(data)
    while view:
        view = view[system.write(fd, view) :]


def fill(fd: int, content: Content) -> None:
    """Write `content` to an open file and make it durable."""
    if isinstance(content, bytes):
        write_all(fd, content)
    else:
        # Buffered in large pieces: each write is a call, and an operation at which tests kill the process.
        raw = _File(fd, "w", closefd=False)
        with io.BufferedWriter(raw, 1 << 20) as file:
            try:
                content(cast(BinaryIO, file))
                file.flush()
            except BaseException:
                raw.failed = True
                raise
    system.fsync(fd)


def temporary_name(directory: Path) -> Path:
    """Return a name for a temporary in `directory` that nobody can guess."""
    # A sibling, never in TMPDIR: a rename does not reach another file system (EXDEV).
    return directory / f"{TEMPORARY}{secrets.token_hex(8)}"


class _File(io.FileIO):
    """A file whose writes are durable operations."""

    failed = False
    """Drop what is left in the buffer: writing it would hide the first error behind a second."""

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        return len(view) if self.failed else int(system.write(self.fileno(), view))


def _open_temporary(directory: Path) -> tuple[int, Path]:
    """Create and lock a temporary file; again if `remove_stale` took it before it was locked."""
    while True:
        path = temporary_name(directory)
        fd = os.open(path, NEW, 0o600)
        lock(fd)
        if os.fstat(fd).st_nlink:
            return fd, path
        os.close(fd)


def _publish(temporary: Path, path: Path, overwrite: bool) -> None:
    """Give the finished temporary its name."""
    if overwrite:
        system.replace(temporary, path)
        return
    try:
        system.link(temporary, path)  # unlike a rename, never replaces what another process put there meanwhile
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        if os.path.lexists(path):  # no hard links on this file system: a check is the best there is
            raise _exists(path) from None
        system.replace(temporary, path)
    else:
        # A death before this leaves two names of one whole file; `remove_stale` takes the temporary one.
        system.unlink(temporary)


def _exists(path: Path) -> UsageError:
    return UsageError("exists", os.fspath(path), "is already there", "", "choose another name, or pass --overwrite")
