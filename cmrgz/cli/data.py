"""`cmrgz data`: render phantoms, check a data set, make a bank of it."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrgz.cli.examples import examples
from cmrgz.cli.inpaint import Axes, Labels
from cmrgz.errors import CmrgzError, UsageError

if TYPE_CHECKING:
    from cmrgz.data.cases import Found

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

BAD_DATA = 3


@app.callback(invoke_without_command=True)
def data(context: typer.Context) -> None:
    """Render phantoms, check a data set, or make a bank of it."""
    # An error with exit code 2, where Typer would print the help and end as if all were well.
    if context.invoked_subcommand is None:
        raise UsageError("unknown-command", "cmrgz data", "expected a command", hint="see cmrgz data --help")


@app.command(
    epilog=examples(
        ("Four hearts with labels and exact volumes", "cmrgz data phantom phantoms"),
        (
            "Twenty of one disease, quickly, for a test",
            "cmrgz data phantom DCM --subjects 20 --group DCM --lite --size 64",
        ),
    )
)
def phantom(
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    subjects: Annotated[int, typer.Option(help="How many subjects.", min=1)] = 4,
    size: Annotated[int, typer.Option(help="Pixels along a side.")] = 128,
    spacing: Annotated[float | None, typer.Option(help="Pixel size in mm [230.4 / size].")] = None,
    phases: Annotated[int, typer.Option(help="Frames per cycle; 12 or more for ejection fractions.", min=1)] = 12,
    slices: Annotated[int | None, typer.Option(help="Only so many middle slices [all].", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first subject; the next ones follow.", min=0)] = 0,
    group: Annotated[str | None, typer.Option(help="Disease: NOR (none), DCM, HCM, MINF or RV [drawn].")] = None,
    lite: Annotated[bool, typer.Option("--lite", help="Fast: no through-plane partial volume, no RV fit.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="No misregistration, trabeculae, atria, outflow.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    workers: Annotated[int | None, typer.Option(help="Processes that render [one a processor].", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the truth of each subject as JSON.")] = False,
) -> None:
    """Render virtual subjects with labels and exact volumes.

    The folder holds a cine and a label map of each, and a manifest: a data set by itself.
    """
    from cmrgz.cli.progress import progress
    from cmrgz.data.phantom import Phantom, sample_subject
    from cmrgz.data.phantom.files import write_dataset
    from cmrgz.data.phantom.processes import available

    sample_subject(seed, group)  # refuse a wrong group before anything is written
    # Not the phantoms themselves: they are built and rendered in other processes, many at a time.
    kind = partial(Phantom, nsub=1 if lite else 2, realism=not plain, fit_rv=not lite)
    phantoms = [partial(kind, seed + k, group, size, spacing) for k in range(subjects)]
    workers = workers or available()
    with progress("subjects") as report:
        records = write_dataset(
            out,
            phantoms,
            phases,
            slices,
            overwrite=overwrite,
            progress=lambda done: report(done, subjects),
            workers=workers,
        )
    _print(records, [_line(record) for record in records], as_json)


@app.command(
    epilog=examples(
        ("Is every scan readable, and whose is it?", "cmrgz data check DATA"),
        (
            "The same where a manifest has its own column of patients",
            "cmrgz data check DATA/manifest.csv --subject-column patient",
        ),
    )
)
def check(
    paths: Annotated[list[str], typer.Argument(metavar="DATA...", help="Folders, manifests, scans or patterns.")],
    subject_column: Annotated[str, typer.Option(help="The manifest's column that names the patient.")] = "subject",
    axes: Axes = None,
    labels: Labels = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read every scan and label map, and report all bad ones.

    Says as which layout it was read, what that says of the scans, and what was left out and why.
    """
    from cmrgz.cli.progress import progress
    from cmrgz.data import cases
    from cmrgz.data.check import check as check_cases

    # A bank that is there is checked as scans are; to make one of one would be to copy it, so `bank` takes none.
    sets = cases.look_all(paths, subject_column=subject_column, axes=axes, labels=labels, banks=True)
    found = [case for part in sets for case in part.cases]
    with progress("scans") as report:
        bad = check_cases(found, lambda done: report(done, len(found)))
    for error in bad:
        typer.echo(error.line, err=True)
    # The listing is the result, whatever is bad: so there is no error to raise, only an exit code.
    _tell(sets, bad, as_json)
    if bad:
        raise typer.Exit(BAD_DATA)


