"""Where a sweep lies: a journal with one line a unit, and one file of arrays a unit.

    RUN/.lock              held by the one process that writes
    RUN/cells.jsonl        which cells are done, in which file, with its hash; checksummed lines, append only
    RUN/results/ab/ab..npz the numbers of the cells of one unit
    RUN/sweep.json         what the sweep was asked to do

A cell is done when its line is in the journal; the file was written before. Killed anywhere, a run loses the unit in
hand and nothing else.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args
from zipfile import BadZipFile

from numpy.typing import NDArray

from cmrgz import records
from cmrgz.durable import (
    Journal,
    atomic_write,
    exists,
    is_folder,
    locked,
    make_directory,
    matching,
    read_bytes,
    read_journal,
    read_record,
    remove_stale,
    salvage,
)
from cmrgz.durable.arrays import unpack
from cmrgz.errors import CheckpointError
from cmrgz.evaluation.competitors import Kind

JOURNAL, RESULTS, SETTINGS, DOING = "cells.jsonl", "results", "sweep.json", "evaluating"
FACTS = {
    "format": records.natural,
    "revision": records.kind(str),
    "method": records.kind(str),
    "kind": records.one_of(*get_args(Kind)),
    "family": records.kind(str),
    "tokenizer": records.kind(str),
    "seen": records.optional(records.whole),
    "fingerprint": records.kind(str),
    "mask": records.kind(str),
    "seed": records.whole,
    "samples": records.natural,
}
"""What is told of every unit."""
COSTS = ("seconds", "calls", "unit_seconds", "memory_mb", "leak_tested")
"""What is told of a unit that is done."""
LISTS = ("models", "extractors", "patterns", "ratios", "seeds")


def _options(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), list) for name in LISTS)


def _method(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("options", {}), dict)


SETTINGS_CHECKS: records.Checks = {"options": _options, "methods": records.listed(_method)}
"""What `sweep.json` must have of what is read again; the rest is shown as it is."""


def _address(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value) is not None


def _facts(value: Any) -> bool:
    # More may be told than this version knows; costs are not there of units that failed.
    if not isinstance(value, dict) or not value.keys() >= FACTS.keys():
        return False
    costs = (records.number(value[name]) for name in COSTS if name in value)
    return all(passes(value[name]) for name, passes in FACTS.items()) and all(costs)


CHECKS: records.Checks = {
    "unit": _address,
    "cells": records.listed(_address),
    "sha256": lambda value: value == "" or records.sha256(value),
    "facts": _facts,
}
"""What a line of the journal is."""


@dataclass(frozen=True)
class Line:
    """What the journal says of a unit.

    Attributes:
        unit: Its id, from which the name of its file follows.
        cells: The addresses of its cells, in the order of the rows of its arrays; none for a unit that failed.
        sha256: Of its file; "" for a unit that failed.
        facts: What else is told: method, mask, seed, seconds, calls.
    """

    unit: str
    cells: tuple[str, ...]
    sha256: str
    facts: Mapping[str, Any]


class Store:
    """The journal and the files of a sweep in a folder, which is made; one writer. Use it as a context manager.

    Raises:
        CheckpointError: `log-corrupt`: a line of the journal is damaged.
        ResourceError: `locked`: another process has it open; the folder cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        make_directory(root / RESULTS)
        # What fails half way lets go of what it holds; what succeeds keeps it until `__exit__`.
        with ExitStack() as stack:
            stack.enter_context(locked(root, DOING))
            for folder in (root, *filter(is_folder, matching(root / RESULTS, "*"))):
                remove_stale(folder)
            with _repairable(root):
                self._journal = stack.enter_context(Journal(root / JOURNAL, CHECKS))
            self.lines = read_lines(root)
            self._open = stack.pop_all()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def done(self) -> set[str]:
        """Return the cells that are done: in the journal, and their file is there."""
        there = (line for line in self.lines if line.cells and exists(result_path(self.root, line.unit)))
        return {cell for line in there for cell in line.cells}

    def failures(self) -> dict[str, int]:
        """Return how often each unit failed."""
        return Counter(line.unit for line in self.lines if not line.cells)

    def put(self, unit: str, cells: tuple[str, ...], data: bytes, facts: Mapping[str, Any]) -> None:
        """Store a unit: its file first, then its line.

        Raises:
            ResourceError: `disk-full`, `permission` or `io`; the unit is not done.
        """
        path = result_path(self.root, unit)
        make_directory(path.parent)
        atomic_write(path, data, overwrite=True)  # there already where a process died before it wrote the line
        self._append(Line(unit, cells, sha256(data).hexdigest(), facts))

    def fail(self, unit: str, facts: Mapping[str, Any]) -> None:
        """Note that a unit failed, and why."""
        self._append(Line(unit, (), "", facts))

    def _append(self, line: Line) -> None:
        self._journal.append(asdict(line))
        self.lines.append(line)


