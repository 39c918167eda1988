"""Where a run took its data and weights from: `sources.json`, the only file of a run that holds paths.

It lets a run be verified without naming them again. No report, table or journal is made of it: leave it out where a run
is passed on to those who shall not know the paths.
"""

import json
from collections.abc import Mapping, Sequence
from os.path import abspath
from pathlib import Path

from cmrgz import records
from cmrgz.durable import atomic_write, exists, read_record
from cmrgz.evaluation.lineup import joined, split
from cmrgz.evaluation.options import MANIFEST, SweepOptions, is_mask_file

SOURCES = "sources.json"
NAMES = ("data", "bank", "models", "extractors", "patterns")
CHECKS: records.Checks = {name: records.listed(records.kind(str)) for name in NAMES}

Sources = Mapping[str, Sequence[str]]


def write_sources(root: Path, options: SweepOptions) -> None:
    """Store where a run takes what it names by a path, absolute.

    Raises:
        ResourceError: The folder cannot be written.
    """
    # Absolute: the run may be verified from another working directory.
    told = {
        "data": [abspath(path) for path in options.data],
        "bank": [abspath(path) for path in options.bank],
        "models": [joined(abspath(target), rest) for target, rest in map(split, options.models) if exists(target)],
        "extractors": [f"{n}={abspath(path)}" for n, path in (t.split("=", 1) for t in options.extractors if "=" in t)],
        "patterns": [abspath(p) for p in options.patterns if is_mask_file(p) and p != MANIFEST],
    }
    atomic_write(root / SOURCES, json.dumps(told, indent=1).encode(), overwrite=True)


def read_sources(root: Path, given: Sources) -> dict[str, list[str]]:
    """Return the paths of a run: those that are given, else those that it stores; none where it stores none.

    Raises:
        CheckpointError: `header`: the file is damaged.
    """
    stored = read_record(root / SOURCES, CHECKS) if exists(root / SOURCES) else {}
    return {name: list(given.get(name) or stored.get(name, ())) for name in NAMES}


def where(root: Path, sources: Sources) -> str:
    """Return where a run was looked for, in words."""
    named = [f"{name} {', '.join(paths)}" for name, paths in sources.items() if paths]
    told = "as told now and in" if exists(root / SOURCES) else "there is no"
    return f"{told} {SOURCES}: {'; '.join(named) or 'built-in phantoms'}"
