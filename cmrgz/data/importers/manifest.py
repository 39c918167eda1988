"""Manifest: a CSV or JSON-lines file with one scan a row.

Columns: `image` (required), `subject`, `label`, `frame` (which one a label map of one frame is), `group`, `split`,
`dataset`, `sex`, `vendor`, `ed` and `es` (these frames), `label_ed` and `label_es` (label maps of them alone), `labels`
(what label values mean, `lv=1,myo=2,rv=3`), `mask` (what to hide), `ef` and `edv` (of the left ventricle: a fraction
0 .. 1, and ml). Frames count from 1. Others are ignored. Paths are relative to the manifest.
"""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path, PurePath

from cmrgz import records
from cmrgz.data.importers.case import Case, make_case
from cmrgz.data.importers.label_order import ACDC, LabelOrder
from cmrgz.data.importers.patients import Patient, patients_of
from cmrgz.durable import is_file, read_whole, why_not
from cmrgz.errors import CmrgzError, DataError, UsageError, did_you_mean

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
FILES = ("label", "label_ed", "label_es", "mask")
TEXTS = ("group", "dataset", "sex", "vendor")
FRAMES = ("frame", "ed", "es")
NUMBERS = ("ef", "edv")
COLUMNS = ("image", "subject", "split", "labels", *FILES, *TEXTS, *FRAMES, *NUMBERS)
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
          "test": "test", "testing": "test"}  # fmt: skip
MAX_BYTES = 64 << 20

Row = tuple[str, dict[str, str]]


def is_manifest(path: Path) -> bool:
    """Return whether the name is that of a manifest."""
    return path.suffix.lower() in SUFFIXES and is_file(path)


def read_manifest(path: Path, subject_column: str = "subject") -> list[Case]:
    """Return the cases of a manifest, in its order.

    Args:
        path: The manifest.
        subject_column: The column that names the patient.

    Raises:
        DataError: `encoding` or `syntax`; `unknown-key` for a missing or misspelt column; `not-found` for scans that
            are listed but missing.
    """
    rows = list(read_rows(path))
    for where, row in rows:
        _check_columns(where, row, subject_column.lower())
        if not row["image"]:
            raise DataError("syntax", where, "names no image")
    found = _found_patients(path.absolute().parent, [row["image"] for _, row in rows])
    cases = [
        _case(path, where, row, _patient(row, subject_column, whose))
        for (where, row), whose in zip(rows, found, strict=True)
    ]
    _check_files(path, [where for where, _ in rows], cases)
    return cases


def read_rows(path: Path) -> Iterator[Row]:
    """Yield (`file:line`, column in lower case -> text) per row of a table.

    Raises:
        DataError: `too-large`, `encoding`, `syntax` or `type`.
    """
    data = read_whole(path, DataError, MAX_BYTES)
    try:
        # Excel begins a file with a byte order mark.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("encoding", str(path), "is not UTF-8", f"byte {error.start}") from None
    rows = _csv_rows(path, text) if path.suffix.lower() in (".csv", ".tsv") else _json_rows(path, text)
    for where, row in rows:
        yield where, {k.strip().lower(): v.strip() for k, v in row.items()}


def _csv_rows(path: Path, text: str) -> Iterator[Row]:
    header = text.partition("\n")[0]
    # Where the comma is the decimal point, Excel separates by semicolons.
    delimiter = max(",;\t", key=header.count)
    # strict: a quote without an end would else take in all rows that follow.
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter, strict=True, restval="")
    try:
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if None in row:
                raise DataError("syntax", where, "has more fields than the header has columns")
            yield where, row
    except csv.Error as error:
        raise DataError("syntax", f"{path}:{reader.line_num}", f"is not CSV: {error}") from None


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        row = records.parse(line.encode(), where, refuse=DataError, code="syntax", other="type")
        yield where, {k: "" if v is None else str(v) for k, v in row.items()}


def _found_patients(folder: Path, images: list[str]) -> list[Patient]:
    """Return the patients in the names of images: below the manifest's folder, or else below what all lie in."""
    places = [os.path.normpath(folder / image) for image in images]
    # A manifest may stand above its scans or somewhere else.
    inside = all(PurePath(place).is_relative_to(folder) for place in places)
    root = folder if inside else PurePath(os.path.commonpath([os.path.dirname(place) for place in places]))
    return patients_of([PurePath(place).relative_to(root) for place in places], root.name) if places else []


def _patient(row: dict[str, str], subject_column: str, found: Patient) -> Patient:
    """Return the patient that a row names; else the one found in the name of its image."""
    named = row.get(subject_column.lower())
    return Patient(named, "the manifest") if named else found


