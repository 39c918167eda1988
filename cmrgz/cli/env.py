"""`cmrgz env`: versions for a bug report, read from metadata, so that it works where an import does not."""

import json
import re
import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from cmrgz import __version__
from cmrgz.cli.examples import examples

EXAMPLES = examples(
    ("What to put into a bug report", "cmrgz env"),
    ("The same, for a program", "cmrgz env --json"),
)


def command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show versions of Python, cmrgz, dependencies and plugins."""
    import platform

    plugins = plugin_versions()
    facts = {
        "cmrgz": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        "dependencies": dependency_versions(plugins),
        "plugins": plugins,
    }
    typer.echo(json.dumps(facts, indent=1) if as_json else "\n".join(_lines(facts)))


def dependency_versions(plugins: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each requirement of cmrgz and of plugins, which are packages; extras left out."""
    packages = ("cmrgz", *plugins)
    # Extras are nobody's need until they are asked for; they would all be listed as not installed.
    lines = [line for package in packages for line in _requirements(package) if "extra ==" not in line]
    # By hand: to import a parser of requirements would take longer than the rest of the command.
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in lines]
    return {name: _installed(name) for name in sorted(set(names) - set(packages))}


def plugin_versions() -> dict[str, str]:
    """Return the version of each package that registers a model or a tokenizer; imports none of them."""
    from importlib.metadata import entry_points

    from cmrgz.registry import MODELS, TOKENIZERS

    every = entry_points()  # once: each call reads the metadata of all that is installed
    points = [point for group in (MODELS, TOKENIZERS) for point in every.select(group=group)]
    return dict(sorted((p.dist.name, p.dist.version) for p in points if p.dist))


def _requirements(package: str) -> list[str]:
    from importlib.metadata import PackageNotFoundError, requires

    try:
        return requires(package) or []
    except PackageNotFoundError:  # run from a checkout that is not installed
        return []


def _installed(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in facts.items():
        lines.append(name if isinstance(value, dict) else f"{name:<12} {value}")
        if isinstance(value, dict):
            lines += [f"  {key:<26} {text}" for key, text in value.items()] or ["  none"]
    return lines
