"""A summary as data: all of it as JSON, and its two long tables as CSV."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from cmrgz.evaluation.summary.model import Summary


def to_json(summary: Summary) -> bytes:
    """Return all of a summary as JSON; NaN is null."""
    return (json.dumps(_plain(asdict(summary)), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def to_csv(kind: type[Any], rows: Sequence[Any]) -> bytes:
    """Return rows of a kind, one a line, all digits; an empty field is not defined."""
    file = io.StringIO()
    # csv ends lines with \r\n; equal runs shall give equal bytes on every system
    writer = csv.DictWriter(file, [f.name for f in fields(kind)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(row).items()})
    return file.getvalue().encode()


def _plain(value: Any) -> Any:
    """Return what JSON knows: it has no number that is not finite, and many readers refuse NaN."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
