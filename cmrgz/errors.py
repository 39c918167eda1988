"""The errors that a user sees: one line each, one class per exit code.

CmrgzError
    UsageError       2   command line or config
    DataError        3   a scan, a mask or a data set was refused
    CheckpointError  4   a checkpoint, archive or resume state was refused
    PluginError      5   a plugin is broken or breaks its contract
    ResourceError    6   disk, memory, device, permission, lock
    DivergedError    7   training became non-finite
    PartialError     8   finished, but some items failed
    Stopped         75   stopped on request, state saved
"""

import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches

MAX_LINE = 240
# A context and not an argument: hints are written deep in the library, which knows no command.
_ABSENT: ContextVar[Callable[[], Collection[str]]] = ContextVar("absent", default=frozenset)


@contextmanager
def without_options(names: Collection[str] | Callable[[], Collection[str]]) -> Iterator[None]:
    """Name no option of these in a hint: those that the running command has not, though another has.

    A function is asked for them only where a hint names an option: to know them takes longer than a light command.

    A part of a hint that does is left out; parts are set off by `, or `. What follows `cmrgz` is another command.
    """
    token = _ABSENT.set(names if callable(names) else lambda: names)
    try:
        yield
    finally:
        _ABSENT.reset(token)


def _offered(hint: str) -> str:
    """Return the parts of a hint that the running command can follow."""
    absent = _ABSENT.get()() if "--" in hint else ()
    parts = [part for part in hint.split(", or ") if "cmrgz " in part or not set(absent).intersection(_named(part))]
    return ", or ".join(parts)


def _named(text: str) -> list[str]:
    return re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)


def escape(text: str) -> str:
    """Make control characters visible, so that a message stays on one line."""
    # A name of a file can hold a line break or what a terminal acts on; half a character of it cannot be encoded
    # plainly.
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _shorten(text: str, limit: int) -> str:
    """Cut in the middle: both ends of a path tell more than its centre."""
    if len(text) <= limit:
        return text
    keep = (limit - 3) // 2
    return f"{text[:keep]}...{text[-keep:]}"


def format_line(level: str, code: str, where: str, what: str, facts: str = "", hint: str = "") -> str:
    """Return `cmrgz: LEVEL[code]: WHERE: WHAT (FACTS); HINT`, one line of at most 240 characters."""
    where = _shorten(escape(where), 90)
    tail = f" ({facts})" if facts else ""
    tail += f"; {hint}" if hint else ""
    line = f"cmrgz: {level}[{code}]: {where}: {escape(what)}{escape(tail)}"
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 3] + "..."


class CmrgzError(Exception):
    """A refusal with a stable code.

    Args:
        code: Stable kebab-case name, for example `truncated`.
        where: What was at fault: a path as typed, `file:line:column` or an option.
        what: Expected and got, in one sentence without a full stop.
        facts: Numbers that support it.
        hint: One action that works.
    """

    exit_code = 70

    def __init__(self, code: str, where: str, what: str, facts: str = "", hint: str = "") -> None:
        hint = _offered(hint)
        super().__init__(code, where, what, facts, hint)
        self.code, self.where, self.what, self.facts, self.hint = code, where, what, facts, hint

    @property
    def line(self) -> str:
        """The one line that the command line prints."""
        return format_line("error", self.code, self.where, self.what, self.facts, self.hint)

    @property
    def parts(self) -> dict[str, str]:
        """What it says, in JSON's types."""
        return {name: getattr(self, name) for name in ("code", "where", "what", "facts", "hint")}

    def __str__(self) -> str:
        return self.line


class UsageError(CmrgzError):
    """The command line or a config file is wrong."""

    exit_code = 2


class DataError(CmrgzError):
    """A scan, a mask or a data set was refused."""

    exit_code = 3


class CheckpointError(CmrgzError):
    """A checkpoint, an archive or a resume state was refused."""

    exit_code = 4


class PluginError(CmrgzError):
    """A plugin cannot be loaded or broke its contract."""

    exit_code = 5


@contextmanager
def of_a_plugin(where: str, what: str) -> Iterator[None]:
    """Tell what code of a plugin raises, `SystemExit` too, as its fault. Our own errors and used-up memory stay so.

    Args:
        where: The plugin, or the part of it.
        what: What failed, such as `sample failed`.

    Raises:
        PluginError: `plugin-broken`.
    """
    try:
        yield
    except CmrgzError:
        raise
    # An interrupt of the user is no fault of a plugin.
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        raise PluginError("plugin-broken", where, f"{what}: {last_line(error)}") from error


def last_line(error: BaseException) -> str:
    """Return the type of an error and the last line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host is out of memory; on the CPU torch says so in words alone."""
    # By name: this module is imported by every command, and must not import torch.
    name = type(error).__name__
    return isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in str(error)


class ResourceError(CmrgzError):
    """Disk, memory, device, permission or lock."""

    exit_code = 6


class DivergedError(CmrgzError):
    """Training became non-finite."""

    exit_code = 7


class PartialError(CmrgzError):
    """The run finished, but some of its items failed."""

    exit_code = 8


class Stopped(CmrgzError):
    """Stopped on request; the state is saved and the same command continues."""

    exit_code = 75


class CmrgzWarning(UserWarning):
    """Something unusual that was accepted; has the fields of CmrgzError."""

    def __init__(self, code: str, where: str, what: str, facts: str = "", hint: str = "") -> None:
        hint = _offered(hint)
        super().__init__(code, where, what, facts, hint)
        self.code, self.where = code, where
        self.line = format_line("warning", code, where, what, facts, hint)

    def __str__(self) -> str:
        return self.line


def warn(code: str, where: str, what: str, facts: str = "", hint: str = "") -> None:
    """Issue a CmrgzWarning; the command line prints each code once per run."""
    warnings.warn(CmrgzWarning(code, where, what, facts, hint), stacklevel=2)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a hint that names the nearest of some names, or lists them all."""
    there = sorted(names)
    near = get_close_matches(name, there, 1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(there)}"
