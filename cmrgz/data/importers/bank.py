"""A bank as a data set: what its index says of each scan; see `cmrgz.data.banked`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from cmrgz import records
from cmrgz.data.banked import BLOCK, FORMAT, INDEX, PARTS, Banked, StoredPlanes, is_block
from cmrgz.data.importers.case import Case, Found, keyed_hash
from cmrgz.durable import PlaceReader, is_file, matching, read_record, status
from cmrgz.errors import DataError

LAYOUT = "bank"
MOST = 4 << 30
"""Bytes of the largest index that is read."""
_text, _number = records.optional(records.text), records.optional(records.number)
_frame = records.optional(records.whole)
ENTRY: records.Checks = {
    "id": records.text,
    "subject": records.kind(str),
    "group": _text,
    "split": records.optional(records.one_of("train", "val", "test")),
    "told_by": records.text,
    "dataset": records.kind(str),
    "dataset_named": records.kind(bool),
    "sex": _text,
    "vendor": _text,
    "ed": _frame,
    "es": _frame,
    "ef": _number,
    "edv": _number,
    "key": records.sha256,
}
"""What an index says of a case; all but the key are attributes of it."""
TOLD = [field.name for field in fields(Case) if field.name in ENTRY]


def is_bank(path: Path) -> bool:
    """Whether a folder is a bank, finished or not."""
    return is_file(path / INDEX) or bool(matching(path, PARTS))


def read(path: Path) -> Found:
    """Return the scans of a bank.

    Raises:
        DataError: `unfinished`, `version`, `truncated`, or `syntax` for an index that is none.
        ResourceError: `io`.
    """
    index = read_index(path)
    blocks = {block["key"]: block for block in index["blocks"]}
    missing = [block for block in blocks.values() if not is_whole(path, block)]
    if missing:
        where, hint = str(path / missing[0]["part"]), "run the same cmrgz data bank again"
        raise DataError("truncated", where, "is gone or too short", f"{len(missing)} of {len(blocks)} scans", hint)
    # One for each part, not for each scan: a process may have a thousand files open, and a bank has more scans.
    files = {name: PlaceReader(path / name) for name in {block["part"] for block in blocks.values()}}
    banked = {key: _banked(path, index["spacing"], block, files) for key, block in blocks.items()}
    return Found([_case(path, entry, banked[entry["key"]]) for entry in index["cases"]], layout=LAYOUT)


def read_index(path: Path) -> dict[str, Any]:
    """Return the index of a bank; raises as `read`, but does not look at the other files."""
    where, hint = path / INDEX, "finish it by the same cmrgz data bank as before"
    if not is_file(where):
        raise DataError("unfinished", str(path), "is a bank that was not finished", "", hint)
    # The format by itself, and first: all else another one may have elsewhere, and that is no damage.
    checks: records.Checks = {"format": records.natural}
    index = read_record(where, checks, refuse=DataError, code="syntax", limit=MOST)
    if index["format"] != FORMAT:
        hint = "make another from the scans: cmrgz data bank"
        facts = f"format {index['format']}, expected {FORMAT}"
        raise DataError("version", str(path), "is a bank of another version of cmrgz", facts, hint)
    lists = {"spacing": records.number, "blocks": records.listed(_any), "cases": records.listed(_any)}
    records.check(index, lists, str(where), refuse=DataError, code="syntax")
    for name, own in (("blocks", BLOCK), ("cases", ENTRY)):
        for record in index[name]:
            records.check(record, own, str(where), refuse=DataError, code="syntax")
    _check_together(index, str(where))
    return index


def _any(value: Any) -> bool:
    return isinstance(value, dict)


def _check_together(index: Mapping[str, Any], where: str) -> None:
    keys = {block["key"] for block in index["blocks"] if is_block(block)}
    if len(keys) < len(index["blocks"]) or not {entry["key"] for entry in index["cases"]} <= keys:
        raise DataError("syntax", where, "says of a scan what cannot be", "", "make the bank anew")


def is_whole(path: Path, block: Mapping[str, Any]) -> bool:
    """Whether the file of a scan is as long as it must be."""
    found = status(path / block["part"])
    # The length alone: what is in it is proved by its checksums, plane by plane, when it is used.
    return found is not None and found.st_size >= block["offset"] + block["size"]


def _banked(path: Path, pixels: float, block: Mapping[str, Any], files: Mapping[str, PlaceReader]) -> Banked:
    t, z, y, x = block["shape"]
    return Banked(path, pixels, block, StoredPlanes(files[block["part"]], block["offset"], (t, z, y, x)))


def _case(path: Path, entry: Mapping[str, Any], banked: Banked) -> Case:
    """Return the case of an entry; no file has the name of its image, which is another one for each."""
    told = {name: entry[name] for name in TOLD}
    told |= {name: value for name, value in banked.record["measured"].items() if told[name] is None}
    return Case(image=path / keyed_hash(entry["dataset"], entry["id"]), banked=banked, **told)


def entry_of(case: Case, key: str) -> dict[str, Any]:
    """Return what an index says of a case whose voxels have a key."""
    return {**{name: getattr(case, name) for name in TOLD}, "key": key}


def refuse(path: str | os.PathLike[str], found: Sequence[Case]) -> None:
    """Refuse a bank where scans are needed.

    Raises:
        DataError: `bank`.
    """
    if any(case.banked for case in found):
        what = "is a bank, which only cmrgz train and cmrgz data check read"
        raise DataError("bank", os.fspath(path), what, hint="name the scans that it was made of")
