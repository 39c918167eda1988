"""A gzip file read to its very end, bounded in memory, with every checksum and length checked.

Plain readers stop at the last voxel and so accept a wrong checksum, a wrong length and a missing trailer.
"""

import io
import zlib
from typing import Any, BinaryIO

from cmrgz.errors import DataError

MAGIC = b"\x1f\x8b"
CHUNK = 1 << 16
MOST = 1 << 20
"""Most bytes inflated in one call."""
COPY_AGAIN = "copy the file again"


# Why not gzip.GzipFile: it skips zero bytes behind the last member (as a broken copy into reserved room leaves them),
# reads no checksum of a header, and tells a wrong checksum from trailing bytes by the words of its message alone.
class GzipStream(io.RawIOBase):
    """The inflated bytes of a gzip file, which may have several members.

    The end of the stream is reported only after the trailer of the last member was found and right and nothing follows.

    Args:
        file: The compressed file, at its start.
        where: Its path as typed, for errors.

    Raises:
        DataError: From any read: `truncated`, `corrupt` or `trailing-data`.
    """

    def __init__(self, file: BinaryIO, where: str) -> None:
        super().__init__()
        # wbits 31, below, is 16 + 15: zlib itself reads the header and the trailer of a member, and proves them.
        self._file, self._where = file, where
        self._member = zlib.decompressobj(wbits=31)
        self._pending = b""
        self._ended = False

    def readable(self) -> bool:
        """Return True: this is a stream to read from."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill some of `buffer` and return how much; 0 only at the proved end."""
        view = memoryview(buffer).cast("B")
        while view and not self._ended:
            if self._member.eof:
                self._next_member()
            elif data := self._inflate(min(len(view), MOST)):
                view[: len(data)] = data
                return len(data)
        return 0

    def _inflate(self, most: int) -> bytes:
        # Both are bounded, what is read and what may come of it: deflate makes up to 1,032 bytes of one.
        source = self._pending or self._file.read(CHUNK)
        try:
            data = self._member.decompress(source, most)
        except zlib.error as error:
            raise DataError("corrupt", self._where, "gzip checksum or data is wrong", str(error), COPY_AGAIN) from None
        self._pending = self._member.unconsumed_tail
        if not (source or data or self._member.eof):
            raise DataError("truncated", self._where, "the gzip stream ends before its trailer", "", COPY_AGAIN)
        return data

    def _next_member(self) -> None:
        rest = self._member.unused_data
        # The next member may begin at the very end of what was read.
        if len(rest) < len(MAGIC):
            rest += self._file.read(CHUNK)
        if not rest:
            self._ended = True
        elif rest.startswith(MAGIC):
            self._member, self._pending = zlib.decompressobj(wbits=31), rest
        else:
            raise DataError("trailing-data", self._where, "bytes follow the end of the gzip stream", "", COPY_AGAIN)


def name_and_comment(start: bytes) -> bytes:
    """Return the texts in the header of a gzip file, from its first bytes: they may name a person."""
    if len(start) < 10 or not start.startswith(MAGIC):
        return b""
    # RFC 1952: after an extra field (4) come the name (8) and the comment (16), each ended by a NUL.
    flags, at = start[3], 10
    if flags & 4:
        at += 2 + int.from_bytes(start[at : at + 2], "little")
    texts = start[at:].split(b"\0", 2)
    return b"\n".join(texts[: bool(flags & 8) + bool(flags & 16)])
