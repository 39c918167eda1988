"""The scans of a data set, and which of them train, tune and test.

A split is by patient, and is a function of (seed, subject) alone: the order of the files does not matter, and adding a
patient moves at most one other one across each border.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence

from cmrgz.data.find import find, find_all, look, look_all, prescribed, told
from cmrgz.data.hashes import sha256_of_file
from cmrgz.data.importers import Case, Found
from cmrgz.errors import DataError, UsageError

__all__ = [
    "SPLITS",
    "Case",
    "Found",
    "Split",
    "builtin",
    "find",
    "find_all",
    "look",
    "look_all",
    "sha256_of",
    "split",
    "split_hash",
    "told",
]

SPLITS = ("train", "val", "test")

Split = dict[str, list[Case]]


# ---------------------------------------------------------------------- split
def split(cases: Sequence[Case], fractions: Sequence[float] = (0.7, 0.1, 0.2), seed: int = 0) -> Split:
    """Split by patient into train, val and test.

    What the data set prescribes (`Case.split`) wins; the other patients are ordered by a hash of (seed, subject) and
    cut at the fractions. With enough patients no split of a positive fraction is empty.

    Args:
        cases: The scans.
        fractions: Shares of train, val and test; they sum to 1.
        seed: Another seed, another split.

    Raises:
        DataError: `empty-dataset`; `leak` when a patient is prescribed two splits.
        UsageError: `range` for fractions that are negative or do not sum to 1.
    """
    _check_fractions(fractions)
    if not cases:
        raise DataError("empty-dataset", "split", "there is no scan to split")
    fixed = prescribed("split", cases)
    # By a hash of each, not by a shuffle: one patient more would give a shuffle another order of all.
    rest = sorted({c.subject for c in cases} - set(fixed), key=lambda s: _order(seed, s))
    bounds = _bounds(len(rest), fractions)
    drawn = {s: name for name, (a, b) in zip(SPLITS, bounds, strict=True) for s in rest[a:b]}
    of = drawn | fixed
    return {name: [c for c in cases if of[c.subject] == name] for name in SPLITS}


def _check_fractions(fractions: Sequence[float]) -> None:
    if len(fractions) != len(SPLITS) or min(fractions) < 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise UsageError("range", "fractions", "must be three shares that sum to 1", f"got {tuple(fractions)}")


def _order(seed: int, subject: str) -> bytes:
    # The name of a folder may hold bytes that are no UTF-8.
    return hashlib.sha256(f"{seed}\0{subject}".encode("utf-8", "surrogateescape")).digest()


def _bounds(n: int, fractions: Sequence[float]) -> list[tuple[int, int]]:
    """Return the range of each split; each bound grows by 0 or 1 with n."""
    wanted = [f > 0 for f in fractions]
    # With fewer patients than splits some stay empty; which, the fractions say.
    spare = n >= sum(wanted)
    bounds, start = [], 0
    for i in range(len(fractions)):
        # Not `round`, which goes to even: a bound could fall back while n grows, and move patients across it.
        end = math.floor(n * sum(fractions[: i + 1]) + 0.5)
        if spare:
            end = min(max(end, start + wanted[i]), n - sum(wanted[i + 1 :]))
        bounds.append((start, end))
        start = end
    return bounds


def split_hash(parts: Mapping[str, Sequence[Case]]) -> str:
    """Return the sha256 of a split: of the ids and the contents of its scans, whatever their order."""
    # Sorted: the order of files is that of somebody's folder, and says nothing of the split.
    entries = {name: sorted((case.id, sha256_of(case)) for case in cases) for name, cases in parts.items()}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def sha256_of(case: Case) -> str:
    """Return the sha256 of the files of a scan; in a bank that of those it was made of.

    Raises:
        DataError, ResourceError: They cannot be read.
    """
    if case.banked is not None:
        return str(case.banked.record["source"])
    return sha256_of_file(case.image)


# ---------------------------------------------------------------------- built-in data
def builtin(
    n: int,
    seed: int = 0,
    size: int = 128,
    spacing: float = 1.4,
    phases: int = 6,
    progress: Callable[[int], None] | None = None,
    workers: int = 1,
) -> list[Case]:
    """Return `n` built-in phantoms, seeds `seed` .. `seed + n - 1`; what is not in the cache is rendered first.

    Args:
        n: Subjects.
        seed: Seed of the first.
        size: Pixels along a side.
        spacing: Pixel size, mm.
        phases: Frames per cycle.
        progress: Called with the number of subjects done.
        workers: Processes that render; see `cmrgz.data.phantom.processes`.

    Raises:
        UsageError: `range`.
        ResourceError: The cache directory cannot be written.
    """
    from cmrgz.data.phantom.files import cached_subjects

    return cached_subjects(n, seed, size, spacing, phases, progress, workers)
