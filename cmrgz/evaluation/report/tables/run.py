"""What was run: cost, gates, masks, settings."""

import json
from collections.abc import Mapping
from typing import Any

from cmrgz.evaluation.report.document import Cell, Column, Row, Table, Tone
from cmrgz.evaluation.report.names import patterns
from cmrgz.evaluation.report.numerals import DASH, count, number, share
from cmrgz.evaluation.report.tables.cells import METHOD, by_method, present
from cmrgz.evaluation.summary.model import MethodRow, Summary

TONES: dict[str, Tone] = {"pass": "good", "fail": "bad", "unknown": "warn"}
PATHS = ("data", "bank")
"""Options that hold names of files, which go into no file."""


def cost(summary: Summary) -> tuple[Table, ...]:
    """Return T5: what a draw costs."""

    def cells(method: MethodRow) -> list[Cell]:
        texts = (method.family, str(method.samples), _seconds(method.seconds), count(method.calls))
        return [*map(Cell, texts), Cell(count(round(method.memory_mb)) if method.memory_mb > 0 else DASH)]

    heads = (Column("Samples"), Column("Seconds", "a draw"), Column("Network calls", "a draw"), Column("Memory", "MB"))
    note = "On the device of this run; memory is the most that the process had held by then."
    columns = (METHOD, Column("Family", words=True), *heads)
    return present([Table("Cost", columns, by_method(summary, cells), note)])


def _seconds(value: float) -> str:
    return "< 0.001" if 0 < value < 0.001 else number(value)


def gates(summary: Summary) -> tuple[Table, ...]:
    """Return what must hold of a run."""
    rows: tuple[Row, ...] = tuple(
        (Cell(gate.name), Cell(gate.status, tone=TONES[gate.status]), Cell(gate.detail)) for gate in summary.gates
    )
    columns = (Column("Gate", words=True), Column("Status", words=True), Column("What was found", words=True))
    return present([Table("Gates", columns, rows, "No number of a run counts unless each of these holds.")])


def masks(summary: Summary) -> tuple[Table, ...]:
    """Return the masks and what they hid."""
    ordered = [mask for _, own in patterns(summary.masks) for mask in own]
    rows: tuple[Row, ...] = tuple(
        (Cell(mask.spec), Cell(mask.pattern), Cell(share(mask.ratio)), Cell(share(mask.hidden))) for mask in ordered
    )
    columns = (Column("Mask", words=True), Column("Pattern", words=True), Column("To hide"), Column("Hidden"))
    return present([Table("Masks", columns, rows, "Every method sees the same mask of a frame.", folded=True)])


def settings(summary: Summary) -> tuple[Table, ...]:
    """Return the settings of the run and of its methods."""
    plain = {k: v for k, v in summary.settings.items() if not isinstance(v, list | tuple | Mapping)}
    rows: tuple[Row, ...] = tuple((Cell(name), Cell(str(value))) for name, value in plain.items())
    options: tuple[Row, ...] = tuple((Cell(name), Cell(text)) for name, text in _options(summary).items())
    columns = (Column("Setting", words=True), Column("Value", words=True))
    both = (*rows, "Options of the sweep", *options) if options else rows
    return present([Table("Settings", columns, both, folded=True), _methods(summary)])


def public(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options without names of files."""
    return {name: ["DATA"] * len(value) if name in PATHS else value for name, value in options.items()}


def _options(summary: Summary) -> dict[str, str]:
    given = public(summary.settings.get("options", {}))
    return {name: _text(value) for name, value in given.items()}


def _methods(summary: Summary) -> Table:
    """Return what the result of each method depends on."""
    rows: list[Row] = []
    for method in summary.settings.get("methods", ()):
        rest = {k: v for k, v in method.items() if k not in ("name", "kind", "family", "options")}
        facts = {**rest, **method.get("options", {})}
        rows.append((Cell(str(method.get("name", ""))), Cell("; ".join(f"{k} {_text(v)}" for k, v in facts.items()))))
    note = "Hashes are of weights and of training frames."
    return Table("Methods", (METHOD, Column("Depends on", words=True)), tuple(rows), note, folded=True)


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or DASH
    return value if isinstance(value, str) else json.dumps(value)
