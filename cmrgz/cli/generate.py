"""`cmrgz generate`: draw scans given nothing, or given a part of one; cohorts with what was asked and measured."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cmrgz.cli.examples import examples
from cmrgz.cli.inpaint import Axes, Batch, Device, Guide, MaskLabel, Model, Options, Precision, assignments, batch
from cmrgz.cli.results import tell
from cmrgz.errors import UsageError, format_line

if TYPE_CHECKING:
    from cmrgz.anatomy.cohort import Cohort
    from cmrgz.scans.files import Names
    from cmrgz.scans.generate import Request
    from cmrgz.scans.like import Like

LOG = logging.getLogger("cmrgz.generate")
EXAMPLES = examples(
    ("Eight frames", "cmrgz generate --model flow-dit -n 8 -o frames"),
    ("A cine of 3 slices and 10 phases", "cmrgz generate -m ldm-unet --slices 3 --phases 10 -o cine"),
    (
        "On the grid of a scan, of which every other slice is kept",
        "cmrgz generate -m ar-vq --like scan.nii.gz --mask slices:every=2",
    ),
    (
        "A cohort, measured; go on where it stopped",
        "cmrgz generate -m ldm-unet -n 100 --segment --skip-existing -o cohort",
    ),
)


def command(
    model: Model = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path("generated"),
    number: Annotated[int, typer.Option("--number", "-n", help="How many scans.")] = 1,
    slices: Annotated[int | None, typer.Option(help="Slices of each [1, or those of --like].")] = None,
    phases: Annotated[
        int | None,
        typer.Option(help="Frames of each: a cine of models of blocks, else drawn one by one [1, or those of --like]."),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(help="A scan whose grid all have; with --mask they keep what it does not hide [none]."),
    ] = None,
    mask: Annotated[
        str | None, typer.Option(help="What of --like is drawn anew, as in `cmrgz inpaint`, e.g. slices:every=2 [all].")
    ] = None,
    mask_label: MaskLabel = None,
    seed: Annotated[int, typer.Option(help="Seed; scan n is the same however many there are.")] = 0,
    antithetic: Annotated[
        bool,
        typer.Option("--antithetic", help="Draw pairs of scans of opposite random numbers: their averages err less."),
    ] = False,
    device: Device = "auto",
    batch_size: Batch = "auto",
    precision: Precision = "fp32",
    set_: Options = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            "--condition",
            help="What to ask for: group=DCM, ef=0.4; spread over the scans: ef=0.2..0.7, group=DCM,NOR [nothing].",
        ),
    ] = None,
    guide: Guide = None,
    segment: Annotated[
        bool,
        typer.Option(
            "--segment",
            help="Find the heart in each: NAME_labels.nii.gz, and manifest.csv and cohort.json with volumes asked and "
            "measured.",
        ),
    ] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Write a contact sheet, preview.png, and a page.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out scans that are there: go on with a cohort.")
    ] = False,
    axes: Axes = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Draw new scans given nothing, or given a part of a scan.

    Writes generated-0001.nii.gz and on, each with a sidecar that says how it was made. Not a medical device.

    Models of blocks draw slices and frames that belong together; models of frames draw each independently, at its place
    in the heart and its part of the cycle: they do not make one heart that beats.
    """
    # Not left to the parser: its message would not say where models are listed.
    if model is None:
        raise UsageError("usage", "option --model", "is missing", hint="see cmrgz models")
    from cmrgz.cli.devices import pick, range_checked
    from cmrgz.cli.progress import progress

    # Each has a bound: what exceeds it is a slip of the keyboard, and would fill the disk.
    sizes = (("--number", number, 99999), ("--slices", slices, 1000), ("--phases", phases, 1000))
    for option, value, most in sizes:
        range_checked(option, 1 if value is None else value, 1, most)
    range_checked("--seed", seed, 0, 2**63 - 1)
    in_flight = batch(batch_size)
    _check_like(like, mask, mask_label, slices, phases)

    # What is wrong with the words is told before this, since torch takes seconds to import.
    from cmrgz.scans.choice import Chosen
    from cmrgz.scans.generate import Request

    request = Request(
        chosen=Chosen.of(
            model, assignments(set_, precision), condition or [], pick(device), in_flight, guide, spread=True
        ),
        number=number,
        slices=slices or 1,
        phases=phases or 1,
        like=_read_like(like, mask, mask_label, seed, axes),
        seed=seed,
        antithetic=antithetic,
        preview=preview,
        overwrite=overwrite,
        skip_existing=skip_existing,
    )
    teller = _Teller(as_json)
    with progress("items") as report:
        cohort = _make(request, output, segment, teller, report)
    teller.end(cohort)


