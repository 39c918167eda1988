"""`cmrgz plugins`: what is installed, whether it loads, whether it keeps its promises, and a new one."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cmrgz.cli.examples import examples
from cmrgz.cli.results import tell
from cmrgz.errors import PluginError, UsageError

app = typer.Typer(rich_markup_mode=None, help="List, diagnose, check and write plugins.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback(invoke_without_command=True)
def shared(context: typer.Context) -> None:
    """List, diagnose, check and write plugins."""
    if context.invoked_subcommand is None:
        raise UsageError("unknown-command", "cmrgz plugins", "expected a command", hint="see cmrgz plugins --help")


@app.command("list", epilog=examples(("Which plugin has which name", "cmrgz plugins list")))
def list_(as_json: Json = False) -> None:
    """List the registered names; no plugin is imported for it.

    From metadata alone: works whatever a plugin does when it is imported.
    """
    from cmrgz.authoring.doctor import listed

    found = listed()
    if as_json:
        typer.echo(json.dumps([asdict(plugin) for plugin in found], indent=1))
        return
    for plugin in found:
        note = f"  {plugin.note}" if plugin.note else ""
        typer.echo(f"{plugin.kind:<9}  {plugin.name:<14}  {plugin.package} {plugin.version}{note}")


@app.command("info", epilog=examples(("A model and its options", "cmrgz plugins info ldm-unet")))
def info(name: Annotated[str, typer.Argument(help="A registered name.")], as_json: Json = False) -> None:
    """Show what a model or tokenizer says of itself, with its options."""
    from cmrgz.cli import models

    models.command(name, as_json)


@app.command(
    "doctor",
    epilog=examples(
        ("Does everything that is installed work?", "cmrgz plugins doctor"),
        ("One of them, with more time", "cmrgz plugins doctor ldm-unet --time-limit 300"),
    ),
)
def doctor(
    name: Annotated[list[str] | None, typer.Argument(help="Registered names [all].", show_default=False)] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds that each may take.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Load and build each plugin in a process of its own. Exit code 5 if one is not well."""
    from cmrgz.authoring.doctor import diagnose, listed
    from cmrgz.errors import did_you_mean

    names = {plugin.name for plugin in listed()}
    # Before the first is loaded: a slip in the last name would be told after minutes.
    for unknown in set(name or ()) - names - {plugin.qualified for plugin in listed()}:
        raise UsageError("unknown-plugin", unknown, "is not registered", hint=did_you_mean(unknown, names))
    found = []
    for diagnosis in diagnose(name or None, time_limit):
        found.append(diagnosis)
        if not as_json:
            plugin = diagnosis.plugin
            reason = f"  {diagnosis.reason}" if diagnosis.reason else ""
            typer.echo(f"{diagnosis.status:<7}  {plugin.name}  [{plugin.package} {plugin.version}]{reason}")
    if as_json:
        typer.echo(json.dumps([diagnosis.facts for diagnosis in found], indent=1))
    # After all of them: one that is broken is no reason not to look at the next.
    ill = [diagnosis.plugin.name for diagnosis in found if diagnosis.status != "ok"]
    if ill:
        raise PluginError("plugin-broken", ", ".join(ill), f"{len(ill)} of {len(found)} plugins are not well")


@app.command(
    "check",
    epilog=examples(
        ("A model", "cmrgz plugins check ldm-unet"),
        ("A metric, and a mask pattern", "cmrgz plugins check psnr-hole"),
        ("", "cmrgz plugins check box"),
    ),
)
def check(name: Annotated[str, typer.Argument(help="A registered name.")], as_json: Json = False) -> None:
    """Check that a plugin, metric or mask pattern keeps its promises.

    A plugin is a model or a tokenizer. Exit code 5 if one is broken.
    """
    from cmrgz.testing.conformance import owner_of, run_checks

    results = []
    for result in run_checks(name):
        results.append(result)
        if not as_json:
            reason = f"  {result.reason}" if result.reason else ""
            typer.echo(f"{result.status:<7}  {result.name}{reason}")
    if as_json:
        typer.echo(json.dumps([asdict(result) for result in results], indent=1))
    # Likewise: who writes a plugin wants to see every check that fails.
    failed = [result.name for result in results if result.status == "failed"]
    if failed:
        what = f"{len(failed)} of {len(results)} checks failed"
        raise PluginError("plugin-check", f"{name} [{owner_of(name)}]", what, ", ".join(failed[:4]))


@app.command("new", epilog=examples(("A package in the folder my-model", "cmrgz plugins new my-model")))
def new(
    name: Annotated[str, typer.Argument(help="Name of the model, like my-model.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write [./NAME].")] = None,
) -> None:
    """Write a package with a small model that passes every check.

    A start for your own.
    """
    from cmrgz.authoring.template import write

    tell(write(name, output or Path(name)))
