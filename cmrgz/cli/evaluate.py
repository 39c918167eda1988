"""`cmrgz evaluate`: compare models with one another and with what bounds them."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from cmrgz.cli.examples import examples
from cmrgz.cli.inpaint import Axes, Batch, Device, Labels, MaskLabel, batch
from cmrgz.cli.results import tell
from cmrgz.errors import DataError, PartialError

if TYPE_CHECKING:
    from cmrgz.evaluation.options import SweepOptions
    from cmrgz.evaluation.sweep import Sweep

RUN = "run"
RUNS = Path("runs") / "evaluate"
Folder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Evaluate(typer.core.TyperGroup):
    """A group whose command `run` need not be named."""

    default = RUN

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` before arguments that name no command, and let `--sweep` stand with or without a file."""
        # `cmrgz evaluate DATA` is what one types; so the common case is the command that need not be named.
        if not args or args[0] not in self.commands:
            args = [RUN, *args]
        return list(super().parse_args(ctx, _with_plan(args) if args[0] == RUN else args))


def _with_plan(args: list[str]) -> list[str]:
    """Turn `--sweep FILE.yaml` into `--sweep --plan FILE.yaml`."""
    result: list[str] = []
    for arg in args:
        # An option whose value may be left out, which Typer has not: the file becomes an option of its own.
        follows = bool(result) and result[-1] == "--sweep" and arg.lower().endswith((".yaml", ".yml"))
        result += ["--plan", arg] if follows else [arg]
    return result


app = typer.Typer(cls=Evaluate, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(
    RUN,
    epilog=examples(
        ("Try it: two models on built-in phantoms", "cmrgz evaluate -m ldm-unet -m ar-vq --preset smoke"),
        (
            "On own scans, held against copies of the training data",
            "cmrgz evaluate TEST --bank TRAIN -m runs/unet/checkpoint --mask 0.7",
        ),
        ("Many masks; say first how long it takes", "cmrgz evaluate TEST --sweep --preset standard --dry-run"),
        ("Of a run that is there: the report anew, and a check of it", "cmrgz evaluate report runs/evaluate"),
        ("", "cmrgz evaluate verify runs/evaluate"),
    ),
)
def run(
    data: Annotated[
        list[str] | None, typer.Argument(metavar="DATA...", help="Data sets or scans [built-in phantoms].")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="NAME, NAME:option=value,... or a checkpoint folder; again for another [all with bundled weights].",
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            help="A mask or mask file as for inpaint, or 'manifest' for the column mask of it; again for another "
            "[0.7; with --sweep: many]."
        ),
    ] = None,
    mask_label: MaskLabel = None,
    context: Annotated[
        str | None,
        typer.Option(help="Phases x slices that masks are drawn on and models of blocks see, as 5x3, or all [3x3]."),
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Many masks: those of the preset, or of a YAML file that follows.")
    ] = False,
    plan: Annotated[Path | None, typer.Option("--plan", hidden=True)] = None,
    preset: Annotated[str, typer.Option(help="smoke, standard or paper: how large.")] = "smoke",
    bank: Annotated[
        list[str] | None, typer.Option(help="Training data, for copies of it and for memorisation [built-in phantoms].")
    ] = None,
    subjects: Annotated[int | None, typer.Option(help="How many patients at most [8].")] = None,
    frames: Annotated[str | None, typer.Option(help="Frames a scan: a number, stack or cine [2].")] = None,
    samples: Annotated[int | None, typer.Option(help="Draws of each frame [2].")] = None,
    extractor: Annotated[
        list[str] | None,
        typer.Option(help="Of features: segmenter, radiomics, random, or dinov2=FILE, ...; again for another [three]."),
    ] = None,
    axes: Axes = None,
    labels: Labels = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed of masks and draws; again for another [0].")] = None,
    baselines: Annotated[bool, typer.Option("--baselines/--no-baselines", help="Fills, bounds and controls.")] = True,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run; it goes on if it is there.")
    ] = RUNS,
    device: Device = "auto",
    batch_size: Batch = "auto",
    cluster: Annotated[
        str | None, typer.Option(help="auto or ADDRESS: on a Ray cluster (pip install 'cmrgz[cluster]') [here].")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and how long it takes.")] = False,
    as_json: Json = False,
) -> None:
    """Compare models on frames of which a part is hidden.

    Writes a report. Every score comes with an interval over patients, beside trivial fills, copies of training frames
    and the round trip of each tokenizer. What is done is not done again: the same command goes on, another model or
    mask adds to it. Of a run that is there: cmrgz evaluate report, verify or repair RUN. Not a medical device.
    """
    from cmrgz.durable import require_writable
    from cmrgz.evaluation import options

    # Before hours of work, and before a model is loaded: is there a place for the result?
    if not dry_run:
        require_writable(output)
    # None is what was not typed: the preset and the YAML file decide it, and options win over both.
    given = {
        "data": _tuple(data),
        "bank": _tuple(bank),
        "models": _tuple(model),
        "patterns": _tuple(mask) or (None if sweep else ("patch:0.7",)),
        "mask_label": mask_label,
        "context": context,
        "subjects": subjects,
        "frames": frames,
        "samples": samples,
        "extractors": _tuple(extractor),
        "axes": axes,
        "labels": labels,
        "seeds": _tuple(seed),
        "baselines": None if baselines else False,
    }
    prepared = _prepared(options.read(preset, plan, given), device, batch_size)
    if dry_run:
        _tell_plan(prepared, output, as_json)
        return
    # Cells that failed are told after the report, which holds all the others and the reasons.
    failure = _computed(prepared, output, cluster)
    _tell(output, as_json)
    if failure is not None:
        raise failure


