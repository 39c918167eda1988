"""The extensions of a NIfTI header: their sizes are checked, their content is looked at and dropped."""

from typing import BinaryIO

from cmrgz.data.nifti.header import Notes
from cmrgz.errors import DataError

CHUNK = 1 << 20
LONGEST = 1 << 20
ALL = 4 << 20
MOST = 64


def check_extensions(stream: BinaryIO, length: int, order: str, notes: Notes) -> None:
    """Read all that lies between the header and the data.

    Args:
        stream: The file, just after the header.
        length: Bytes up to the data.
        order: Byte order of the header, `<` or `>`.
        notes: Takes a warning where the content looks like an identity.

    Raises:
        DataError: `extension`: a size that is no positive multiple of 16, or too large; `truncated`.
    """
    # Four bytes after the header: the first tells whether extensions follow (nifti1.h).
    flag = exactly(stream, min(4, length), notes.where)
    rest, count, total = length - len(flag), 0, 0
    while flag[:1] > b"\0" and rest >= 8:
        head = exactly(stream, 8, notes.where)
        # esize, which counts these eight bytes too, then ecode, which is of no matter: none is used.
        size = int.from_bytes(head[:4], "little" if order == "<" else "big", signed=True)
        count, total = count + 1, total + size
        if count > 1 and not any(head):
            rest -= len(head)
            break  # a gap before the data
        if size < 16 or size % 16 or size > rest:
            _refuse(f"extension {count} has size {size}", f"{rest} bytes before the data", notes.where)
        if size > LONGEST or total > ALL or count > MOST:
            _refuse("extensions are too many or too large", f"{count}, {total} bytes", notes.where)
        # Read and not skipped: DICM extensions and comments may name a person, which is warned of.
        notes.text(exactly(stream, size - 8, notes.where))
        rest -= size
    _skip(stream, rest, notes.where)


def exactly(stream: BinaryIO, length: int, where: str) -> bytes:
    """Return `length` bytes.

    Raises:
        DataError: `truncated`.
    """
    data = stream.read(length)
    if len(data) < length:
        raise DataError("truncated", where, "ends before its first voxel", "", "copy the file again")
    return data


def _skip(stream: BinaryIO, length: int, where: str) -> None:
    for at in range(0, length, CHUNK):
        exactly(stream, min(CHUNK, length - at), where)


def _refuse(what: str, facts: str, where: str) -> None:
    raise DataError("extension", where, what, facts, "write the header again without extensions")
