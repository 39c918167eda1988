"""Making a bank: what training reads of scans, written once by many processes; see `cmrgz.data.banked`.

A scan is done when the journal of its part says so: whatever kills the run, the same call does the others only. Scans
are known by the hash of all that is read of them. `bank.json` is written last, so that a bank which is there is whole:
the one before, with more scans, or none.
"""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from cmrgz import records
from cmrgz.data.banked import BLOCK, FORMAT, INDEX, PARTS, chunks_of, is_block, size_of
from cmrgz.data.cases import sha256_of
from cmrgz.data.cines import SPACING, read_cine
from cmrgz.data.contents import contents
from cmrgz.data.hashes import sha256_of_file
from cmrgz.data.importers import Case
from cmrgz.data.importers.bank import entry_of, is_whole, read_index
from cmrgz.data.phantom.processes import in_processes
from cmrgz.data.told import measured
from cmrgz.durable import (
    Part,
    atomic_write,
    discard_part,
    exists,
    journal_of,
    locked,
    make_directory,
    matching,
    read_journal,
    remove_stale,
    require_writable,
    status,
)
from cmrgz.errors import CheckpointError, CmrgzError, CmrgzWarning, DataError, warn
from cmrgz.plugin import Progress
from cmrgz.training.blocks import is_ring

Blocks = dict[str, dict[str, Any]]
"""Key -> what a journal says of the voxels of a scan."""
LEAST, MOST = 8 << 20, 1 << 30
"""Bytes of the scans of a part: so few that processes share the work, so many that there are few files."""


@dataclass(frozen=True)
class Made:
    """What came of making a bank.

    Attributes:
        cases: Scans that it holds.
        subjects: Their patients.
        new: Scans that were read.
        size: Bytes of all scans.
        bad: Why scans could not be read; where any could not, the bank is not finished.
    """

    cases: int
    subjects: int
    new: int
    size: int
    bad: Sequence[CmrgzError]


def make_bank(
    cases: Sequence[Case], bank: Path, spacing: float = SPACING, workers: int = 1, progress: Progress | None = None
) -> Made:
    """Make a bank of scans, or add them to one that is there; what it has already is not read again.

    A scan of the same name and data set replaces what the bank has of it. The scans of this call come first, in their
    order, so that training draws the items that it would draw of their files.

    Args:
        cases: The scans. Of label maps volumes are kept, so that one that is refused makes its scan a bad one.
        bank: Its folder.
        spacing: Pixel size of the models, mm.
        workers: Processes; see `cmrgz.data.phantom.processes`.
        progress: Called with how many of how many scans are done.

    Raises:
        DataError: `spacing` or `version`: the folder is a bank of another kind; its index is damaged.
        ResourceError: `locked`; `disk-full`, `permission` or `io`; `worker-lost`. What is done stays done.
    """
    require_writable(bank)
    make_directory(bank)
    with locked(bank, "making a bank"):
        remove_stale(bank)
        before = _before(bank, spacing)
        done = _done(bank, before["blocks"])
        with ThreadPoolExecutor(workers) as pool:  # reading and hashing let other threads go on
            keys = list(pool.map(partial(_key, spacing=spacing), cases))
        wanted = {key: case for case, key in zip(cases, keys, strict=True) if isinstance(key, str) and key not in done}
        failed = _store(bank, wanted, spacing, workers, progress or (lambda done, total: None))
        bad = [error for case, key in zip(cases, keys, strict=True) if (error := _why_not(case, key, failed))]
        done = _done(bank, before["blocks"])
        new = sum(key in done for key in wanted)
        if not bad:
            before = _index(bank, cases, [str(key) for key in keys], before["cases"], done, spacing)
            atomic_write(bank / INDEX, json.dumps(before).encode(), overwrite=True)
    subjects = {entry["subject"] for entry in before["cases"]}
    sizes = [size_of(block["shape"]) for block in before["blocks"]]
    return Made(len(before["cases"]), len(subjects), new, sum(sizes), bad)


def _before(bank: Path, spacing: float) -> dict[str, Any]:
    """Return the index of a bank that is there, or of one without scans."""
    if not exists(bank / INDEX):
        return {"blocks": [], "cases": []}
    index = read_index(bank)
    if index["spacing"] != spacing:
        facts, hint = f"{index['spacing']:g} mm, asked for {spacing:g}", "use another --output folder"
        raise DataError("spacing", str(bank), "is a bank for another pixel size", facts, hint)
    return index


def _done(bank: Path, listed: Sequence[dict[str, Any]]) -> Blocks:
    """Return the scans that an index or journals list and whose bytes are there; parts that have none are removed."""
    found = list(listed)
    for part in matching(bank, PARTS):
        found += _journal(part)
    done = {block["key"]: block for block in found if is_whole(bank, block)}
    used = {block["part"] for block in done.values()}
    for part in matching(bank, PARTS):
        # Of a run that died before its first line, or whose scans were all stored anew.
        if part.name not in used:
            discard_part(part)
    return done


def _journal(part: Path) -> Iterable[dict[str, Any]]:
    """Return what the journal of a part lists; of a damaged one nothing, which is stored anew."""
    try:
        return [block for block in read_journal(journal_of(part), BLOCK) if is_block(block)]
    except CheckpointError as error:
        warn(error.code, error.where, "is damaged, what the index does not list is stored anew")
        return ()


