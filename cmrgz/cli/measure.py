"""`cmrgz measure`: volumes, ejection fractions and mass of scans, and of draws of what is hidden of them."""

import csv
import io
import json
import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cmrgz.cli.examples import examples
from cmrgz.cli.inpaint import Axes, Batch, Device, Labels, MaskLabel, Model, MoreScans, Options, Scans, Seed, batch
from cmrgz.errors import CmrgzError, PartialError, UsageError

if TYPE_CHECKING:
    from cmrgz.anatomy.measure import Measured, Posterior

LOG = logging.getLogger("cmrgz.measure")
EXAMPLES = examples(
    ("Volumes, ejection fractions and mass", "cmrgz measure scan.nii.gz"),
    ("Of all scans of a data set, into a table", "cmrgz measure DATA -o volumes.csv"),
    (
        "What is sure of them where every other slice is missing",
        "cmrgz measure scan.nii.gz -m ldm-unet --mask slices:every=2 --samples 19",
    ),
)
COLUMNS = {
    "LVEDV": "LVEDV ml", "LVESV": "LVESV ml", "LVSV": "LVSV ml", "LVEF": "LVEF %", "LVM_ED": "LVM g",
    "RVEDV": "RVEDV ml", "RVESV": "RVESV ml", "RVSV": "RVSV ml", "RVEF": "RVEF %",
}  # fmt: skip
"""The quantities of the table and its heads; fractions are shown in per cent."""
ENDING = ".csv"


def command(
    scan: Scans = None,
    more: MoreScans = None,
    mask: Annotated[
        str | None,
        typer.Option(help="Hide this, as for inpaint, and measure draws of it too; goes with --model [nothing]."),
    ] = None,
    mask_label: MaskLabel = None,
    model: Model = None,
    samples: Annotated[int | None, typer.Option(help="Draws, with --mask [9].")] = None,
    set_: Options = None,
    seed: Seed = 0,
    device: Device = "auto",
    batch_size: Batch = "auto",
    axes: Axes = None,
    labels: Labels = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A .csv file to write as well [none].")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: ml, g, and fractions of 1.")] = False,
) -> None:
    """Measure volumes, ejection fractions and mass of cines.

    The cines are short-axis ones. Not a medical device.

    By their label maps, where they have some, and by the bundled segmenter. With --mask and --model what is hidden is
    drawn several times, each draw is measured, and the median and an interval of each quantity are told.
    """
    sources = [*(scan or []), *(more or [])]
    if not sources:
        raise UsageError("usage", "SCAN", "is missing", hint="see cmrgz measure --help")
    # Refused, not ignored: who typed it thinks that something is hidden.
    if mask is None and (samples is not None or mask_label is not None or set_):
        name = "--samples" if samples is not None else "--mask-label" if mask_label is not None else "--set"
        raise UsageError("usage", f"option {name}", "goes with --mask", hint="e.g. --mask slices:every=2")
    _check_name(output)
    from cmrgz.cli.devices import pick
    from cmrgz.cli.progress import progress
    from cmrgz.scans.files import check
    from cmrgz.scans.scans import find_scans

    found = find_scans(sources, None, axes, labels)
    # Before the work: a table that cannot be written is found out about at once.
    if output is not None:
        check([output], [path for case in found for path in (case.image, *case.label_maps)], overwrite)
    posterior = None if mask is None else _posterior(mask, mask_label, model, samples, set_, seed, device, batch_size)
    from cmrgz.anatomy.measure import measure_scans

    refused: list[CmrgzError] = []

    def failed(error: CmrgzError) -> None:
        refused.append(error)
        LOG.error(error.line)

    with progress("items") as report:
        results = measure_scans(found, posterior, pick(device), failed=failed, report=report)
    rows = [_row(result) for result in results]
    _write(output, rows, overwrite)
    typer.echo(_json(rows, refused) if as_json else os.fsencode("\n".join(_table(results))))
    if refused:
        what = f"{len(refused)} of {len(found)} scans were refused"
        raise PartialError("partial", "cmrgz measure", what, hint="the others are done")


def _check_name(output: Path | None) -> None:
    if output is not None and output.suffix.lower() != ENDING:
        raise UsageError("usage", "option --output", "is a table", f"got {output}", f"end its name in {ENDING}")


