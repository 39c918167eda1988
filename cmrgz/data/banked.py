"""A scan as a bank has it: its cine plane by plane in a file, each with a checksum, and what was found out about it.

A bank is a folder: `bank.json` names the scans and says where each is, in a few large files `part-*.bin`. There a scan
is its planes (t, z, y, x) as little-endian float16, one after another, and then a CRC-32 of each as uint32. Planes are
read from the file when an item needs them, each checked at its first use, and nothing of them stays in memory: what a
bank costs is its index, 13 kB a scan of 50 phases, and a byte a plane that was used: 63 MiB for 5,000 scans, which are
200 GB. A worker holds as much again. A bank names patients as their data set does, and is to be kept as that is.
"""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz import records
from cmrgz.data.planes import Planes
from cmrgz.durable import PlaceReader
from cmrgz.errors import DataError

FORMAT = 1
"""Raise it where a bank is written otherwise, and where `read_cine` makes other frames of a scan."""
INDEX, PARTS = "bank.json", "part-*.bin"
# float16 resolves values in [-1, 1] to 2^-11 or better, finer than the noise of a scan, at half the reading. The byte
# order is fixed, so that a bank may be carried to any machine.
FRAME, SUM = np.dtype("<f2"), np.dtype("<u4")


def _is_place(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _is_list(length: int, check: records.Check) -> records.Check:
    return lambda value: records.listed(check)(value) and len(value) == length


def _is_volumes(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"ef", "edv"} and all(map(_optional_number, value.values()))


def _is_part(value: Any) -> bool:
    # A plain name: an index of a stranger must not lead out of its folder.
    return isinstance(value, str) and Path(value).match(PARTS) and Path(value).name == value


_optional_number = records.optional(records.number)
BLOCK: records.Checks = {
    "key": records.sha256,
    "source": records.sha256,
    "part": _is_part,
    "offset": _is_place,
    "size": _is_place,
    "shape": _is_list(4, records.natural),
    "phases": records.listed(_optional_number),
    "slices": records.listed(_optional_number),
    "centre": _is_list(2, records.number),
    "spacing": _is_list(3, records.number),
    "ring": records.kind(bool),
    "contents": records.listed(records.text),
    "measured": _is_volumes,
}
"""What an index says of the voxels of a scan."""


def is_block(record: Mapping[str, Any]) -> bool:
    """Whether the lengths that a checked record tells go together."""
    t, z = record["shape"][:2]
    return (len(record["phases"]), len(record["slices"]), record["size"]) == (t, z, size_of(record["shape"]))


def size_of(shape: Sequence[int]) -> int:
    """Return the bytes of a scan (t, z, y, x) with its checksums."""
    return math.prod(shape) * FRAME.itemsize + math.prod(shape[:2]) * SUM.itemsize


def chunks_of(frames: NDArray[np.float16]) -> Iterator[bytes]:
    """Yield the bytes of a scan (t, z, y, x), plane by plane."""
    sums = []
    for place in np.ndindex(frames.shape[:2]):
        plane = frames[place].astype(FRAME).tobytes()
        sums.append(zlib.crc32(plane))
        yield plane
    yield np.array(sums, SUM).tobytes()


class StoredPlanes:
    """The planes of a scan in a bank.

    Args:
        file: That holds it.
        offset: Its first byte there.
        shape: (t, z, y, x).
    """

    def __init__(self, file: PlaceReader, offset: int, shape: tuple[int, int, int, int]) -> None:
        self._file, self._offset, self._shape = file, offset, shape
        self._checked: NDArray[np.bool_] | None = None

    def __call__(self, t: int, z: int) -> NDArray[np.float16]:
        """Return a plane (y, x).

        Raises:
            DataError: `hash` or `truncated`: the bank is damaged.
            ResourceError: `io`.
        """
        number, size = int(t) * self._shape[1] + int(z), math.prod(self._shape[2:]) * FRAME.itemsize
        data = self._file.read(self._offset + number * size, size)
        # Made at the first use: an index lists many scans of which one process reads few.
        if self._checked is None:
            self._checked = np.zeros(math.prod(self._shape[:2]), dtype=bool)
        # Once, since nobody writes to a part that is finished: what damages it did so before.
        if not self._checked[number]:
            self._check(data, number)
            self._checked[number] = True
        return np.frombuffer(data, FRAME).reshape(self._shape[2:])

    def _check(self, plane: bytes, number: int) -> None:
        sums = self._offset + math.prod(self._shape) * FRAME.itemsize
        stored = np.frombuffer(self._file.read(sums + number * SUM.itemsize, SUM.itemsize), SUM)
        if zlib.crc32(plane) != stored[0]:
            facts, hint = f"plane {number} of the scan at byte {self._offset}", "make the bank anew"
            raise DataError("hash", str(self._file.path), "does not match its checksum", facts, hint)

    def check(self) -> None:
        """Read all planes and check them; raises as a call."""
        for place in np.ndindex(self._shape[:2]):
            self(*place)


@dataclass(frozen=True)
class Banked:
    """The voxels of a scan in a bank.

    Attributes:
        bank: The bank.
        pixels: Pixel size that it was made for, mm.
        record: What the index says of it, checked.
        stored: Its planes.
    """

    bank: Path
    pixels: float
    record: Mapping[str, Any]
    stored: StoredPlanes

    @property
    def frames(self) -> Planes:
        """Values (t, z, y, x) float16, read when they are asked for."""
        t, z, y, x = self.record["shape"]
        return Planes((t, z, y, x), np.dtype(np.float16), self.stored)

    def numbers(self, name: str) -> NDArray[np.float32]:
        """Return `phases` or `slices` as the scan has them, NaN where unknown."""
        return np.array([math.nan if n is None else n for n in self.record[name]], np.float32)

    def require(self, pixels: float | None) -> None:
        """Refuse a bank that was made for other pixels.

        Raises:
            DataError: `spacing`.
        """
        if pixels != self.pixels:
            asked = f"{pixels:g} mm" if pixels else "those of the scan"
            hint = f"make another: cmrgz data bank --spacing {pixels:g}" if pixels else ""
            what = "is a bank for another pixel size"
            raise DataError("spacing", str(self.bank), what, f"{self.pixels:g} mm, the model's {asked}", hint)
