"""The operations that change what is on disk, and the test hook that kills or fails them.

`CMRGZ_TEST_KILL_AT=n[:half]` makes the process kill itself before durable operation n, or half way through a write.
`CMRGZ_TEST_FAIL_AT=n:ENOSPC` makes the operation fail with any errno; `SHORT` makes it a short write. The variables are
read once, at import; without them the operations are those of `os` and cost nothing.
"""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cmrgz.errors import ResourceError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


class Faults:
    """The operations of `os`, counted, with a death or a failure at one of them.

    Args:
        kill: `n` or `n:half`, the operation at which the process kills itself; empty for none.
        fail: `n:ERRNO` or `n:SHORT`, the operation that fails; empty for none.
    """

    def __init__(self, kill: str = "", fail: str = "") -> None:
        self.count = 0
        at, _, half = kill.partition(":")
        self._kill, self._half = int(at or 0), half == "half"
        at, _, self._error = fail.partition(":")
        self._fail = int(at or 0)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def operation(*args: Any) -> Any:
            self.count += 1
            if self.count == self._kill:
                self._die(name, args)
            if self.count == self._fail:
                args = self._failed(name, args)
            return getattr(os, name)(*args)

        return operation

    def _die(self, name: str, args: tuple[Any, ...]) -> None:
        if self._half and name == "write":
            os.write(args[0], args[1][: len(args[1]) // 2])
        # Neither an exception nor an exit: no handler, no `finally` and no buffer has a last word in a real death.
        os.kill(os.getpid(), signal.SIGKILL)

    def _failed(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Raise the error that was asked for, or return the arguments of a short write."""
        if self._error != "SHORT":
            number = getattr(errno, self._error)
            raise OSError(number, os.strerror(number))
        return (args[0], args[1][: len(args[1]) // 2 or 1]) if name == "write" else args


KILL_AT, FAIL_AT = os.environ.get("CMRGZ_TEST_KILL_AT", ""), os.environ.get("CMRGZ_TEST_FAIL_AT", "")

system: Any = Faults(KILL_AT, FAIL_AT) if KILL_AT or FAIL_AT else os
"""write, fsync, ftruncate, replace, link, mkdir, unlink and rmdir, as in `os`."""


def resource_error(error: OSError, path: str | os.PathLike[str], done: str = "written") -> ResourceError:
    """Return the one-line error of what failed: `disk-full`, `permission` or `io`."""
    where, what = os.fspath(path), f"cannot be {done}: {error.strerror or type(error).__name__}"
    if error.errno in FULL:
        return ResourceError("disk-full", where, what, _free(where), "free some space and try again")
    if error.errno in DENIED:
        return ResourceError("permission", where, what, "", "choose another directory")
    return ResourceError("io", where, what, "", "check the directory and the disk")


def _free(path: str) -> str:
    try:
        disk = os.statvfs(os.path.dirname(path) or ".")
    except (OSError, AttributeError):  # not POSIX
        return ""
    return f"{disk.f_bavail * disk.f_frsize >> 20} MiB free"


@contextmanager
def reported(path: str | os.PathLike[str], done: str = "written") -> Iterator[None]:
    """Turn an OSError about `path` into a ResourceError."""
    try:
        yield
    except OSError as error:
        raise resource_error(error, path, done) from error
