"""`cmrgz generate`: draw scans given nothing."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmrgz.cli.inpaint import Batch, Conditions, Device, Guide, Model, Options, batch
from cmrgz.cli.results import tell
from cmrgz.errors import UsageError

if TYPE_CHECKING:
    from cmrgz.output.files import Names


def command(
    model: Model = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path("generated"),
    number: Annotated[int, typer.Option("--number", "-n", help="How many scans.")] = 1,
    slices: Annotated[int, typer.Option(help="Slices of each.")] = 1,
    phases: Annotated[int, typer.Option(help="Frames of each: a cine of models of blocks, else drawn one by one.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed; scan n is the same however many there are.")] = 0,
    antithetic: Annotated[
        bool,
        typer.Option("--antithetic", help="Draw pairs of scans of opposite random numbers: their averages err less."),
    ] = False,
    device: Device = "auto",
    batch_size: Batch = "auto",
    set_: Options = None,
    condition: Conditions = None,
    guide: Guide = None,
    preview: Annotated[bool, typer.Option("--preview", help="Write a contact sheet, preview.png.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Draw scans given nothing: generated-0001.nii.gz and on, each with a sidecar. Not a medical device.

    Models of blocks draw slices and frames that belong together; models of frames draw each independently, at its place
    in the heart and its part of the cycle: they do not make one heart that beats.
    """
    if model is None:
        raise UsageError("usage", "option --model", "is missing", hint="see cmrgz models")
    from cmrgz.cli.devices import pick, range_checked
    from cmrgz.cli.progress import progress

    for option, value, most in (("--number", number, 99999), ("--slices", slices, 1000), ("--phases", phases, 1000)):
        range_checked(option, value, 1, most)
    range_checked("--seed", seed, 0, 2**63 - 1)
    in_flight = batch(batch_size)

    from cmrgz.output.chosen import Chosen
    from cmrgz.output.generate import Order, generate_scans

    order = Order(
        chosen=Chosen.of(model, set_ or [], condition or [], pick(device), in_flight, guide),
        number=number,
        slices=slices,
        phases=phases,
        seed=seed,
        antithetic=antithetic,
        preview=preview,
        overwrite=overwrite,
    )

    def done(names: "Names") -> None:
        if not as_json:
            tell(names.image)

    with progress("items") as report:
        made = generate_scans(order, output, done=done, report=report)
    if as_json:
        rows = [{"image": str(names.image), "sidecar": str(names.sidecar)} for names in made]
        typer.echo(json.dumps({"outputs": rows}, indent=1))
