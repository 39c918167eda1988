"""The process as the command line finds it and leaves it: its streams, the signals and the exits that end it."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from cmrgz.errors import PluginError, format_line
from cmrgz.signals import Terminated

# 128 + SIGINT, as a shell has it; 75 is EX_TEMPFAIL of sysexits.h, by which a scheduler knows to try again.
INTERRUPTED, STOPPED = 130, 75
RESUMED = ("train", "evaluate")
"""Commands that go on when they are given again."""


def open_streams() -> None:
    """Give a closed stdin, stdout or stderr to the null device: else the next file that is opened becomes it.

    What a stream cannot encode, like a path that is no text, is written escaped.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            _open_null(number)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", "") == "strict" and hasattr(stream, "reconfigure"):  # else of a notebook or a test
            stream.reconfigure(errors="backslashreplace")


def discard_stdout() -> None:
    """Send what is left in the buffer of stdout nowhere, so that the interpreter's exit does not fail on it."""
    null = os.open(os.devnull, os.O_WRONLY)
    # The descriptor, not the object: the interpreter flushes its own stdout at exit, whoever is in sys.stdout.
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def leads() -> bool:
    """Whether this is the only process, or the first of those that `torchrun` started: what all would say it says."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def say(line: str) -> None:
    """Print to stderr; nowhere to print to is no reason to fail."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return


def interrupted(error: KeyboardInterrupt, arguments: Sequence[str]) -> int:
    """Return the exit code of a command that was broken off; Ctrl-C needs no line, another signal is told."""
    # Who pressed Ctrl-C knows it; who reads a log of a cluster does not know who sent SIGTERM.
    if not isinstance(error, Terminated):
        return INTERRUPTED
    command = next((word for word in arguments if not word.startswith("-")), "")
    goes_on = command in RESUMED
    hint = "the same command goes on" if goes_on else "what is written is whole"
    say(format_line("error", "stopped", f"cmrgz {command}".strip(), f"ended by {error}", hint=hint))
    return STOPPED if goes_on else 128 + error.number


@contextmanager
def exits_told() -> Iterator[None]:
    """Tell who ends this process by `os._exit` while the block runs: a plugin that does must not look like success."""
    # It runs no handler and flushes nothing: a plugin that calls it with 0 would look like a run that went well.
    real = os._exit
    os._exit = _told(real, os.getpid())  # type: ignore[assignment]  # a function for a function
    try:
        yield
    finally:
        os._exit = real


def _told(real: Callable[[int], NoReturn], process: int) -> Callable[[int], NoReturn]:
    def tell(status: int) -> NoReturn:
        if os.getpid() == process:  # a fork may end as it likes
            who = str(sys._getframe(1).f_globals.get("__name__", "a plugin"))
            say(PluginError("plugin-broken", who, f"ended the program by os._exit({status})").line)
            status = PluginError.exit_code
        real(status)

    return tell


def _open_null(number: int) -> None:
    """Have the null device as the descriptor of this number, unless it is open."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
