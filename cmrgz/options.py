"""The signature is the schema: options are a function's keywords, typed by its annotations.

    def build(tokenizer, width: Annotated[int, "channels", Range(8, 4096)] = 256, heads: int = 8) -> Model: ...

gives the options `width` and `heads`, from which come the help, the listing and the check of `--set width=512`.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from cmrgz.errors import UsageError, did_you_mean
from cmrgz.signature import OfLoss as OfLoss
from cmrgz.signature import Only as Only
from cmrgz.signature import Option as Option
from cmrgz.signature import Range as Range
from cmrgz.signature import extended as extended
from cmrgz.signature import schema as schema
from cmrgz.signature import union

Where = str | Callable[[str], str]
"""What an error points at: a text such as `--set`, or a function from an option's name to `file:line:column`."""

# Stricter than `int` and `float`, which also take underscores, blanks and digits of other scripts.
_NUMBER = {
    int: re.compile(r"[-+]?[0-9]+"),
    float: re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"),
}
DIGITS = 18
"""Most of an integer: one that has more is out of every range."""
_NONE = ("none", "null", "automatic")
"""What stands for None in text; listings show it as the last of them."""


P = TypeVar("P", bound=NamedTuple)
Sizes = Annotated[Literal["tiny", "reference", "S", "B"], "stands for depths and widths; each may be given, and wins"]
"""An option of builders with presets: see `overridden`."""


Axes = Annotated[Literal["yx", "tyx", "zyx", "tzyx"], "axes of a scan that are seen together"]
"""An option of builders whose models can see phases (t) and slices (z); training sets it to those of its items."""


def parse(
    assignments: Iterable[str] | Mapping[str, Any], declared: Mapping[str, Option], where: Where
) -> dict[str, Any]:
    """Return the typed values of options that were given as `name=value` or as a mapping from YAML or JSON.

    Args:
        assignments: `["width=512", ...]`, where a value is text, or `{"width": 512}`, where a value is typed.
        declared: The options there are, from `schema`.
        where: What an error points at.

    Raises:
        UsageError: `unknown-key`, `type`, `range`, or `usage` for a name that is given twice or has no `=`.
    """
    textual = not isinstance(assignments, Mapping)
    pairs = assignments.items() if isinstance(assignments, Mapping) else _split(assignments, where)
    values = {}
    for name, value in pairs:
        at = where(name) if callable(where) else where
        if name not in declared:
            raise UsageError("unknown-key", at, f"no option '{name}'", hint=did_you_mean(str(name), declared))
        option = declared[name]
        values[name] = _bounded(option, _read(option, option.type, value, textual, at), at)
    return values


def complete(values: Mapping[str, Any], declared: Mapping[str, Option]) -> dict[str, Any]:
    """Return all options in the order of the schema: the given values, else the defaults."""
    return {name: values.get(name, option.default) for name, option in declared.items()}


def effective(
    values: Mapping[str, Any],
    declared: Mapping[str, Option],
    settle: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    where: str,
) -> dict[str, Any]:
    """Return all options that take effect, in the order of the schema: the given values, else the defaults.

    Args:
        values: Those that were given, from `parse`.
        declared: The options there are.
        settle: Returns all options with what `auto` stands for in its place.
        where: What an error points at.

    Raises:
        UsageError: `unknown-key`: one that was given goes with another value of the option that it is `Only` for.
    """
    every = complete(values, declared)
    now = settle(every)
    idle = {name: o.only for name, o in declared.items() if o.only and now[o.only.option] not in o.only.values}
    for name in (name for name in values if name in idle):
        option, ways = idle[name]
        way = str(now[option])
        own = [o.name for o in declared.values() if o.only and o.only.option == option and way in o.only.values]
        what = f"'{name}' goes with {option}={' or '.join(ways)}, not with {way}"
        raise UsageError("unknown-key", where, what, hint=f"{way} has {', '.join(own) or 'no options of its own'}")
    return {name: value for name, value in every.items() if name not in idle}