def _case(path: Path, where: str, row: dict[str, str], whose: Patient) -> Case:
    image = path.parent / row["image"]
    files = {name: path.parent / row[name] for name in FILES if row.get(name)}
    frames = {name: _frame(where, name, row.get(name, "")) for name in FRAMES}
    texts = {name: row.get(name) or None for name in TEXTS}
    case = make_case(path.parent, image, whose.name, None, texts["group"], _split(where, row), whose.how)
    case = replace(case, sex=texts["sex"], vendor=texts["vendor"], ed=frames["ed"], es=frames["es"])
    ef, edv = (_number(where, name, row.get(name, "")) for name in NUMBERS)
    case = replace(case, ef=ef, edv=edv)
    if texts["dataset"]:
        case = replace(case, dataset=texts["dataset"], dataset_named=True)
    return replace(_labelled(case, files, frames), order=_order(where, row.get("labels", "")), mask=files.get("mask"))


def _labelled(case: Case, files: dict[str, Path], frames: dict[str, int | None]) -> Case:
    """Return a case with label maps, those of single frames at their frames where these are known."""
    if frames["frame"] is None:
        case = replace(case, label=files.get("label"))
    pairs = (("label", "frame"), ("label_ed", "ed"), ("label_es", "es"))
    at = [(frames[frame], files[label]) for label, frame in pairs if label in files]
    placed = [(n, path) for n, path in at if n is not None]
    loose = [path for n, path in at if n is None and path != case.label]
    return replace(case, phase_labels=tuple(placed), loose_labels=tuple(loose))


def _order(where: str, text: str) -> LabelOrder:
    try:
        return LabelOrder.parse(text) if text else ACDC
    except UsageError as error:
        raise DataError(error.code, where, f"labels {error.what}", error.facts, error.hint) from None


def _frame(where: str, name: str, text: str) -> int | None:
    """Return the number of a frame, from 0, of one from 1."""
    if text and not (text.isascii() and text.isdecimal() and 0 < int(text) < 10**5):
        raise DataError("range", where, f"{name} is a whole number from 1", f"got '{text[:20]}'")
    return int(text) - 1 if text else None


def _number(where: str, name: str, text: str) -> float | None:
    """Return a number, None where nothing is said."""
    if text.lower() in ("", "n/a", "na", "nan", "none", "unknown"):
        return None
    # float() would take `inf`, `1_0` and digits of other scripts.
    if not re.fullmatch(r"[-+]?[0-9]{0,9}\.?[0-9]{1,18}", text):
        raise DataError("range", where, f"{name} is a number", f"got '{text[:20]}'")
    return float(text)


def _check_columns(where: str, row: dict[str, str], subject_column: str) -> None:
    """Refuse a missing `image` or subject column and what looks like a misspelt one: a lost `split` would leak."""
    required = ["image"] if subject_column == "subject" else ["image", subject_column]
    for name in required:
        if name not in row:
            raise DataError("unknown-key", where, f"there is no column '{name}'", hint=did_you_mean(name, row))
    absent = [c for c in COLUMNS if c not in row]
    for name in row:
        near = get_close_matches(name, absent, 1, 0.8) if name not in COLUMNS else []
        if near and name != subject_column:
            raise DataError("unknown-key", where, f"there is no column '{name}'", hint=f"did you mean '{near[0]}'?")


def _split(where: str, row: dict[str, str]) -> str | None:
    name = row.get("split", "").lower()
    if name and name not in SPLITS:
        raise DataError("unknown-key", where, f"there is no split '{name}'", hint=did_you_mean(name, SPLITS))
    return SPLITS[name] if name else None


def _files(case: Case) -> list[Path]:
    return [case.image, *case.label_maps, *([case.mask] if case.mask else [])]


def _check_files(path: Path, where: list[str], cases: list[Case]) -> None:
    """Refuse a manifest that lists files which are not there; say how many and in which line the first is."""
    reasons = [_reason(case) for case in cases]
    missing = [(line, reason) for line, reason in zip(where, reasons, strict=True) if reason is not None]
    if missing:
        facts = f"{len(missing)} of {len(cases)} rows"
        line, reason = missing[0]
        raise DataError(reason.code, line, f"lists a file that {reason.what}", facts,
                        "paths are relative to the manifest")  # fmt: skip


def _reason(case: Case) -> CmrgzError | None:
    """Return why a file of a case cannot be read, None where all can."""
    reasons = (why_not(path, DataError) for path in _files(case))
    return next(filter(None, reasons), None)
