"""The command line: one file a command; each parses, imports lazily and calls the library.

stdout holds results only; errors, warnings and progress go to stderr, one line each.
"""

import sys
from collections.abc import Sequence
from typing import Any

import typer

from cmrgz.cli import faults
from cmrgz.cli.commands import absent_options, app, hoisted
from cmrgz.errors import without_options


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        args: What follows `cmrgz`; by default that of this process.
    """
    arguments = hoisted(sys.argv[1:] if args is None else args)
    command = typer.main.get_command(app)
    with faults.warned(debug=faults.wants_traceback(arguments)), without_options(absent_options(command, arguments)):
        code = faults.guarded(lambda: _run(command, arguments), arguments)
    return faults.guarded(lambda: faults.flush(code), arguments)


def _run(command: Any, arguments: list[str]) -> int:
    """Parse and run; `Command.main` is not used, because it answers some faults by itself."""
    try:
        with command.make_context("cmrgz", list(arguments)) as context:  # it empties its list
            command.invoke(context)
    except typer.Exit as end:
        return int(end.exit_code)
    return 0