def _posterior(
    mask: str,
    mask_label: Literal["hidden", "known"] | None,
    model: str | None,
    samples: int | None,
    set_: list[str] | None,
    seed: int,
    device: str,
    batch_size: str,
) -> "Posterior":
    """Return what to hide and how to draw it."""
    from cmrgz.cli.devices import pick, range_checked
    from cmrgz.scans.hiding import Hiding

    if model is None:
        raise UsageError("usage", "option --model", "is missing", hint="see cmrgz models")
    range_checked("--seed", seed, 0, 2**63 - 1)
    # Nine is the least for 80 %: one more draw lies between the least and the greatest of n with (n - 1) / (n + 1).
    number = range_checked("--samples", 9 if samples is None else samples, 1, 1000)
    hiding, in_flight = Hiding.of(mask, seed, mask_label), batch(batch_size)
    from cmrgz.anatomy.measure import Posterior
    from cmrgz.scans.choice import Chosen

    return Posterior(Chosen.of(model, set_ or [], (), pick(device), in_flight), hiding, number, seed)


# ---------------------------------------------------------------------- what is told
def _row(result: "Measured") -> dict[str, Any]:
    """Return a measurement in JSON's types: frames from 1, volumes in ml, masses in g, fractions of 1."""
    row: dict[str, Any] = {"scan": str(result.scan), "source": result.source, "phases": result.shape[0]}
    row |= {"slices": result.shape[1], "ed": result.ends[0] + 1, "es": result.ends[1] + 1}
    row |= {name: _finite(value) for name, value in result.values.items()}
    if not result.draws:
        return row
    from cmrgz.anatomy.measure import share_of

    number = len(next(iter(result.draws.values())))
    row |= {"hidden_fraction": result.hidden, "samples": number, "interval": round(share_of(number), 6)}
    for end, values in (("low", result.low), ("high", result.high)):
        row[end] = {name: _finite(value) for name, value in values.items()}
    return row | {"draws": {name: list(map(_finite, values)) for name, values in result.draws.items()}}


def _finite(value: float) -> float | None:
    # JSON has no NaN; six digits are more than any segmenter is good for.
    return round(value, 6) if math.isfinite(value) else None


def _json(rows: list[dict[str, Any]], refused: list[CmrgzError]) -> str:
    return json.dumps({"measured": rows, "failed": [error.parts for error in refused]}, indent=1)


def _write(output: Path | None, rows: list[dict[str, Any]], overwrite: bool) -> None:
    """Write a line a measurement; the ends of intervals are columns `LVEF_low` and `LVEF_high`."""
    if output is None:
        return
    from cmrgz.durable import atomic_write

    flat = [{k: v for k, v in row.items() if not isinstance(v, dict)} | _ends(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    # Newlines of one character: a table is the same file on every system, and can be compared.
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    atomic_write(output, text.getvalue().encode("utf-8", "surrogateescape"), overwrite=overwrite)


def _ends(row: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}_{end}": v for end in ("low", "high") for name, v in row.get(end, {}).items()}


def _table(results: "list[Measured]") -> list[str]:
    """Return the lines of a table: a scan and a source a line, of draws with their intervals."""
    heads = ["scan", "by", "phases", "slices", "ED", "ES", *COLUMNS.values()]
    lines = [heads, *map(_cells, results)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    found = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return [*found, *_notes(results)]


def _cells(result: "Measured") -> list[str]:
    from cmrgz.cli.results import shown

    facts = [result.source, *map(str, (*result.shape[:2], result.ends[0] + 1, result.ends[1] + 1))]
    return [shown(result.scan), *facts, *(_cell(result, name) for name in COLUMNS)]


def _cell(result: "Measured", name: str) -> str:
    """Return a quantity, `-` where there is none, and the interval of draws."""
    factor = 100 if name.endswith("EF") else 1
    ends = (result.low.get(name, math.nan), result.high.get(name, math.nan))
    told = [f"{value * factor:.0f}" if math.isfinite(value) else "-" for value in (result.values[name], *ends)]
    return f"{told[0]} ({told[1]}..{told[2]})" if math.isfinite(ends[0]) else told[0]


def _notes(results: "list[Measured]") -> list[str]:
    numbers = {len(next(iter(result.draws.values()))) for result in results if result.draws}
    if not numbers:
        return []
    from cmrgz.anatomy.measure import share_of

    number = numbers.pop()
    held = f", in brackets the interval of {100 * share_of(number):.0f} %" if number > 1 else ""
    return [f"draws: the median of {number}{held}; it tells of what is hidden, not of the segmenter's error"]