def result_path(root: Path, unit: str) -> Path:
    """Return the file of a unit."""
    # One of 256 folders: a sweep of the preset `paper` has more files than file systems list quickly.
    return root / RESULTS / unit[:2] / f"{unit}.npz"


def read_lines(root: Path) -> list[Line]:
    """Return the journal of a run that another process may be writing.

    Raises:
        CheckpointError: `log-corrupt`; where is `path:line`.
    """
    with _repairable(root):
        found = read_journal(root / JOURNAL, CHECKS)
    return [Line(r["unit"], tuple(r["cells"]), r["sha256"], r["facts"]) for r in found]


@contextmanager
def _repairable(root: Path) -> Iterator[None]:
    """Say how to repair a damaged journal."""
    try:
        yield
    except CheckpointError as error:
        hint = f"run: cmrgz evaluate repair {os.fspath(root)}"
        raise CheckpointError(error.code, error.where, error.what, error.facts, hint) from error


def repair(root: Path) -> tuple[int, int]:
    """Take damaged lines out of the journal, whose old one is kept as `cells.jsonl.damaged`: how many stay and go.

    Raises:
        UsageError: `exists`: a damaged journal was set aside before.
        ResourceError: `locked`: the run is going on; the folder cannot be written.
    """
    path = root / JOURNAL
    with locked(root, DOING):  # a sweep that goes on appends, and would append to a file that is no more
        good, bad = salvage(path, CHECKS)
        if bad:
            # The old one first: until it is safe nothing is thrown away, and a second repair does not overwrite it.
            atomic_write(path.with_suffix(".jsonl.damaged"), read_bytes(path, CheckpointError))
            atomic_write(path, b"".join(good), overwrite=True)
    return len(good), bad


def read_results(root: Path, line: Line, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of a unit, all or those of some names; raises as `result_bytes`.

    Raises:
        KeyError: There is no array of a name.
        CheckpointError: `syntax`: it holds no arrays.
    """
    data = result_bytes(root, line)
    try:
        return unpack(data, names)
    except (ValueError, OSError, EOFError, BadZipFile):
        raise not_ours(root, line) from None


def not_ours(root: Path, line: Line, code: str = "syntax", what: str = "does not hold results") -> CheckpointError:
    """Return the error of a file of results that is not what a sweep wrote."""
    return CheckpointError(code, str(result_path(root, line.unit)), what, hint="delete it and run the sweep again")


def result_bytes(root: Path, line: Line) -> bytes:
    """Return the file of a unit.

    Raises:
        CheckpointError: `not-found`, or `hash` where the file is not what was written.
    """
    path = result_path(root, line.unit)
    if not exists(path):
        raise CheckpointError("not-found", str(path), "results are missing", hint="run the sweep again")
    data = read_bytes(path, CheckpointError)
    # Not only against damage: numbers that were edited after the run are told as well.
    if sha256(data).hexdigest() != line.sha256:
        raise not_ours(root, line, "hash", "results differ from what was written")
    return data


def results(root: Path, lines: list[Line]) -> Iterator[tuple[Line, dict[str, NDArray[Any]]]]:
    """Yield the units that are done with their arrays, one at a time; raises as `read_results`."""
    for line in lines:
        if line.cells:
            yield line, read_results(root, line)


def read_settings(root: Path) -> dict[str, Any]:
    """Return what `sweep.json` of a run says, as `settings` gave it.

    Raises:
        CheckpointError: `not-found`, or `header` where the file is damaged.
    """
    return read_record(root / SETTINGS, SETTINGS_CHECKS)