def _why_not(case: Case, key: str | CmrgzError, failed: Mapping[str, CmrgzError]) -> CmrgzError | None:
    """Return why a scan is not in the bank; one that is equal to others has what went wrong with the first of them."""
    if isinstance(key, CmrgzError):
        return key
    error = failed.get(key)
    return error and type(error)(error.code, str(case.image), error.what, error.facts, error.hint)


# ---------------------------------------------------------------------- one scan
def _key(case: Case, spacing: float) -> str | CmrgzError:
    """Return the hash of all that is read of a scan and of how, or why there is none."""
    try:
        labels = [sha256_of_file(path) for path in case.label_files]
        frames = [frame for frame, _ in case.phase_labels]
        # Label maps are part of the key, since volumes are measured on them; without any, `ed` and `es` change nothing.
        told = [str(case.order), case.ed, case.es, frames, labels] if labels else []
        read = [FORMAT, spacing, case.axes, sha256_of(case), told]
        # Tried before any work: a name from the file system may hold bytes that no index can.
        json.dumps(entry_of(case, ""), ensure_ascii=False).encode()
    except CmrgzError as error:
        return error
    except UnicodeEncodeError:
        return DataError("encoding", str(case.image), "the name of its patient or data set is no text")
    return sha256(json.dumps(read).encode()).hexdigest()


def _stored(part: Part, key: str, case: Case, spacing: float) -> None:
    cine = read_cine(case, spacing=spacing)
    frames = cine.whole
    record = {
        "key": key,
        "source": sha256_of(case),
        "shape": frames.shape,
        "phases": records.plain(np.asarray(cine.phases, float).tolist()),
        "slices": records.plain(np.asarray(cine.slices, float).tolist()),
        "centre": cine.centre,
        "spacing": cine.spacing,
        "ring": is_ring(cine),
        "contents": sorted(contents(case)),
        "measured": measured(case) if case.label_files else {"ef": None, "edv": None},
    }
    part.append(chunks_of(frames), record)


# ---------------------------------------------------------------------- all scans
Chunk = tuple[Path, Mapping[str, Case]]
Told = tuple[dict[str, CmrgzError], list[Warning]]


def _store(
    bank: Path, wanted: Mapping[str, Case], spacing: float, workers: int, progress: Progress
) -> dict[str, CmrgzError]:
    """Store scans by their keys, each chunk of them in a part of its own, and return why some could not be."""
    chunks = list(zip(_free(bank), _chunks(wanted, workers), strict=False))

    def tell(number: int) -> None:
        progress(len(wanted) * number // len(chunks), len(wanted))

    bad: dict[str, CmrgzError] = {}
    for errors, told in in_processes(partial(_store_chunk, spacing=spacing), chunks, workers, tell):
        bad |= errors
        for warning in told:
            warnings.warn(warning, stacklevel=2)
    return bad


def _store_chunk(chunk: Chunk, spacing: float) -> Told:
    """Store the scans of a part, and return why some could not be, and what is unusual about others."""
    path, scans = chunk
    bad: dict[str, CmrgzError] = {}
    # A warning does not leave its process by itself: it is sent back, and told there.
    with warnings.catch_warnings(record=True) as told, Part(path) as part:
        warnings.simplefilter("always", CmrgzWarning)
        for key, case in scans.items():
            try:
                _stored(part, key, case, spacing)
            except DataError as error:
                bad[key] = error
    return bad, [warning.message for warning in told if isinstance(warning.message, CmrgzWarning)]


def _chunks(scans: Mapping[str, Case], workers: int) -> list[dict[str, Case]]:
    """Return scans in parts of about equal size: a few for each process."""
    sizes = {key: _size(case) for key, case in scans.items()}
    room = min(max(sum(sizes.values()) // (4 * workers), LEAST), MOST)
    chunks: list[dict[str, Case]] = []
    full = room
    for key, case in scans.items():
        if full >= room:
            chunks.append({})
            full = 0
        chunks[-1][key] = case
        full += sizes[key]
    return chunks


def _size(case: Case) -> int:
    found = status(case.image)
    return found.st_size if found else 0


def _free(bank: Path) -> Iterator[Path]:
    """Yield names of parts that are not there."""
    last = max((int(part.stem[5:]) for part in matching(bank, PARTS) if part.stem[5:].isdecimal()), default=0)
    while True:
        last += 1
        yield bank / f"part-{last:05d}.bin"


def _index(
    bank: Path,
    cases: Sequence[Case],
    keys: Sequence[str],
    before: Sequence[dict[str, Any]],
    done: Blocks,
    spacing: float,
) -> dict[str, Any]:
    """Return the index: the scans of this call, then those that were there before."""
    own = [entry_of(case, key) for case, key in zip(cases, keys, strict=True)]
    names = {(entry["dataset"], entry["id"]) for entry in own}
    entries = [*own, *(entry for entry in before if (entry["dataset"], entry["id"]) not in names)]
    used = dict.fromkeys(entry["key"] for entry in entries)
    lost = [key for key in used if key not in done]
    # The index before this one may list them yet: it stays as it is until all are there again.
    if lost:
        hint = "name the data sets of all its scans again"
        what = "lost scans that are not among those that are named now"
        raise DataError("truncated", str(bank), what, f"{len(lost)} scans", hint)
    return {"format": FORMAT, "spacing": spacing, "blocks": [done[key] for key in used], "cases": entries}
