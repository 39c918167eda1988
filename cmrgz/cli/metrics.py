"""`cmrgz metrics`: what `cmrgz evaluate` measures."""

import json
import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Any

import typer

from cmrgz.cli.examples import examples
from cmrgz.errors import UsageError, did_you_mean

EXAMPLES = examples(
    ("What is measured, the headline metrics first", "cmrgz metrics"),
    ("All that is known of one metric", "cmrgz metrics energy-hole"),
    ("The same of all of them, for a program", "cmrgz metrics --json"),
)
HEADLINES = (
    "psnr-hole", "ssim-hole", "haarpsi-hole", "energy-hole", "kappa", "coverage-hole", "kid", "dice-lv",
    "area-error-lv",
)  # fmt: skip
"""The metrics that are listed first: error, structure, distribution, calibration, sets, and the heart's volume."""
DIRECTIONS = {"none": "description", "one": "best at 1", "zero": "best at 0"}
SHOWN = 13
"""Columns of what is good of a value."""


def command(
    name: Annotated[str | None, typer.Argument(help="A metric, for all that is known of it [all].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what `cmrgz evaluate` measures, with units and direction.

    Of frames, ratios of their means, and of sets of results. A name ends in the region that is measured.
    """
    rows = _rows()
    if name is not None:
        if name not in rows:
            raise UsageError("unknown-metric", name, "no such metric", hint=did_you_mean(name, rows))
        rows = {name: rows[name]}
    if as_json:
        typer.echo(json.dumps(list(rows.values()), indent=1))
        return
    typer.echo("\n".join(_lines(rows) if name is None else _page(rows[name])))


def _lines(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line a metric under the title of its group, the headlines first."""
    width = max(map(len, rows))
    groups: dict[str, list[dict[str, Any]]] = {"Headlines": [rows[name] for name in HEADLINES if name in rows]}
    for row in rows.values():
        # Not twice: a listing has one line a metric, so that it can be counted and searched.
        if row["name"] not in HEADLINES:
            groups.setdefault(row["group"], []).append(row)
    lines: list[str] = []
    for title, own in groups.items():
        lines += ["", title, *(_line(row, width) for row in own)]
    return lines[1:]


def _line(row: dict[str, Any], width: int) -> str:
    return f"  {row['name']:<{width}}  {_direction(row):<{SHOWN}}  {row['unit']:<5}  {row['summary']}".rstrip()


def _direction(row: dict[str, Any]) -> str:
    return DIRECTIONS.get(row["better"], f"{row['better']} better")


def _page(row: dict[str, Any]) -> list[str]:
    """Return all that is known of a metric."""
    facts = {"group": row["group"], "direction": _direction(row), "unit": row["unit"], "source": row["cite"]}
    facts["needs"] = f"{row['least']} {row['items']} or more" if row["least"] > 1 else ""
    return [row["name"], row["summary"], "", *(f"{key:<9}  {value}" for key, value in facts.items() if value)]


def _rows() -> dict[str, dict[str, Any]]:
    """Return what there is to know of each metric, by name."""
    from cmrgz.evaluation.metrics import FRAME_METRICS, RATIOS
    from cmrgz.evaluation.metrics.sets import SET_METRICS

    ratios, sets = "Ratios of means over frames", "Sets of results, beside sets of scans"
    rows = [
        *(_row(m, "frame", "samples", _title(_module(m.of)), _sentence(m.of)) for m in FRAME_METRICS.values()),
        *(_row(m, "ratio", "samples", ratios, f"{m.over} over {m.under}.") for m in RATIOS.values()),
        *(_row(m, "set", "results", sets, _sentence(m.of)) for m in SET_METRICS.values()),
    ]
    return {row["name"]: row for row in rows}


def _row(metric: Any, kind: str, items: str, group: str, summary: str) -> dict[str, Any]:
    return {
        "name": metric.name,
        "kind": kind,
        "better": metric.better,
        "unit": getattr(metric, "unit", ""),
        "least": getattr(metric, "least", 1),
        "items": items,
        "cite": metric.cite,
        "group": group,
        "summary": summary,
    }


def _function(of: Callable[..., float]) -> Callable[..., float]:
    return of.func if isinstance(of, partial) else of


def _module(of: Callable[..., float]) -> str:
    return str(getattr(_function(of), "__module__", ""))


def _title(module: str) -> str:
    """Return what a family of metrics is, from the first line of its file."""
    # The file of a family says what it measures; a table of titles here would go stale.
    first = (getattr(sys.modules.get(module), "__doc__", None) or "Other").splitlines()[0]
    return re.split(r"[:.,] |\.$", first)[0]


def _sentence(of: Callable[..., float]) -> str:
    """Return the first sentence of a metric's docstring, which need not say that it returns it."""
    told = _of_lines((_function(of).__doc__ or "").splitlines())
    text = re.sub(r"^Return (the |a )?", "", re.split(r"(?<=[^.]\.) (?=[A-Z])", told)[0])
    return text[:1].upper() + text[1:]


def _of_lines(lines: Iterable[str]) -> str:
    """Return the first paragraph of a docstring as one line."""
    paragraph: list[str] = []
    for line in map(str.strip, lines):
        if not line:
            break
        paragraph.append(line)
    return " ".join(paragraph)
