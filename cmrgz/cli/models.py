"""`cmrgz models`: what is installed, from the specs alone; with a name, its options too."""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrgz.cli.examples import examples
from cmrgz.errors import CheckpointError, CmrgzError, UsageError, did_you_mean

if TYPE_CHECKING:  # `cmrgz --help` imports every command: what takes long is imported where it is used
    from cmrgz.options import Option
    from cmrgz.plugin import ModelSpec, TokenizerSpec
    from cmrgz.registry import Entry

EXAMPLES = examples(
    ("What is installed, and which have weights", "cmrgz models"),
    ("The options of a model, which --set takes", "cmrgz models ldm-unet"),
    ("What a checkpoint of your own knows and takes", "cmrgz models runs/unet/checkpoint"),
)
ITEMS = {"yx": "frames", "tyx": "clips", "zyx": "stacks", "tzyx": "blocks"}
"""What items of axes are called."""
SHARES, SHARE = ("phase", "slice"), "0 .. 1"
"""Conditions of frames that are shares: of the cardiac cycle, and of the way from base to apex."""
TITLES = {
    "build": "Options of the architecture (train, --set NAME=VALUE)",
    "train": "Options of training (train, --set NAME=VALUE)",
    "sample": "Options of sampling (--set NAME=VALUE)",
}
"""The groups of options of an entry."""


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A model, a tokenizer or a checkpoint folder, to see its options [all].", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the installed models and tokenizers, or options of one.

    Broken ones are listed with the reason. Of one: the options of its architecture, of training and of sampling.
    """
    if name is not None:
        facts = _details(name)
        typer.echo(json.dumps(facts, indent=1) if as_json else "\n".join(_page(facts)))
        return
    from cmrgz import registry
    from cmrgz.authoring.survey import survey

    models, tokenizers = [*registry.models().values()], [*registry.tokenizers().values()]
    # In a process of its own: what a plugin does when it is imported, be it to end the process, costs one line.
    rows = survey([*models, *tokenizers], _facts)
    found = {"models": rows[: len(models)], "tokenizers": rows[len(models) :]}
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    typer.echo("\n\n".join("\n".join(_table(kind.capitalize(), part)) for kind, part in found.items()))


def _facts(entry: "Entry[ModelSpec] | Entry[TokenizerSpec]") -> dict[str, Any]:
    """Return what an entry's spec says, or why there is none."""
    facts: dict[str, Any] = {"name": entry.name, "package": entry.package, "version": entry.version}
    spec = entry.spec
    if spec is None:
        return facts | {"broken": entry.reason}
    facts |= {"summary": spec.summary, "cite": spec.cite, "weights": "bundled" if spec.checkpoint else "none"}
    if spec.kind == "tokenizer":
        return {"kind": "tokenizer", **facts}
    facts |= {"weights_of": _weights_of(spec), "family": spec.family, "tokenizer": spec.tokenizer}
    facts |= {"axes": spec.axes, "item": spec.item, "spacing": spec.spacing}
    return {"kind": "model", **facts, **_conditions(spec, _bundled(spec).get("conditions"))}


def _conditions(spec: "ModelSpec", vocabulary: Any) -> dict[str, Any]:
    """Return the conditions that a model knows, of frames and of patients, and what each may be where that is said."""
    from cmrgz.vocabulary import NUMBERS, is_vocabulary

    # From a file that anyone may have written: what is no vocabulary is left out, and the rest still listed.
    known = vocabulary if is_vocabulary(vocabulary) else {}
    values = {name: SHARE for name in spec.conditions if name in SHARES}
    values |= {name: list(words) or str(NUMBERS[name]) for name, words in known.items()}
    return {"conditions": [*spec.conditions, *known], "condition_values": values}


def _bundled(spec: "ModelSpec") -> dict[str, Any]:
    """Return the meta of the bundled weights as it stands there, empty where there are none or it is damaged."""
    if spec.checkpoint is None:
        return {}
    from importlib.resources import files

    from cmrgz import records
    from cmrgz.durable import read_bytes

    package, _, folder = spec.checkpoint.partition(":")
    try:
        data = read_bytes(Path(str(files(package) / folder), "meta.json"), CheckpointError)
        return records.parse(data, folder)
    except (CmrgzError, ValueError, TypeError, ImportError):  # a damaged folder
        return {}


