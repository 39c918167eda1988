"""Folders that are old or new, never part, and the removal of what dead runs left."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cmrgz.durable.files import NEW, TEMPORARY, Content, fill, sync_directory, temporary_name
from cmrgz.durable.locks import lock
from cmrgz.durable.system import reported, system
from cmrgz.errors import UsageError

ASIDE = ".old-"
"""Prefix of a folder that is set aside while its successor takes its name."""
# O_NONBLOCK: a pipe that lies there would keep whoever opens it waiting for its other end.
OPEN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def write_directory(path: str | os.PathLike[str], files: Mapping[str, Content]) -> None:
    """Write a folder that is old or new, never part; a folder that is there is replaced whole.

    A process that dies between the two renames of a replacement leaves the old folder whole under the name `.old-NAME`;
    `restore`, `remove_stale` and the next `write_directory` put it back.

    Args:
        path: The folder; its parent must be there. Modes are 0700 and 0600.
        files: What it holds: relative name, which may have folders in it -> content.

    Raises:
        ResourceError: `disk-full`, `permission` or `io`; the old folder stays, nothing else is left.
    """
    path = Path(path)
    restore(path)
    with reported(path):
        # `.old-NAME` is free now: should this process die too, there is one old folder to put back, not two.
        fd, temporary = _open_temporary(path.parent)
        try:
            _fill_directory(temporary, files)
            _publish(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # gone already if all went well
            os.close(fd)


def restore(path: str | os.PathLike[str]) -> None:
    """Finish what a process that died in `write_directory(path)` began: the old folder gets its name back, or goes.

    Raises:
        ResourceError: `permission` or `io`.
    """
    path = Path(path)
    aside = path.with_name(ASIDE + path.name)
    with reported(path), _claimed(aside) as dead:
        # A new folder has the name: the death came after the second rename, and the old one is only to be removed.
        if dead and os.path.lexists(path):
            _discard(aside)
        elif dead:
            system.replace(aside, path)
            sync_directory(path.parent)


def make_directory(path: str | os.PathLike[str], mode: int = 0o777) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        ResourceError: `disk-full`, `permission` or `io`; also where a file has its name.
    """
    with reported(path, "made"):
        Path(path).mkdir(mode, parents=True, exist_ok=True)


def require_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a folder that can neither be written to nor made, with those above it, before any work.

    Raises:
        UsageError: `name`: a name is too long for the file system.
        ResourceError: `permission` or `io`.
    """
    require_name(path)
    above = _there(Path(path))
    with reported(path, "written to"):
        if not os.path.isdir(above):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        # Asked, not tried, since trying changes the disk; what root or a full disk make of it the write itself tells.
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def require_name(path: str | os.PathLike[str]) -> None:
    """Refuse a name that is too long for the file system; its folder need not be there yet.

    Raises:
        UsageError: `name`.
    """
    above = _there(Path(path))
    for part in (*Path(path).relative_to(above).parts, path):
        try:
            # The file system is asked, and no limit of 255 is assumed: some count bytes, some characters.
            os.lstat(above / part)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                size, hint = len(os.fsencode(part)), "choose a shorter one"
                raise UsageError("name", os.fspath(path), "is too long a name", f"{size} bytes", hint) from None


def _there(path: Path) -> Path:
    """Return what there is of a path."""
    return next((part for part in (path, *path.parents) if os.path.lexists(part)), Path())


def rename(path: Path, name: str) -> None:
    """Give a file or folder another name in its folder.

    Raises:
        ResourceError: `permission` or `io`.
    """
    with reported(path):
        system.replace(path, path.with_name(name))
        sync_directory(path.parent)


def discard(path: Path) -> None:
    """Remove a folder, never a part of it.

    Raises:
        ResourceError: `permission` or `io`.
    """
    with reported(path, "removed"):
        _discard(path)


def remove_stale(directory: str | os.PathLike[str]) -> None:
    """Remove the temporaries of dead runs from a directory and restore folders that they had set aside.

    Temporaries of living processes stay: they hold a lock that ends with them.

    Raises:
        ResourceError: `permission` or `io`.
    """
    directory = Path(directory)
    with reported(directory):
        names = os.listdir(directory)
        for name in names:
            if name.startswith(ASIDE):
                restore(directory / name.removeprefix(ASIDE))
            elif name.startswith(TEMPORARY):
                with _claimed(directory / name) as dead:
                    if dead:
                        _remove(directory / name)


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Yield True if `path` is a file or folder whose writer is dead; it is locked meanwhile."""
    try:
        fd = _open(path)
    except OSError:  # not there, or not ours: a link or a file that may not be opened
        yield False
        return
    try:
        mode = os.fstat(fd).st_mode
        yield (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and lock(fd)
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | OPEN)  # NFS locks only what is open for writing
    except IsADirectoryError:
        return os.open(path, os.O_RDONLY | OPEN)


def _open_temporary(directory: Path) -> tuple[int, Path]:
    """Create and lock a temporary folder; again if `remove_stale` took it before it was locked."""
    while True:
        path = temporary_name(directory)
        system.mkdir(path, 0o700)
        with suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDONLY | OPEN)
            lock(fd)
            if os.fstat(fd).st_nlink:
                return fd, path
            os.close(fd)


def _fill_directory(directory: Path, files: Mapping[str, Content]) -> None:
    folders = {directory}
    for name, content in files.items():
        target = directory / name
        for parent in reversed(Path(name).parents[:-1]):
            if directory / parent not in folders:
                system.mkdir(directory / parent, 0o700)
                folders.add(directory / parent)
        fd = os.open(target, NEW, 0o600)
        try:
            fill(fd, content)
        finally:
            os.close(fd)
    # Inner folders first: a name must not be durable before what it leads to.
    for folder in sorted(folders, reverse=True):
        sync_directory(folder)


def _publish(temporary: Path, path: Path) -> None:
    """Give the finished temporary its name; a folder that has it is set aside first and removed last."""
    try:
        system.replace(temporary, path)
    except OSError as error:
        # rename(2) replaces an empty folder alone; no portable call exchanges a full one, so that takes two renames.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _exchange(temporary, path)
    else:
        sync_directory(path.parent)


def _exchange(temporary: Path, path: Path) -> None:
    aside = path.with_name(ASIDE + path.name)
    fd = os.open(path, os.O_RDONLY | OPEN)
    try:
        lock(fd)  # so that a `remove_stale` elsewhere does not put it back meanwhile
        system.replace(path, aside)
        try:
            system.replace(temporary, path)
        except BaseException:
            # By `os` and not `system`: taking back is no operation that the hook of the tests may fail in its turn.
            os.replace(aside, path)
            raise
        sync_directory(path.parent)
        _discard(aside)
    finally:
        os.close(fd)


def _discard(aside: Path) -> None:
    """Remove a folder set aside; renamed first, so that a part of it is never put back."""
    temporary = temporary_name(aside.parent)
    system.replace(aside, temporary)
    _remove(temporary)


def _remove(path: Path) -> None:
    """Remove a file or a whole folder."""
    # A link is removed itself, never what it leads to.
    if not path.is_dir() or path.is_symlink():
        system.unlink(path)
        return
    for child in path.iterdir():
        _remove(child)
    system.rmdir(path)
