"""`cmrgz train`: train a tokenizer or a model."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cmrgz.cli.examples import examples
from cmrgz.cli.inpaint import Axes
from cmrgz.cli.process import leads
from cmrgz.cli.results import tell

EXAMPLES = examples(
    ("A model of frames on own scans", "cmrgz train ldm-dit DATA -o runs/dit --set steps=20000"),
    ("A tokenizer, and a model that is built on it", "cmrgz train kl DATA -o runs/kl"),
    ("", "cmrgz train ldm-unet DATA --tokenizer runs/kl/checkpoint -o runs/unet"),
    (
        "A model of blocks of 5 phases and 3 slices, from the bundled weights",
        "cmrgz train ldm-unet BANK --start ldm-unet --set item=5,3,128,128",
    ),
)


def command(
    name: Annotated[str, typer.Argument(help="Model or tokenizer, see `cmrgz models`.")],
    data: Annotated[
        list[str] | None, typer.Argument(help="Data sets: folders, scans, manifests or banks [built-in phantoms].")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the run [runs/NAME].")] = None,
    share: Annotated[list[float] | None, typer.Option(help="Weight of each data set, in order [equal].")] = None,
    validation: Annotated[
        list[str] | None, typer.Option(help="Data to validate on [a tenth of the patients of each data set].")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Tokenizer of a model: name or checkpoint folder [that of the model].")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="Weights to start from: a name with bundled weights or a checkpoint folder [new ones]."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-C", help="YAML file of options, as for --set; --set wins [none].")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="name=value: an option of training or of the architecture, see `cmrgz models NAME` [the defaults].",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, data and noise.")] = 0,
    device: Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    axes: Axes = None,
    log: Annotated[
        Literal["tensorboard"] | None,
        typer.Option(help="Show curves: in OUTPUT/tensorboard (pip install 'cmrgz[tensorboard]') [none]."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store the weights in half precision.")] = False,
) -> None:
    """Train a model or a tokenizer, or continue a run.

    A run continues where its output folder is there.

    Ctrl-C stores the state; the same command goes on. The weights are in OUTPUT/checkpoint, for --model: those of the
    last step, or with --set keep=best the best by the validation loss. OUTPUT/log.jsonl has a line a step,
    OUTPUT/speed.jsonl how fast it goes. With `torchrun --nproc-per-node N -m cmrgz train ... --set shards=N` N
    processes train as one, each on a GPU of its own.
    """
    from cmrgz.cli.devices import pick, range_checked
    from cmrgz.cli.progress import is_quiet
    from cmrgz.data.phantom.processes import available
    from cmrgz.training.options import read
    from cmrgz.training.plan import Plan, find_spec
    from cmrgz.training.run import train

    build, options = read(find_spec(name), config, set_ or [])
    plan = Plan(
        name=name,
        output=output or Path("runs") / name,
        data=data or (),
        shares=share or (),
        validation=validation or (),
        tokenizer=tokenizer,
        start=start,
        build=build,
        train=options,
        seed=range_checked("--seed", seed, 0, 2**63 - 1),
        device=pick(device),
        dtype="float16" if half else "float32",
        axes=axes,
        # As many as there are processors for this job, which a cluster sets below those of the machine.
        processes=available(),
        log=log,
    )
    trained = train(plan, quiet=is_quiet())
    # All processes that torchrun started get here; the others wrote nothing.
    if leads():
        tell(trained)
