"""`cmrgz inpaint`: draw the hidden part of scans given the known part."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cmrgz.cli.examples import examples
from cmrgz.cli.results import tell
from cmrgz.errors import CmrgzError, PartialError, UsageError, format_line

if TYPE_CHECKING:
    from cmrgz.scans.files import Names
    from cmrgz.scans.inpaint import Done

LOG = logging.getLogger("cmrgz.inpaint")
EXAMPLES = examples(
    ("Hide 70 % of the pixels in patches, and draw them anew", "cmrgz inpaint scan.nii.gz --model ldm-unet --mask 0.7"),
    (
        "Draw every other slice four times; write the mean and its spread",
        "cmrgz inpaint scan.nii.gz -m ar-vq --mask slices:every=2 --samples 4",
    ),
    ("Twice as many phases, nothing hidden", "cmrgz inpaint scan.nii.gz -m ldm-unet --refine t=2 -o fine.nii.gz"),
    (
        "All scans of a folder by another algorithm; go on where it stopped",
        "cmrgz inpaint DATA -m ldm-unet --mask box:0.3 --set algorithm=repaint "
        "\\\n    --set rounds=10 -o filled --skip-existing",
    ),
)

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        envvar="CMRGZ_MODEL",
        help="A model (see `cmrgz models`) or a checkpoint folder; must be given.",
    ),
]
Device = Annotated[
    str, typer.Option("--device", "-d", envvar="CMRGZ_DEVICE", help="auto, cpu, cuda, cuda:N, gpu or mps.")
]
Batch = Annotated[
    str,
    typer.Option(
        "--batch-size", help="Items computed at once, or auto: what memory allows; does not change the result."
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="name=value: a sampling option, see `cmrgz models MODEL`; again for another [the defaults]."
    ),
]
Conditions = Annotated[
    list[str] | None,
    typer.Option("--condition", help="name=value, e.g. phase=0.4, group=DCM; again for another [what the scan says]."),
]
Guide = Annotated[
    str | None,
    typer.Option(help="A weaker checkpoint of the same model, to draw away from; goes with --set guidance=2 [none]."),
]
Precision = Annotated[
    Literal["fp32", "bf16"],
    typer.Option(help="Arithmetic of the networks; bf16 is faster on a GPU, and gives other bits."),
]
Antithetic = Annotated[
    bool,
    typer.Option("--antithetic", help="Draw in pairs of opposite random numbers: the mean of few draws errs less."),
]
Axes = Annotated[
    str | None, typer.Option(help="What each axis of the files is: xyzt, zxyt, xyt, ... [decided from each header].")
]
Labels = Annotated[
    str | None,
    typer.Option(help="What the values of label maps are, e.g. lv=1,myo=2,rv=3 [by the layout, else rv=1,myo=2,lv=3]."),
]
MaskLabel = Annotated[Literal["hidden", "known"] | None, typer.Option(help="What 1 means in a mask file [hidden].")]
Scans = Annotated[
    list[str] | None, typer.Argument(metavar="SCAN...", help="Scans, folders, patterns or manifests; one at least.")
]
MoreScans = Annotated[
    list[str] | None, typer.Option("--input", "-i", help="The same as SCAN, for scripts; again for another [none].")
]
Seed = Annotated[int, typer.Option(help="Seed of the mask and of what is drawn.")]


def command(
    scan: Scans = None,
    more: MoreScans = None,
    model: Model = None,
    mask: Annotated[
        str | None,
        typer.Option(
            help="What to hide: the fraction of pixels (0.7), a pattern (patch:0.7, box:0.3, slices:0.5, "
            "slices:3-5,9, frames:every=2, heart:0.5,hold=t, ...) or a NIfTI file of 0 and 1 [the column mask of the "
            "manifest]."
        ),
    ] = None,
    mask_label: MaskLabel = None,
    refine: Annotated[
        list[str] | None,
        typer.Option(
            help="z=2 or t=2, 3, ... 8: a finer grid, whose new slices or phases are drawn; --mask then hides of the "
            "scan as it is, and may be left out [the grid of the scan]."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A .nii or .nii.gz file for one scan, or a folder "
            "[./NAME_inpainted.nii.gz for one scan, ./inpainted/NAME_inpainted.nii.gz for several].",
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Draws of each scan; of more than one the mean and its standard deviation are written.")
    ] = 1,
    keep_samples: Annotated[bool, typer.Option("--keep-samples", help="Write each draw as well.")] = False,
    antithetic: Antithetic = False,
    seed: Seed = 0,
    device: Device = "auto",
    batch_size: Batch = "auto",
    precision: Precision = "fp32",
    set_: Options = None,
    condition: Conditions = None,
    guide: Guide = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Write a picture, a moving one of a cine, and a page, see cmrgz view.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out scans whose results are there: go on with a batch.")
    ] = False,
    nonfinite: Annotated[
        Literal["refuse", "zero"], typer.Option(help="What to do with NaN and infinite voxels.")
    ] = "refuse",
    orientation: Annotated[
        Literal["refuse", "sform"],
        typer.Option(help="What to do where sform and qform of a header contradict one another."),
    ] = "refuse",
    axes: Axes = None,
    labels: Labels = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hide a part of scans and draw it anew given the rest. Not a medical device.

    Known voxels are written back bit for bit, on the same grid or, with --refine, on a finer one. Each result has a
    sidecar NAME.json that says how it was made; the paths of the results are printed.
    """
    sources = [*(scan or []), *(more or [])]
    # Not left to the parser: scans may come by either of two ways, and a model from the environment.
    if not sources or model is None:
        raise _missing("SCAN" if not sources else "option --model")
    from cmrgz.cli.devices import pick, range_checked
    from cmrgz.cli.progress import progress
    from cmrgz.data.finer import Finer
    from cmrgz.scans.hiding import Hiding
    from cmrgz.scans.scans import find_scans

    range_checked("--seed", seed, 0, 2**63 - 1)
    range_checked("--samples", samples, 1, 1000)
    # In this order the words are checked first, then the files, and only then is torch imported, which takes seconds.
    in_flight = batch(batch_size)
    hiding = None if mask is None else Hiding.of(mask, seed, mask_label)
    finer = Finer.of(refine or [])
    found = find_scans(sources, output, axes, labels)
    # A manifest may name a mask for each scan; one that lacks it must not be inpainted with nothing hidden.
    if hiding is None and not finer.axes and not all(case.mask for case in found):
        raise _missing("option --mask")

    from cmrgz.scans.choice import Chosen
    from cmrgz.scans.inpaint import Request, inpaint_scans

    request = Request(
        chosen=Chosen.of(model, assignments(set_, precision), condition or [], pick(device), in_flight, guide),
        hiding=hiding,
        refine=finer,
        mask_label=mask_label or "hidden",
        samples=samples,
        keep_samples=keep_samples,
        antithetic=antithetic,
        seed=seed,
        preview=preview,
        overwrite=overwrite,
        skip_existing=skip_existing,
        nonfinite=nonfinite,
        orientation=orientation,
    )
    teller = _Teller(as_json)
    with progress("items") as report:
        inpaint_scans(
            request, found, output, done=teller.done, failed=teller.failed, skipped=teller.skipped, report=report
        )
    teller.end()


