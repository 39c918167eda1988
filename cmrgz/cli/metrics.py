"""`cmrgz metrics`: what `cmrgz evaluate` measures."""

import json
from typing import Annotated, Any

import typer

from cmrgz.errors import UsageError, did_you_mean


def command(
    name: Annotated[str | None, typer.Argument(help="A metric, for all that is known of it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the metrics of `cmrgz evaluate`: of frames, ratios of their means, and of sets of results."""
    rows = _rows()
    if name is not None:
        if name not in rows:
            raise UsageError("unknown-metric", name, "no such metric", hint=did_you_mean(name, rows))
        rows = {name: rows[name]}
    if as_json:
        typer.echo(json.dumps(list(rows.values()), indent=1))
        return
    width = max(map(len, rows))
    for row in rows.values():
        facts = [f"{row['better']} is better" if row["better"] in ("higher", "lower") else f"ideal: {row['better']}"]
        facts = ["description"] if row["better"] == "none" else facts
        facts += [row["unit"]] if row["unit"] else []
        facts += [f"{row['least']} {row['items']} or more"] if row["least"] > 1 else []
        typer.echo("  ".join([row["name"].ljust(width), f"{row['kind']:<6}", ", ".join(facts), row["cite"]]).rstrip())


def _rows() -> dict[str, dict[str, Any]]:
    """Return what there is to know of each metric, by name."""
    from cmrgz.evaluation.metrics import FRAME_METRICS, RATIOS
    from cmrgz.evaluation.metrics.sets import SET_METRICS

    tables = (("frame", "samples", FRAME_METRICS), ("ratio", "samples", RATIOS), ("set", "results", SET_METRICS))
    return {
        m.name: {
            "name": m.name,
            "kind": kind,
            "better": m.better,
            "unit": getattr(m, "unit", ""),
            "least": getattr(m, "least", 1),
            "items": items,
            "cite": m.cite,
        }
        for kind, items, metrics in tables
        for m in metrics.values()
    }
