"""The commands and the options that all of them share."""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.core

from cmrgz import __version__, errors
from cmrgz.cli import data, env, evaluate, generate, inpaint, measure, metrics, models, plugins, train, view

GLOBAL = ("--debug", "--quiet", "-q", "--verbose", "-v")


ORDER = ("inpaint", "generate", "train", "evaluate", "models", "measure", "view", "metrics", "data", "plugins", "env")
"""Commands as the help lists them: what a reader comes for first."""


class Commands(typer.core.TyperGroup):
    """A group that lists its commands by use, names the nearest one and takes no option twice."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands; Typer has those that hold others after all that do not."""
        place = {name: number for number, name in enumerate(ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: place.get(name, len(ORDER)))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that `args` names, with the rest of them."""
        # Before Typer looks: its own refusal names no nearest command and takes several lines.
        if args[0] not in self.commands and not args[0].startswith("-"):
            hint = errors.did_you_mean(args[0], self.commands)
            raise errors.UsageError("unknown-command", args[0], "no such command", hint=hint)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not hasattr(command, "commands"):
            _refuse_repeats(ctx, command, rest)
        return name, command, rest


def _refuse_repeats(parent: Any, command: Any, args: list[str]) -> None:
    """The parser keeps the last of two values in silence."""
    context = typer.Context(command, parent=parent)  # knows that -h is --help
    _, _, order = command.make_parser(context).parse_args(list(args))
    single = [p for p in order if p.param_type_name == "option" and not p.multiple and not p.count]
    for parameter in single:
        if single.count(parameter) > 1:
            raise errors.UsageError("usage", f"option {parameter.opts[0]}", "is given more than once")


app = typer.Typer(
    # Plain help and errors of one line: Rich would draw boxes, and be imported by every command.
    cls=Commands,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(data.app, name="data", cls=Commands, no_args_is_help=False)
app.add_typer(plugins.app, name="plugins", cls=Commands, no_args_is_help=False)
app.add_typer(evaluate.app, name="evaluate", help="Compare models with what bounds them, and write a report.")
app.command("inpaint", epilog=inpaint.EXAMPLES)(inpaint.command)
app.command("generate", epilog=generate.EXAMPLES)(generate.command)
app.command("measure", epilog=measure.EXAMPLES)(measure.command)
app.command("view", epilog=view.EXAMPLES)(view.command)
app.command("train", epilog=train.EXAMPLES)(train.command)
app.command("models", epilog=models.EXAMPLES)(models.command)
app.command("metrics", epilog=metrics.EXAMPLES)(metrics.command)
app.command("env", epilog=env.EXAMPLES)(env.command)


def run(arguments: Sequence[str]) -> int:
    """Parse and run; `Command.main` is not used, because it answers some faults by itself."""
    # Built anew each time, and not kept: in tests and notebooks commands are added between two calls.
    command = typer.main.get_command(app)
    try:
        with command.make_context("cmrgz", list(arguments)) as context:  # it empties its list
            command.invoke(context)
    except typer.Exit as end:
        return int(end.exit_code)
    return 0


def absent_options(arguments: Sequence[str]) -> set[str]:
    """Return the options that other commands have and the one that `arguments` name has not."""
    root: Any = typer.main.get_command(app)
    command, words = root, [word for word in arguments if word not in GLOBAL]
    while inner := getattr(command, "commands", None):
        word = words.pop(0) if words and words[0] in inner else getattr(command, "default", "")
        if word not in inner:
            break
        command = inner[word]
    return _options(root) - {name for p in (*root.params, *command.params) for name in (*p.opts, *p.secondary_opts)}


def _options(command: Any) -> set[str]:
    """Return the options of a command and of those in it."""
    own = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return own.union(*map(_options, getattr(command, "commands", {}).values()))


def hoisted(args: Sequence[str]) -> list[str]:
    """Return the arguments with the shared options first, so that they may stand anywhere before `--`."""
    # The parser knows the shared options before the command's name only; people type them last.
    end = args.index("--") if "--" in args else len(args)
    front = [a for a in args[:end] if a in GLOBAL]
    return [*front, *(a for a in args[:end] if a not in GLOBAL), *args[end:]]


def _version(wanted: bool) -> None:
    if wanted:
        versions = env.plugin_versions()
        typer.echo("\n".join(f"{name} {version}" for name, version in {"cmrgz": __version__, **versions}.items()))
        raise typer.Exit


@app.callback(invoke_without_command=True)
def shared(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print versions and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and all warnings [CMRGZ_DEBUG=1].")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, warnings and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """Generative models of cardiac MRI, from reconstruction to generation. Not a medical device."""
    del version, debug  # both are acted on before the command is parsed
    if context.invoked_subcommand is None:
        raise errors.UsageError("unknown-command", "cmrgz", "expected a command", hint="see cmrgz --help")
    # What is typed wins over the environment.
    asked = "WARNING" if quiet else "DEBUG" if verbose else ""
    _log(asked or os.environ.get("CMRGZ_LOG_LEVEL", "INFO").upper())


def _log(level: str) -> None:
    """Send the log of the library to stderr."""
    logger = logging.getLogger("cmrgz")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    # In place of those there: a process may run more than one command line, and each line is told once.
    logger.handlers = [handler]
    try:
        logger.setLevel(level)
    except ValueError as error:
        hint = errors.did_you_mean(level, ["DEBUG", "INFO", "WARNING", "ERROR"])
        raise errors.UsageError("range", "CMRGZ_LOG_LEVEL", f"no log level '{level}'", hint=hint) from error
