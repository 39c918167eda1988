"""A summary as data: JSON of all of it, with a reader back, and CSV of its two long tables."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from cmrgz import records
from cmrgz.durable import read_whole
from cmrgz.errors import CheckpointError
from cmrgz.evaluation.summary.model import Estimate, SetRow, Summary
from cmrgz.evaluation.summary.rows import NAN


def to_json(summary: Summary) -> bytes:
    """Return all of a summary as JSON; NaN is null."""
    values = {f.name: getattr(summary, f.name) for f in fields(summary) if not f.name.startswith("_")}
    return (json.dumps(_plain(values), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read(path: Path) -> Summary:
    """Return a summary that was written as JSON.

    Raises:
        CheckpointError: `not-found`, or `syntax`: the file is no summary.
    """
    try:
        return from_json(bytes(read_whole(path, CheckpointError)), str(path))
    except (ValueError, TypeError, KeyError, AttributeError):
        hint = "make it again with: cmrgz evaluate report RUN"
        raise CheckpointError("syntax", str(path), "is no summary of a run", hint=hint) from None


def from_json(data: bytes, where: str = "summary") -> Summary:
    """Return a summary from its JSON.

    Raises:
        CheckpointError: `syntax`: it is no JSON.
        TypeError: It is no summary.
    """
    values = records.parse(data, where, code="syntax")
    hints = get_type_hints(Summary)
    return Summary(**{name: _typed(value, hints[name]) for name, value in values.items()})


def estimates_csv(summary: Summary) -> bytes:
    """Return the estimates, one a line, all digits; an empty field is not defined."""
    return _csv(Estimate, summary.estimates)


def sets_csv(summary: Summary) -> bytes:
    """Return the set metrics, one a line, all digits; an empty field is not defined."""
    return _csv(SetRow, summary.sets)


def _csv(kind: type[Any], rows: Sequence[Any]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, [f.name for f in fields(kind)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(row).items()})
    return file.getvalue().encode()


def _plain(value: Any) -> Any:
    """Return what JSON knows; numbers that are not finite become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _typed(value: Any, kind: Any) -> Any:
    """Return a value of JSON as the type that a field has."""
    inner = get_args(kind)
    if isinstance(value, list) and inner:
        return tuple(_typed(item, inner[0]) for item in value)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: _typed(item, hints[name]) for name, item in value.items()})
    return NAN if value is None and kind is float else value