def _check_like(like: str | None, mask: str | None, label: str | None, slices: int | None, phases: int | None) -> None:
    """Refuse options that need a scan to be like, or that such a scan decides.

    Raises:
        UsageError: `usage`.
    """
    given = {"--mask": mask, "--mask-label": label} if like is None else {"--slices": slices, "--phases": phases}
    for option, value in given.items():
        if value is not None:
            what = "needs --like" if like is None else "is what --like says"
            raise UsageError("usage", f"option {option}", what)
    if label is not None and mask is None:
        raise UsageError("usage", "option --mask-label", "needs --mask")


def _read_like(
    like: str | None, mask: str | None, label: Literal["hidden", "known"] | None, seed: int, axes: str | None
) -> "Like | None":
    if like is None:
        return None
    from cmrgz.scans.hiding import Hiding
    from cmrgz.scans.like import Like

    return Like.read(like, None if mask is None else Hiding.of(mask, seed, label), axes)


def _make(request: "Request", output: Path, segment: bool, teller: "_Teller", report: Any) -> "Cohort | None":
    """Generate, and return what is said of a cohort whose hearts were measured."""
    # The segmenter belongs to evaluation, which is not imported to draw alone.
    if not segment:
        from cmrgz.scans.generate import generate_scans

        generate_scans(request, output, done=teller.done, skipped=teller.skipped, report=report)
        return None
    from cmrgz.anatomy.cohort import make_cohort

    return make_cohort(request, output, done=teller.done, skipped=teller.skipped, report=report)


class _Teller:
    """Prints each scan as soon as it is whole, or all of them as JSON at the end."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.made: list[dict[str, str]] = []
        self.there: list[str] = []

    def done(self, names: "Names") -> None:
        """Tell a scan."""
        # Kept even where each is printed at once: a cohort is told whole at its end.
        self.made.append({**{role: str(path) for role, path in names.roles.items()}, "sidecar": str(names.sidecar)})
        if not self.as_json:
            tell(names.image)

    def skipped(self, names: "Names") -> None:
        """Tell a scan that was there."""
        self.there.append(str(names.image))
        LOG.info(format_line("info", "skipped", self.there[-1], "is there already, made in the same way"))

    def end(self, cohort: "Cohort | None") -> None:
        """Tell the rest."""
        facts: dict[str, Any] = {"outputs": self.made, "skipped": self.there}
        if cohort is not None:
            facts |= {"manifest": str(cohort.manifest), "report": str(cohort.report), "cohort": cohort.facts}
            for name, own in cohort.facts["asked_and_measured"].items():
                LOG.info(format_line("info", "asked-and-measured", str(cohort.report), *_said(name, own)))
        if self.as_json:
            typer.echo(json.dumps(facts, indent=1))
        elif cohort is not None:
            tell(cohort.manifest)
            tell(cohort.report)


def _said(name: str, own: dict[str, Any]) -> tuple[str, str]:
    """Return how a condition agrees with what was measured, in words."""
    if own["r"] is None:
        return f"{name} and {own['measured']}: no correlation", f"{own['n']} scans"
    low, high = own["interval"]
    between = "" if low is None else f" (95 % {low:.2f} .. {high:.2f})"
    what = f"{name} and {own['measured']}: r {own['r']:.2f}{between}"
    return what, f"{own['n']} scans, bias {own['bias']:.3g} {own['unit']}".rstrip()
