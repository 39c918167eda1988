"""What a sweep would take, before it is run."""

import dataclasses
from pathlib import Path
from typing import Any

from cmrgz.durable import exists
from cmrgz.evaluation.cells import Unit
from cmrgz.evaluation.store import JOURNAL, read_lines
from cmrgz.evaluation.sweep import Sweep, attempt, memory_mb
from cmrgz.plugin import Progress

FEW = 2
"""Samples that are drawn to see how long one takes."""


def estimate(sweep: Sweep, root: Path, report: Progress | None = None) -> dict[str, Any]:
    """Return the cells of a sweep and how long those that are not done will take.

    A method that the run has no time of draws two samples of one crop, which are thrown away. The folder of the run
    need not be there; `report` is told the methods timed.
    """
    lines = read_lines(root) if exists(root / JOURNAL) else []
    done = {cell for line in lines for cell in line.cells}
    units = list(sweep.units(done))
    methods = {unit.method.name: unit for unit in units}  # the last unit of each: masks differ little in what they take
    # What the run itself took is worth more than two draws: it has the weights in memory and a warm device.
    timed = [line for line in lines if line.cells and "unit_seconds" in line.facts]
    seconds = {line.facts["method"]: line.facts["unit_seconds"] / len(line.cells) for line in timed}
    rows: list[dict[str, Any]] = []
    for number, (name, unit) in enumerate(methods.items(), 1):
        cells = sum(len(u.cells) for u in units if u.method.name == name)
        each = seconds[name] if name in seconds else _timed(sweep, unit)
        rows.append({"method": name, "cells": cells, "seconds": None if each is None else cells * each})
        if report is not None:
            report(number, len(methods))
    return {
        "cells": len(sweep),
        "done": len(sweep) - sum(len(unit.cells) for unit in units),
        "frames": len(sweep.lineup.frames),
        "subjects": len({frame.subject for frame in sweep.lineup.frames}),
        "masks": sweep.masks,
        "samples": sweep.options.samples,
        "seconds": sum((row["seconds"] for row in rows if row["seconds"] is not None), 0.0),
        "memory_mb": memory_mb(),
        "methods": rows,
    }


def _timed(sweep: Sweep, unit: Unit) -> float | None:
    """Return the seconds a cell, or None for a method that fails."""
    crop, few = unit.crop_of(0)[0], min(FEW, unit.samples)
    result = attempt(sweep.scorer, dataclasses.replace(crop, samples=few), leak=False)
    unit.method.close()  # the next one may be as large
    return result[1]["unit_seconds"] * unit.samples / few / len(crop.cells) if isinstance(result, tuple) else None


def describe(plan: dict[str, Any]) -> str:
    """Return an estimate as text."""
    head = (
        f"{plan['cells']} cells ({plan['done']} done): {plan['frames']} frames of {plan['subjects']} patients, "
        f"{len(plan['masks'])} masks ({', '.join(plan['masks'])}), {plan['samples']} samples"
    )
    rows = [
        f"  {row['method']:<40} {row['cells']:>7} cells  "
        + ("fails" if row["seconds"] is None else f"{row['seconds']:8.0f} s")
        for row in plan["methods"]
    ]
    return "\n".join([head, *rows, f"about {plan['seconds']:.0f} s on this machine, {plan['memory_mb']:.0f} MB"])
