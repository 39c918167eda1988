"""Every fault becomes one line on stderr and an exit code; a bug leaves a crash file."""

import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cmrgz import __version__
from cmrgz.cli.process import discard_stdout, interrupted, leads, say
from cmrgz.errors import CmrgzError, CmrgzWarning, ResourceError, UsageError, did_you_mean, format_line
from cmrgz.signals import Ending

if TYPE_CHECKING:
    import traceback

CLOSED_PIPE = 141
OWN = (ResourceError.exit_code, 70)
"""Exit codes of faults that one of several processes may have alone."""
_CLICK: Any = typer.BadParameter.__mro__[2]  # ClickException, which Typer has under a private name


def guarded(run: Callable[[], int], arguments: Sequence[str], ending: Ending) -> int:
    """Return the exit code of `run`; what it raises is told in one line, or with --debug as a traceback.

    Args:
        run: What to do.
        arguments: The command line.
        ending: Whether an interrupt was raised: what foreign code made of it is no bug.
    """
    try:
        return run()
    # Before the others: a command that was broken off has not failed, and leaves no crash file.
    except KeyboardInterrupt as error:
        return interrupted(error, arguments)
    # As under `| head`: who reads has enough, which is no error to tell.
    except BrokenPipeError:
        discard_stdout()
        return CLOSED_PIPE
    # Not Exception: a plugin may call exit(), and must not look like success.
    except BaseException as error:
        if wants_traceback(arguments):
            import traceback

            traceback.print_exc()
        # Foreign code turns an interrupt into errors of its own; what counts is that one came.
        if ending.raised is not None and not isinstance(error, CmrgzError):
            return interrupted(ending.raised, arguments)
        known = _known(error) or _crash(error, arguments)
        if leads() or known.exit_code in OWN:
            say(known.line)
        return known.exit_code


def flush(code: int) -> int:
    """Write out stdout here, where a failure can still be told, not in the interpreter's exit."""
    try:
        sys.stdout.flush()
    except OSError:
        discard_stdout()
        raise
    return code


@contextmanager
def warned(debug: bool) -> Iterator[None]:
    """Print each of our warnings once per code, with a count at the end; foreign ones only with --debug."""
    counts: Counter[str] = Counter()

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: object) -> None:
        if not isinstance(message, CmrgzWarning):
            say(f"{filename}:{lineno}: {category.__name__}: {message}")
            return
        counts[message.code] += 1
        if counts[message.code] == 1 and leads():
            say(message.line)

    with warnings.catch_warnings():
        warnings.simplefilter("default" if debug else "ignore")
        # Always, because Python shows one place once: the count below needs to see each.
        warnings.simplefilter("always", CmrgzWarning)
        warnings.showwarning = show  # type: ignore[assignment]  # it takes all that it is given
        try:
            yield
        finally:
            for code, count in counts.items():
                if count > 1 and leads():
                    say(format_line("warning", code, "cmrgz", f"{count} times in this run"))


def wants_traceback(arguments: Sequence[str]) -> bool:
    """Whether --debug or CMRGZ_DEBUG=1 is given."""
    return "--debug" in arguments or os.environ.get("CMRGZ_DEBUG", "") not in ("", "0")


def _known(error: BaseException) -> CmrgzError | None:
    """Return the error as one of ours, or None if it is a bug."""
    if isinstance(error, CmrgzError):
        return error
    if isinstance(error, _CLICK):
        return _usage(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # the name of torch's
        return ResourceError("too-large", "cmrgz", "memory is used up", hint="use smaller scans, or lower --batch-size")
    # One without a number comes from no system call: it is a bug, of ours or of a library.
    if isinstance(error, OSError) and error.errno is not None:
        return _of_the_machine(error)
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] != "cmrgz":
        cause = (str(error).splitlines() or [type(error).__name__])[-1]
        return ResourceError(
            "dependency", error.name or "cmrgz", f"cannot be imported: {cause}", hint="install it again"
        )
    return None


def _of_the_machine(error: OSError) -> CmrgzError:
    """Return a fault of the disk, a descriptor or a process that nobody nearer told: no file that we know of."""
    from cmrgz.durable.system import FULL, resource_error

    if error.filename is None and error.errno in FULL:
        return ResourceError("disk-full", "stdout", f"cannot be written: {error.strerror}", hint="free some space")
    where = "cmrgz" if error.filename is None else os.fsdecode(error.filename)
    return resource_error(error, where, "used")


def _usage(error: Any) -> UsageError:
    """Return a fault that the parser found: which option, what is wrong, what to type."""
    # The parser's own message is cut into lines for a terminal; of its facts we make one line.
    path = error.ctx.command_path if error.ctx else "cmrgz"
    parameter = getattr(error, "param", None)
    if option := getattr(error, "option_name", None):
        names = [name for p in error.ctx.command.params for name in p.opts] if error.ctx else []
        hint = did_you_mean(option, names)
        hint = hint if hint.startswith("did") else f"see {path} --help"
        what = "no such option" if hasattr(error, "possibilities") else error.message
        return UsageError("usage", f"option {option}", what, hint=hint)
    if isinstance(error, typer.BadParameter) and parameter is not None:
        option = parameter.param_type_name == "option"
        where = f"option {parameter.opts[0]}" if option else parameter.name.upper()
        missing = type(error).__name__ == "MissingParameter"
        what = "is missing" if missing else error.message.rstrip(".")
        return UsageError("usage" if missing else "range", where, what, hint=f"see {path} --help")
    return UsageError("usage", path, error.format_message().rstrip("."), hint=f"see {path} --help")


def _crash(error: BaseException, arguments: Sequence[str]) -> CmrgzError:
    """Write a crash file and return the line that names it.

    It holds no message, local or argument: they could hold what identifies a patient.
    """
    import secrets
    import tempfile
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "cmrgz"
    try:
        from cmrgz.durable import atomic_write

        path = Path(os.environ.get("CMRGZ_HOME") or tempfile.gettempdir()) / f"crash-{secrets.token_hex(4)}.txt"
        hint = f"report it with {path}; --debug shows more"
        atomic_write(path, _report(error, frames, arguments).encode())
    except (CmrgzError, OSError):
        hint = "run it again with --debug and report what it shows"
    return CmrgzError("internal", place, f"this is a bug in cmrgz: {type(error).__name__}", hint=hint)


def _report(error: BaseException, frames: "traceback.StackSummary", arguments: Sequence[str]) -> str:
    import platform

    from cmrgz.cli.env import dependency_versions, plugin_versions

    versions = {"cmrgz": __version__, "python": platform.python_version(), "platform": platform.platform()}
    plugins = plugin_versions()
    versions |= dependency_versions(plugins) | plugins
    options = [a.partition("=")[0] for a in arguments if a.startswith("-")]
    return "\n".join(
        [
            *(f"{name} {version}" for name, version in versions.items()),
            f"options: {' '.join(options)}",
            f"error: {type(error).__qualname__}",
            *(f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames),
            "",
        ]
    )
