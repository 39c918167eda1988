"""The command line: one file a command; each parses, imports lazily and calls the library.

stdout holds results only; errors, warnings and progress go to stderr, one line each.
"""

import sys
from collections.abc import Sequence
from functools import partial

from cmrgz.signals import Ending, end_on_signals


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        args: What follows `cmrgz`; by default that of this process.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    # Around the imports as well, which take most of the time of a light command: Ctrl-C then is no traceback.
    with end_on_signals() as ending:
        try:
            return _run(arguments, ending)
        except KeyboardInterrupt as error:  # while the command line itself is imported, or ends
            from cmrgz.cli.process import interrupted

            return interrupted(error, arguments)


def _run(arguments: list[str], ending: Ending) -> int:
    from cmrgz.cli.process import exits_told, open_streams

    # First: whatever opens a file before would get the number of a stream that is closed.
    open_streams()
    from cmrgz.cli import faults
    from cmrgz.cli.commands import absent_options, hoisted, run
    from cmrgz.errors import without_options

    arguments = hoisted(arguments)
    debug = faults.wants_traceback(arguments)
    with exits_told(), faults.warned(debug), without_options(partial(absent_options, arguments)):
        code = faults.guarded(lambda: run(arguments), arguments, ending)
    # By itself: a disk that is full is told of results that were printed, also after a command that went well.
    return faults.guarded(lambda: faults.flush(code), arguments, ending)
