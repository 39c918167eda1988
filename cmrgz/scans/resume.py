"""A batch that goes on: which results are there, whole, and made as they would be made now."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from cmrgz import records
from cmrgz.durable import exists, read_bytes
from cmrgz.errors import CmrgzError, DataError, UsageError
from cmrgz.scans.files import Names

DESCRIPTION = {348: slice(148, 228), 540: slice(240, 320)}
"""Where NIfTI-1 and NIfTI-2, told by the size of their headers, have their `descrip`."""
START = 1 << 12
MARK = (b"cmrgz ", b" synthetic ")

T = TypeVar("T")


@dataclass(frozen=True)
class Left(Generic[T]):
    """What is left of a batch.

    Attributes:
        jobs: Scans, or their numbers, whose results are not there, or are to be made again.
        skipped: Those whose results are there.
        replaced: Jobs that were stopped half-way: files of theirs that are there are replaced.
    """

    jobs: list[tuple[T, Names]]
    skipped: list[tuple[T, Names]]
    replaced: list[tuple[T, Names]]

    @property
    def files(self) -> set[Path]:
        """Files that are replaced if they are there."""
        return {path for _, names in self.replaced for path in names.every}


def left_to_do(jobs: Sequence[tuple[T, Names]], facts: Callable[[T], Mapping[str, Any]], overwrite: bool) -> Left[T]:
    """Sort the jobs of a batch into those that are done and those that are not.

    Args:
        jobs: The scans and what is written for each.
        facts: What the sidecar of a scan would say of how its result was made, in part.
        overwrite: Make results again that were made in another way.

    Raises:
        UsageError: `config-mismatch`: a result is there that was made in another way.
    """
    left: Left[T] = Left([], [], [])
    for job in jobs:
        case, names = job
        if not all(exists(path) for path in names.every):
            left.jobs.append(job)
            if not exists(names.sidecar) and is_ours(names.image):  # the sidecar is written last
                left.replaced.append(job)
        elif other := _differing(names.sidecar, facts(case)):
            if not overwrite:
                hint = "choose another --output, or pass --overwrite to make it again"
                what = f"tells of a result that was made with another {', '.join(other)}"
                raise UsageError("config-mismatch", str(names.sidecar), what, hint=hint)
            left.jobs.append(job)
        else:
            left.skipped.append(job)
    return left


def _differing(sidecar: Path, facts: Mapping[str, Any]) -> list[str]:
    """Return the names of facts that a sidecar tells otherwise."""
    try:
        told = records.parse(read_bytes(sidecar, DataError), str(sidecar), refuse=DataError, lenient=True)
    except CmrgzError:
        return ["sidecar"]
    # Through JSON and back, as the sidecar was: a tuple is a list there.
    wanted = json.loads(json.dumps(dict(facts)))
    return [name for name, value in wanted.items() if not _tells(told, name, value)]


def _tells(told: Any, name: str, value: Any) -> bool:
    """Return whether an object holds this value under a name, or all items of an object of it."""
    held = told.get(name) if isinstance(told, dict) else None
    # What a sidecar tells beside these facts does not matter; of options and conditions one more makes another result.
    if name == "sampling" and isinstance(held, dict):
        # Sidecars used to tell the options of all algorithms, also of those not in use: they may hold more than now.
        # Not the precision, which is told only where it is not the usual one.
        return bool(held | value == held and held.get("precision") == value.get("precision"))
    if isinstance(value, dict) and name not in ("sampling", "condition"):
        return all(_tells(held, key, inner) for key, inner in value.items())
    return bool(held == value)


def is_ours(image: Path) -> bool:
    """Return whether a file is an image that cmrgz drew, by the mark in its header."""
    try:
        start = read_bytes(image, DataError, START)
        packed = start.startswith(b"\x1f\x8b")
        # The start alone, so that a large result, or one that was made to expand to a giant, costs nothing.
        header = zlib.decompressobj(wbits=31).decompress(start, START) if packed else start
    # What cannot be read is not known to be ours, and is not replaced.
    except (CmrgzError, zlib.error):
        return False
    text = header[DESCRIPTION.get(int.from_bytes(header[:4], "little"), slice(0))]
    return text.startswith(MARK[0]) and MARK[1] in text
