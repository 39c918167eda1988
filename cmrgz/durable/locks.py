"""Locks that end with the process that holds them, however it ends."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmrgz.durable.system import reported
from cmrgz.errors import ResourceError, warn

try:
    import fcntl
except ImportError:  # not POSIX: no locks, so that no temporary is ever taken for that of a dead run
    fcntl = None  # type: ignore[assignment]

# It stays when the lock goes: were it removed, one process could lock the old file and another the new one.
LOCK = ".lock"
FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
HELD = (errno.EWOULDBLOCK, errno.EACCES)

_folders: set[int] = set()
"""Descriptors of the folders that this process holds."""


def lock(fd: int) -> bool:
    """Lock a file for the life of its descriptor; False if another holds it or the file system has no locks."""
    return _refused(fd) is None


@contextmanager
def locked(folder: str | os.PathLike[str], doing: str) -> Iterator[None]:
    """Hold a folder while the block runs: no other process may work in it meanwhile.

    Where the file system has no locks, a warning says so.

    Args:
        folder: A folder that is there; a file `.lock` is made in it, which stays.
        doing: What a process does there, for the error: `training`.

    Raises:
        ResourceError: `locked`; `permission` or `io` where the lock cannot be made.
    """
    path = Path(folder) / LOCK
    with reported(path):
        fd = os.open(path, FLAGS, 0o600)
    _folders.add(fd)
    try:
        refused = _refused(fd)
        if refused in HELD:
            hint = "wait for it or stop it"
            raise ResourceError("locked", os.fspath(folder), f"another process is {doing} here", "", hint)
        if refused is not None:
            warn("no-locks", os.fspath(folder), f"cannot be locked: let no other process be {doing} here")
        yield
    finally:
        if fd in _folders:
            _close(fd)


def _refused(fd: int) -> int | None:
    """Lock a file; return the number of the error, None if all is well."""
    try:
        # flock, not lockf: a POSIX lock is lost as soon as the process closes any descriptor of the file.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno or errno.EIO
    except AttributeError:
        return errno.ENOSYS
    return None


def _close(fd: int) -> None:
    _folders.discard(fd)
    os.close(fd)


def _let_go() -> None:
    """In a child that was forked: a worker that outlives a killed run must not keep its folder."""
    for fd in list(_folders):
        _close(fd)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
