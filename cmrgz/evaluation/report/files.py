"""The files of a report: pages, all of a summary as JSON, and its two long tables as CSV."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cmrgz.durable import atomic_write, remove
from cmrgz.evaluation.report import pages
from cmrgz.evaluation.report.content import document
from cmrgz.evaluation.report.pictures import PAGE, Pictures
from cmrgz.evaluation.report.viewer import viewer_page
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import Estimate, SetRow


def write(summary: Summary, pictures: Pictures, root: Path) -> list[Path]:
    """Write a report: `report.html`, `report.md`, `estimates.csv`, `sets.csv`, `summary.json` and `pictures.html`.

    The same summary and pictures give the same bytes. The report stands alone: it loads nothing and runs nothing. The
    last is the viewer of its pictures, where it has some, to which it links.

    Args:
        summary: All numbers.
        pictures: By method and mask, the pictures of the frames that are shown; a method may be missing.
        root: A folder that is there; its files of these names are replaced.

    Returns:
        The files.

    Raises:
        ResourceError: The disk is full or may not be written.
    """
    report = document(summary, pictures)
    contents = {
        "report.html": pages.html(report).encode(),
        "report.md": pages.markdown(report).encode(),
        "estimates.csv": to_csv(Estimate, summary.estimates),
        "sets.csv": to_csv(SetRow, summary.sets),
        "summary.json": to_json(summary),
    }
    if viewer := viewer_page(summary, pictures):
        contents[PAGE] = viewer
    else:
        remove(root / PAGE)
    for name, content in contents.items():
        # a run that is still going on may be reported, and its report be open in a browser
        atomic_write(root / name, content, overwrite=True)
    return [root / name for name in contents]


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