def assignments(given: list[str] | None, precision: str) -> list[str]:
    """Return the sampling options that were given, with the precision where it is not the usual one."""
    return [*(given or []), *([f"precision={precision}"] if precision != "fp32" else [])]


def batch(text: str) -> int | None:
    """Return the value of `--batch-size`, None for `auto`.

    Raises:
        UsageError: `range`.
    """
    from cmrgz.cli.devices import range_checked

    # Text, because the option is a number or a word; so its digits are read here, of any length.
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise UsageError("range", "option --batch-size", "must be auto or a whole number", f"got {text}")
    return range_checked("--batch-size", int(text), 1, 1 << 20)


def _missing(what: str) -> UsageError:
    hints = {
        "option --mask": "e.g. --mask 0.7 hides 70 %; or a column mask in the manifest",
        "option --model": "see cmrgz models",
    }
    return UsageError("usage", what, "is missing", hint=hints.get(what, "see cmrgz inpaint --help"))


class _Teller:
    """Prints each result as soon as it is whole, or all of them as JSON at the end; errors go to stderr at once."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.results: list[dict[str, Any]] = []
        self.errors: list[CmrgzError] = []
        # One that was there is no failure and no result of this run: a script has to tell them apart.
        self.there: list[str] = []

    def done(self, result: "Done") -> None:
        """Tell a result."""
        roles = {role: str(path) for role, path in result.names.roles.items()}
        facts = {"sidecar": str(result.names.sidecar), "hidden_fraction": result.hidden_fraction}
        self.results.append(roles | facts)
        if not self.as_json:
            tell(roles["image"])

    def skipped(self, names: "Names") -> None:
        """Tell a result that was there."""
        self.there.append(str(names.image))
        LOG.info(format_line("info", "skipped", self.there[-1], "is there already, made in the same way"))

    def failed(self, error: CmrgzError) -> None:
        """Tell why a scan was refused."""
        self.errors.append(error)
        LOG.error(error.line)

    def end(self) -> None:
        """Tell the rest.

        Raises:
            PartialError: Some scans were refused.
        """
        if self.as_json:
            failed = [error.parts for error in self.errors]
            typer.echo(json.dumps({"outputs": self.results, "skipped": self.there, "failed": failed}, indent=1))
        if self.errors:
            total = len(self.errors) + len(self.results) + len(self.there)
            # Exit code 8, not that of the fault: a batch whose other scans are done is neither success nor failure.
            what = f"{len(self.errors)} of {total} scans were refused"
            raise PartialError("partial", "cmrgz inpaint", what, hint="the others are done")
