"""What was run: cost, gates, masks, settings."""

import json
from collections.abc import Mapping
from typing import Any

from cmrgz.evaluation.report.document import Cell, Table, Tone
from cmrgz.evaluation.report.names import notes, ordered
from cmrgz.evaluation.report.numerals import DASH, count, number, share
from cmrgz.evaluation.report.tables.build import METHOD, by_kind, numbers, table, words
from cmrgz.evaluation.summary.model import Summary

TONES: dict[str, Tone] = {"pass": "good", "fail": "bad", "unknown": "warn"}
PATHS = ("data", "bank")
"""Options that hold names of files, which go into no file."""


def cost(summary: Summary) -> tuple[Table, ...]:
    """Return what a draw costs."""
    fields = [
        METHOD,
        words("Family", lambda method: method.family),
        numbers("Samples", lambda method: str(method.samples), "a frame"),
        numbers("Seconds", lambda method: _seconds(method.seconds), "a sample"),
        numbers("Network calls", lambda method: count(method.calls), "a sample"),
        # NaN is not above 0: of what is no model, memory may not have been told
        numbers("Memory", lambda method: count(round(method.memory_mb)) if method.memory_mb > 0 else DASH, "MB"),
    ]
    return table("Cost", by_kind(summary), fields, notes("cost"))


def _seconds(value: float) -> str:
    return "< 0.001" if 0 < value < 0.001 else number(value)


def gates(summary: Summary) -> tuple[Table, ...]:
    """Return what must hold of a run."""
    fields = [
        words("Gate", lambda gate: gate.name),
        words("Status", lambda gate: Cell(gate.status, tone=TONES[gate.status])),
        words("What was found", lambda gate: gate.detail),
    ]
    return table("Gates", [("", summary.gates)], fields, notes("gates"))


def masks(summary: Summary) -> tuple[Table, ...]:
    """Return the masks and what they hid."""
    fields = [
        words("Mask", lambda mask: mask.spec),
        words("Pattern", lambda mask: mask.pattern),
        numbers("To hide", lambda mask: share(mask.ratio)),
        numbers("Hidden", lambda mask: share(mask.hidden)),
    ]
    return table("Masks", [("", ordered(summary.masks))], fields, notes("masks"), folded=True)


def settings(summary: Summary) -> tuple[Table, ...]:
    """Return the settings of the run but its options, and what the result of each method depends on."""
    # its lists and tables, such as the plugins, are for programs: they stand in sweep.json
    single = {k: v for k, v in summary.settings.items() if not isinstance(v, list | tuple | Mapping)}
    methods = [(method.get("name", ""), _facts(method)) for method in summary.settings.get("methods", ())]
    return (
        *table("Settings", [("", single.items())], _pairs("Setting", "Value"), folded=True),
        *table("Methods", [("", methods)], _pairs("Method", "Depends on"), notes("methods"), folded=True),
    )


def _pairs(name: str, value: str) -> list[Any]:
    return [words(name, lambda pair: str(pair[0])), words(value, lambda pair: _text(pair[1]))]


def public(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options without names of files."""
    return {name: ["DATA"] * len(value) if name in PATHS else value for name, value in options.items()}


def _facts(method: Mapping[str, Any]) -> str:
    rest = {k: v for k, v in method.items() if k not in ("name", "kind", "family", "options")}
    return "; ".join(f"{k} {_text(v)}" for k, v in {**rest, **method.get("options", {})}.items())


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)