def overridden(preset: P, **given: Any) -> P:
    """Return a preset, a named tuple, with the values of options that were given in place of its own; None is not.

    A builder that takes a `size` declares the options that it stands for as `int | None = None`.
    """
    return preset._replace(**{name: value for name, value in given.items() if value is not None})


def _split(assignments: Iterable[str], where: Where) -> list[tuple[str, str]]:
    pairs: dict[str, str] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        at = where(name) if callable(where) else where
        # Twice is refused and not the last taken: one of the two is a mistake, and nobody knows which.
        if not equals or name in pairs:
            raise UsageError("usage", at, f"'{text}' " + ("is given twice" if equals else "is not name=value"))
        pairs[name] = value
    return list(pairs.items())


def _read(option: Option, hint: Any, value: Any, textual: bool, where: str) -> Any:
    """Return `value` as the type `hint`; text from the command line is read, other values must have the type."""
    if members := union(hint):
        absent = value is None or (textual and value.lower() in _NONE)
        return None if absent else _read(option, members[0], value, textual, where)
    if get_origin(hint) is tuple:
        parts = [p for p in value.split(",") if p] if textual else value
        hints = get_args(hint)
        if not isinstance(parts, list | tuple) or (Ellipsis not in hints and len(parts) != len(hints)):
            raise _mistyped(option, value, where)
        kinds = [hints[0]] * len(parts) if Ellipsis in hints else hints
        return tuple(_read(option, kind, part, textual, where) for kind, part in zip(kinds, parts, strict=True))
    if get_origin(hint) is Literal:
        return _choice(option, get_args(hint), value, textual, where)
    read = _from_text(hint, value) if textual else _typed(hint, value)
    if read is None:
        raise _mistyped(option, value, where)
    if isinstance(read, float) and not math.isfinite(read):
        must = f"have at most {DIGITS} digits" if hint is int else "be finite"
        raise UsageError("range", where, f"'{option.name}' must {must}, got {str(value)[:40]}")
    return read


def _choice(option: Option, choices: tuple[Any, ...], value: Any, textual: bool, where: str) -> Any:
    for choice in choices:
        # In Python True equals 1 and 1 equals 1.0, so the type has to be the same, too.
        if (textual and str(choice) == value) or (choice == value and type(choice) is type(value)):
            return choice
    hint = did_you_mean(str(value), map(str, choices))
    raise UsageError("range", where, f"'{option.name}' has no choice '{value}'", hint=hint)


def _from_text(hint: Any, text: str) -> Any:
    if hint is str:
        return text
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower())
    if hint is float and text.lower().lstrip("+-") in ("nan", "inf"):
        return float(text)
    if not _NUMBER[hint].fullmatch(text):
        return None
    # Python refuses to read an integer of thousands of digits by an error of its own.
    return hint(text) if hint is float or len(text.lstrip("+-")) <= DIGITS else math.inf


def _typed(hint: Any, value: Any) -> Any:
    if hint is float and type(value) is int:
        # `float` raises OverflowError from about 2**1024 on; infinity is refused as out of range by the caller.
        return float(value) if abs(value) < 2**1000 else math.inf
    if hint is int and type(value) is int and abs(value) >= 10**DIGITS:
        return math.inf
    return value if type(value) is hint else None


def _mistyped(option: Option, value: Any, where: str) -> UsageError:
    got = f"'{value}'" if isinstance(value, str) else f"{type(value).__name__} {value}"
    return UsageError("type", where, f"'{option.name}' must be {option.kind}, got {got}")


def _bounded(option: Option, value: Any, where: str) -> Any:
    parts = value if isinstance(value, tuple) else (value,)
    if option.range and value is not None and not all(part in option.range for part in parts):
        raise UsageError("range", where, f"'{option.name}' must be {option.range}, got {value}")
    return value