def _tuple(values: list[Any] | None) -> tuple[Any, ...] | None:
    return tuple(values) if values else None


def _prepared(options: "SweepOptions", device: str, batch_size: str) -> "Sweep":
    from cmrgz.cli.devices import pick
    from cmrgz.cli.progress import progress
    from cmrgz.evaluation.sweep import prepare

    total = options.subjects + (options.bank_subjects if not options.data else 0)
    with progress("phantoms") as report:
        return prepare(options, pick(device), batch(batch_size), lambda done: report(min(done, total), total))


def _computed(sweep: "Sweep", output: Path, cluster: str | None) -> PartialError | None:
    """Run the sweep; failed cells are told after the report."""
    from cmrgz.cli.progress import progress
    from cmrgz.evaluation.sweep import run as run_sweep

    compute = None
    # Only then: Ray is an extra, and takes seconds to import.
    if cluster is not None:
        from cmrgz.evaluation.cluster import on_cluster

        compute = on_cluster(sweep, cluster)
    with progress("cells") as report:
        try:
            run_sweep(sweep, output, compute, report)
        except PartialError as error:
            return error
    return None


def _tell_plan(sweep: "Sweep", output: Path, as_json: bool) -> None:
    from cmrgz.cli.progress import progress
    from cmrgz.evaluation.estimate import describe, estimate

    with progress("models") as report:
        plan = estimate(sweep, output, report)
    typer.echo(json.dumps(plan, indent=1) if as_json else describe(plan))


def _tell(root: Path, as_json: bool) -> None:
    """Write the report, and print the table of its headline numbers and where it lies."""
    from cmrgz.evaluation.publish import lines, publish

    summary, files = publish(root)
    if as_json:
        typer.echo(json.dumps({"files": [str(file) for file in files]}, indent=1))
        return
    typer.echo("\n".join(lines(summary)))
    tell(files[0])
    # What failed is told on stderr next, and is to stand below the table.
    sys.stdout.flush()


@app.command(
    "report", epilog=examples(("After an interrupt, or of another version", "cmrgz evaluate report runs/evaluate"))
)
def report(root: Folder, as_json: Json = False) -> None:
    """Write the report of a run anew, from its files alone.

    Also while it is going on.
    """
    _there(root)
    _tell(root, as_json)


@app.command(
    "verify",
    epilog=examples(
        ("Four cells of a run", "cmrgz evaluate verify runs/evaluate --cells 4"),
        ("Where its data were moved", "cmrgz evaluate verify runs/evaluate --data TEST"),
    ),
)
def verify(
    root: Folder,
    data: Annotated[list[str] | None, typer.Option(help="Data of the run, in order [as it was told].")] = None,
    bank: Annotated[list[str] | None, typer.Option(help="Training data of the run [as it was told].")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Its checkpoint folders [as told].")] = None,
    mask: Annotated[list[str] | None, typer.Option(help="Mask files of the run [as it was told].")] = None,
    extractor: Annotated[list[str] | None, typer.Option(help="NAME=FILE of its local extractors [as told].")] = None,
    cells: Annotated[int, typer.Option(help="How many, drawn at random.", min=1)] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the choice.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compute some cells of a run again, and compare.

    They are compared with what is stored; exit code 8 if one differs. Data, weights and masks are looked for where the
    run was told to find them (sources.json); name those that moved.
    """
    _there(root)
    from cmrgz.cli.devices import pick
    from cmrgz.cli.progress import progress
    from cmrgz.evaluation.verify import verify as compare

    sources = {
        "data": data or (),
        "bank": bank or (),
        "models": model or (),
        "patterns": mask or (),
        "extractors": extractor or (),
    }
    with progress("cells") as shown:
        found = compare(root, cells, seed, pick(device), sources, shown)
    rows = [{"cell": c.cell, "method": c.method, "mask": c.mask, "equal": c.equal, "largest": c.largest} for c in found]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        typer.echo("\n".join(f"{'equal' if c.equal else 'differs':<8} {c.method}  {c.mask}  {c.cell}" for c in found))
    differing = sum(not c.equal for c in found)
    if differing:
        what = f"{differing} of {len(found)} cells differ from what is stored"
        raise PartialError("changed", str(root), what, hint="another device or version?")


@app.command("repair", epilog=examples(("After a full disk", "cmrgz evaluate repair runs/evaluate")))
def repair(root: Folder) -> None:
    """Take damaged lines out of the journal of a run.

    Their cells are done again by the next run. The old journal is kept.
    """
    _there(root)
    from cmrgz.evaluation.store import repair as mend

    kept, dropped = mend(root)
    typer.echo(f"{kept} lines kept, {dropped} dropped")


def _there(root: Path) -> None:
    from cmrgz.durable import exists
    from cmrgz.evaluation.store import JOURNAL

    if not exists(root / JOURNAL):
        raise DataError("not-found", str(root), "is no run of cmrgz evaluate", hint="its folder holds cells.jsonl")