def _weights_of(spec: "ModelSpec") -> str | None:
    """Return what the bundled weights see, read from their meta alone: `frames`, `blocks 5x3`; None without weights."""
    meta = _bundled(spec)
    try:
        axes, item = "".join(meta.get("axes", "yx")), meta["item"]
        return " ".join([ITEMS[axes], *filter(None, ["x".join(map(str, item[:-2]))])])
    except (LookupError, TypeError, AttributeError):  # damaged
        return None


def _details(name: str) -> dict[str, Any]:
    """Return the facts of one entry with its options; imports what builds it."""
    from cmrgz import registry
    from cmrgz.durable import is_folder

    if (model := registry.find(name, registry.models())) is not None:
        spec = model.require()
        options = {"build": registry.build_schema(spec), "train": _training(), "sample": registry.sample_schema(spec)}
        return _facts(model) | {key: _described(schema) for key, schema in options.items()}
    if (tokenizer := registry.find(name, registry.tokenizers())) is not None:
        build = _described(registry.build_schema(tokenizer.require()))
        return _facts(tokenizer) | {"build": build, "train": _described(_training())}
    # Last: a folder that happens to have the name of a model does not hide it.
    if is_folder(name):
        return _of_checkpoint(name)
    names = [*registry.models(), *registry.tokenizers()]
    hint = did_you_mean(name, names) if names else "none is installed"
    raise UsageError("unknown-plugin", name, "no registered model or tokenizer has this name", hint=hint)


def _training() -> "dict[str, Option]":
    """Return the options of training, the same for all."""
    from cmrgz.options import schema
    from cmrgz.training.options import TrainOptions

    return schema(TrainOptions)


def _of_checkpoint(folder: str) -> dict[str, Any]:
    """Return what a checkpoint folder says of itself, with the options that its model or tokenizer is drawn with.

    Raises:
        CheckpointError: It is none, or damaged.
    """
    from cmrgz import registry
    from cmrgz.meta import read_folder

    meta = read_folder(Path(folder))
    facts: dict[str, Any] = {name: getattr(meta, name) for name in ("kind", "name", "package", "version")}
    facts |= {name: getattr(meta, name) for name in ("axes", "item", "spacing", "dtype", "sha256")}
    facts["options"] = ", ".join(f"{name}={value}" for name, value in meta.options.items())
    if meta.kind == "tokenizer":
        return facts
    spec = registry.get_model(meta.qualified)
    told = {name: list(values) for name, values in meta.conditions.items()}
    return facts | _conditions(spec, told) | {"sample": _described(registry.sample_schema(spec))}


def _described(options: "dict[str, Option]") -> list[dict[str, Any]]:
    return [option.describe() for option in options.values()]


def _table(title: str, facts: Sequence[dict[str, Any]]) -> list[str]:
    width = max((len(f["name"]) for f in facts), default=0)
    lines = [f"  {f['name']:<{width}}  {_row(f)}" for f in facts]
    return [title, *(lines or ["  none installed"])]


def _row(facts: dict[str, Any]) -> str:
    if "broken" in facts:
        return f"BROKEN  {facts['broken']}"
    weights = "weights" if facts["weights"] == "bundled" else "no weights"
    weights += f" of {facts['weights_of']}" if facts.get("weights_of") else ""
    return f"{facts['summary']}  [{facts['package']} {facts['version']}, {weights}]"


def _page(facts: dict[str, Any]) -> list[str]:
    plain = {key: value for key, value in facts.items() if key not in (*TITLES, "condition_values")}
    lines = [f"{key:<13} {_text(value)}" for key, value in plain.items()]
    if values := facts.get("condition_values"):
        lines += ["", "Conditions that say what they may be (--condition NAME=VALUE)"]
        lines += [f"  {name}={_text(value)}" for name, value in values.items()]
    for key, title in TITLES.items():
        if key in facts:
            lines += ["", title, *_options(facts[key])]
    return lines


def _options(options: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of options, those that go with a value of another under a line that says so."""
    lines = []
    for only, own in groupby(options, lambda option: option.get("only")):
        if only is not None:
            (name, ways), *_ = only.items()
            lines.append(f"  with {name}={' or '.join(ways)}")
        lines += [f"{'' if only is None else '  '}{_option(option)}" for option in own]
    return lines


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _option(option: dict[str, Any]) -> str:
    bounds = f" ({option['range']})" if option["range"] else ""
    return f"  {option['name']}={_typed(option['default'])}  {option['type']}{bounds}  {option['help']}".rstrip()


def _typed(value: Any) -> str:
    """Return a default as --set takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "automatic" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
