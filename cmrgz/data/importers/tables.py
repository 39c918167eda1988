"""What a data set says of its patients: a table, or a file of keys and values, beside the scans or above them."""

import math
import re
from functools import cache
from pathlib import Path

from cmrgz.data.importers.manifest import read_rows
from cmrgz.durable import is_file, matching, read_bytes
from cmrgz.errors import DataError

LEVELS = 4
"""How many folders up from a scan a table may lie."""
LARGEST = 1 << 16
"""Bytes of a file of keys and values that are looked at."""

Row = dict[str, str]


class Tables:
    """The tables of one data set, each read once."""

    def __init__(self, pattern: str, key: str) -> None:
        """Look for files that match `pattern`, whose column `key` names the patient."""
        self.key = key.lower()
        self._above = cache(lambda folder: _above(folder, pattern))
        self._rows = cache(self._read)

    def of(self, image: Path, subject: str) -> Row:
        """Return what the nearest table above a scan says of its patient; nothing where there is none."""
        table = self._above(image.absolute().parent)
        return self._rows(table).get(subject.lower(), {}) if table else {}

    def _read(self, path: Path) -> dict[str, Row]:
        return {row.get(self.key, "").lower(): row for _, row in read_rows(path)}


def _above(folder: Path, pattern: str) -> Path | None:
    for level in [folder, *folder.parents][: LEVELS + 1]:
        if found := [path for path in matching(level, pattern) if is_file(path)]:
            return found[0]
    return None


def read_keys(path: Path) -> Row:
    """Return the lines `Key: value` of a text file, keys in lower case; nothing where there is no file."""
    # latin-1 reads any bytes; the keys that are looked for are ASCII.
    text = read_bytes(path, DataError, LARGEST).decode("latin-1") if is_file(path) else ""
    return {key.strip().lower(): value.strip() for key, value in re.findall(r"^([^:\n]+):(.*)$", text, re.MULTILINE)}


def frame(text: str | None, first: int = 0) -> int | None:
    """Return the number of a frame from 0, of one that counts from `first`; None where there is none."""
    number = int(text) - first if text and text.isascii() and text.isdigit() and len(text) < 6 else -1
    return number if number >= 0 else None


def word(text: str | None) -> str | None:
    """Return a short text such as a diagnosis or the name of a vendor; None where nothing is said."""
    return text if text and len(text) <= 40 and text.lower() not in ("n/a", "nan", "none", "unknown") else None


def number(text: str | None) -> float | None:
    """Return a number, None where there is none."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def sex(text: str | None) -> str | None:
    """Return F or M of what a data set says, None where it says neither."""
    words = {"f": "F", "female": "F", "w": "F", "m": "M", "male": "M"}
    return words.get((text or "").lower())