@app.command(
    epilog=examples(
        ("A bank for models of 1.4 mm, and a training from it", "cmrgz data bank DATA -o BANK"),
        ("", "cmrgz train ldm-dit BANK"),
        ("More scans into it", "cmrgz data bank MORE -o BANK"),
    )
)
def bank(
    paths: Annotated[list[str], typer.Argument(metavar="DATA...", help="Folders, manifests, scans or patterns.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bank; one that is there is added to.")],
    spacing: Annotated[float, typer.Option(help="Pixel size of the models in mm.", min=0.1, max=100)] = 1.4,
    subject_column: Annotated[str, typer.Option(help="The manifest's column that names the patient.")] = "subject",
    axes: Axes = None,
    labels: Labels = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read [one a processor].", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write once what training reads of scans, for large data sets.

    A bank may be larger than memory: cmrgz train NAME BANK.
    After an interrupt the same command goes on: scans that are done are not read again.
    """
    from cmrgz.cli.progress import progress
    from cmrgz.data import cases
    from cmrgz.data.phantom.processes import available
    from cmrgz.training.banking import make_bank

    sets = cases.look_all(paths, subject_column=subject_column, axes=axes, labels=labels)
    found = [case for part in sets for case in part.cases]
    with progress("scans") as report:
        made = make_bank(found, output, spacing, workers or available(), report)
    for error in made.bad:
        typer.echo(error.line, err=True)
    line = f"{made.cases} scans of {made.subjects} subjects, {made.new} new, {made.size / 1e9:.3g} GB"
    facts = {"scans": made.cases, "subjects": made.subjects, "new": made.new, "bytes": made.size}
    told = [f"{line}: {len(made.bad)} bad" if made.bad else line]
    _print(facts | {"bad": [error.parts for error in made.bad]}, told, as_json)
    if made.bad:
        raise typer.Exit(BAD_DATA)


def _tell(sets: "list[Found]", bad: list[CmrgzError], as_json: bool) -> None:
    """Say as what layouts data sets were read, what these say, what was left out, and what is wrong."""
    from cmrgz.data.check import describe, left_out

    found = [case for part in sets for case in part.cases]
    subjects, labels = len({c.subject for c in found}), sum(bool(c.label_maps) for c in found)
    layouts, told_by = (sorted({*names} - {""}) for names in ((s.layout for s in sets), (c.told_by for c in found)))
    said, missed = describe(found), [row for part in sets for row in left_out(part)]
    lines = [f"layout: {', '.join(layouts)}"]
    lines += [f"{name}: {', '.join(f'{value} {n}' for value, n in counts.items())}" for name, counts in said.items()]
    lines += [f"left out: {row['path']} {row['why']}" for row in missed]
    by = f" (told by {', '.join(told_by)})" if told_by else ""
    lines += [f"{len(found)} scans of {subjects} subjects{by}, {labels} with labels: {len(bad)} bad"]
    facts = {"layouts": layouts, "scans": len(found), "subjects": subjects, "subjects_told_by": told_by}
    faults = [error.parts for error in bad]
    _print(facts | {"labels": labels, "says": said, "left_out": missed, "bad": faults}, lines, as_json)


def _line(record: dict[str, Any]) -> str:
    c, labels = record["continuum"], record["labels"]
    volumes = (f"{k} {c[k]:.{digits}f} ({_number(labels[k], digits)})" for k, digits in _COLUMNS)
    return f"{record['id']} {record['group']:4s} {'  '.join(volumes)}"


_COLUMNS = (("LVEDV", 1), ("LVEF", 3), ("RVEF", 3))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _print(record: Any, lines: list[str], as_json: bool) -> None:
    import json

    typer.echo(json.dumps(record, indent=1) if as_json else "\n".join(lines))
