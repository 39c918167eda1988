"""A file opened for reading: regular, of the kind that its name says, unchanged when it is closed."""

import errno
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from cmrgz.data.gzip_stream import MAGIC, GzipStream
from cmrgz.data.nifti.header import header_size
from cmrgz.durable import exists, status
from cmrgz.durable import opened as opened_file
from cmrgz.errors import DataError, ResourceError

START = 4096
"""How many bytes are looked at to tell what a file is."""
# What a network file system answers while its server is away for a moment.
TRANSIENT = {errno.EIO, errno.ESTALE}
PAUSES = (0.1, 0.5)
SUFFIXES = {".nii.gz": "gzip", ".nii": "single", ".hdr": "pair", ".img": "pair"}
# Where the file system tells cases apart, the other half is written in the same one.
OTHER_HALF = {".hdr": ".img", ".HDR": ".IMG", ".img": ".hdr", ".IMG": ".HDR"}
T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """An open file.

    Attributes:
        where: Its path as typed.
        path: Its path.
        kind: What its name says: `gzip`, `single` or `pair`.
        stream: Its bytes, inflated.
        size: Its length on disk.
        start: Its first bytes on disk.
    """

    where: str
    path: Path
    kind: str
    stream: BinaryIO
    size: int
    start: bytes


@contextmanager
def opened(path: Path, where: str) -> Iterator[Source]:
    """Open a NIfTI file, or the header of a pair.

    Args:
        path: The file.
        where: Its path as typed, for errors.

    Raises:
        DataError: `not-found`, `not-a-file`, `permission`, `empty`, `not-nifti`, `lfs-pointer`, `wrong-extension`, and
            when it is closed `changed`.
    """
    kind = next((kind for suffix, kind in SUFFIXES.items() if path.name.lower().endswith(suffix)), "")
    with _regular(path, where) as (raw, size):
        start = raw.read(START)
        raw.seek(0)
        _check_content(start, kind, where)
        stream = GzipStream(raw, where) if kind == "gzip" else raw
        # Buffered, since headers and extensions are read a few bytes at a time.
        yield Source(where, path, kind, cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, stream))), size, start)


@contextmanager
def opened_data(path: Path, where: str) -> Iterator[Source]:
    """Open the `.img` half of a pair.

    Raises:
        DataError: As `opened`.
    """
    with _regular(path, where) as (raw, size):
        yield Source(where, path, "pair", cast(BinaryIO, io.BufferedReader(raw)), size, b"")


def halves(path: Path, where: str) -> tuple[Path, Path]:
    """Return the header and the data file of a pair, given either.

    Raises:
        DataError: `missing-pair`.
    """
    other = path.with_suffix(OTHER_HALF.get(path.suffix, ".hdr" if path.suffix.lower() == ".img" else ".img"))
    if not exists(other):
        raise DataError(
            "missing-pair", where, f"its other half {other.suffix} is not there", "", "put both in one folder"
        )
    return (path, other) if path.suffix.lower() == ".hdr" else (other, path)


def patiently(action: Callable[[], T], where: str) -> T:
    """Return what `action` does; a fault of the disk or the network is given three tries.

    Raises:
        ResourceError: `io`, with the last reason.
    """
    for pause in (*PAUSES, None):
        try:
            return action()
        except ResourceError as error:
            if getattr(error.__cause__, "errno", None) not in TRANSIENT or pause is None:
                raise
            time.sleep(pause)
    raise AssertionError("unreachable")


def not_nifti(start: bytes, where: str) -> DataError:
    """Return the refusal of bytes that are no NIfTI header, with what they are where it can be told."""
    begin = start.lstrip()[:15].lower()
    if start.startswith(b"version https://git-lfs"):
        return DataError("lfs-pointer", where, "is a git-LFS pointer, not the scan itself", "", "git lfs pull")
    what, hint = "no NIfTI header at its start", "convert it to NIfTI"
    if begin.startswith((b"<!doctype", b"<html", b"<?xml")):
        what, hint = "a web page", "download it again, logged in"
    elif start[128:132] == b"DICM":
        what, hint = "a DICOM file", "name the folder of its series, or convert it with dcm2niix"
    elif start.startswith(MAGIC):
        what, hint = "gzip within gzip", "gunzip it once"
    return DataError("not-nifti", where, f"is not a NIfTI file: {what}", "", hint)


@contextmanager
def _regular(path: Path, where: str) -> Iterator[tuple[io.FileIO, int]]:
    with opened_file(path, DataError, where) as raw:
        before = os.fstat(raw.fileno())
        yield raw, before.st_size
        # After the reading: a file that somebody was still writing has the end of another one.
        if _changed(path, before):
            raise DataError(
                "changed", where, "changed while it was read", "", "wait until it is written, then try again"
            )


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _changed(path: Path, before: os.stat_result) -> bool:
    after = status(path)
    return after is None or _identity(after) != _identity(before)


def _check_content(start: bytes, kind: str, where: str) -> None:
    """Refuse a file that is not what its name says."""
    if not start:
        raise DataError("empty", where, "has no bytes", "", "copy the file again")
    is_gzip, is_header = start.startswith(MAGIC), header_size(start) is not None
    if is_gzip and kind != "gzip":
        raise DataError(
            "wrong-extension", where, "is compressed, but its name does not say so", "", "rename to .nii.gz"
        )
    if is_header and kind in ("gzip", ""):
        what = "is uncompressed NIfTI, but its name does not say so"
        raise DataError("wrong-extension", where, what, "", "rename to .nii")
    if not (is_gzip or is_header):
        raise _too_short(where) if len(start) < 4 else not_nifti(start, where)


def _too_short(where: str) -> DataError:
    return DataError("truncated", where, "ends within the first four bytes", "", "copy the file again")
