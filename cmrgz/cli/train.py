"""`cmrgz train`: train a tokenizer or a model."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cmrgz.cli.inpaint import Axes
from cmrgz.cli.process import leads
from cmrgz.cli.results import tell


def command(
    name: Annotated[str, typer.Argument(help="Model or tokenizer, see `cmrgz models`.")],
    data: Annotated[
        list[str] | None, typer.Argument(help="Data sets: folders, scans or manifests. None: built-in phantoms.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the run [runs/NAME].")] = None,
    share: Annotated[list[float] | None, typer.Option(help="Weight of each data set, in order [equal].")] = None,
    validation: Annotated[
        list[str] | None, typer.Option(help="Data to validate on [a tenth of the patients of each data set].")
    ] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer of a model: name or checkpoint folder.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Weights to start from: a name with bundled weights or a checkpoint folder.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-C", help="YAML file of options, as for --set; --set wins.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="name=value: an option of the training or of the architecture.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    device: Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    axes: Axes = None,
    log: Annotated[
        Literal["tensorboard"] | None,
        typer.Option(help="Show curves: in OUTPUT/tensorboard (pip install 'cmrgz[tensorboard]')."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store the weights in half precision.")] = False,
) -> None:
    """Train a tokenizer or a model, or continue the run in the output folder.

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
        processes=available(),
        log=log,
    )
    trained = train(plan, quiet=is_quiet())
    if leads():
        tell(trained)
