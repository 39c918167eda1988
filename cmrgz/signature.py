"""Options as a function declares them: its keywords, typed by its annotations. `cmrgz.options` reads them."""

import inspect
import math
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from cmrgz.errors import PluginError

F = TypeVar("F", bound=Callable[..., Any])
SCALARS = (int, float, bool, str)


class Range(NamedTuple):
    """Inclusive bounds of a number, given in `Annotated[int, "help", Range(1, 1000)]`; None is unbounded."""

    low: float | None = None
    high: float | None = None

    def __contains__(self, value: object) -> bool:
        low, high = -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high
        return isinstance(value, int | float) and low <= value <= high

    def __str__(self) -> str:
        if self.high is None:
            return f"at least {self.low}"
        return f"at most {self.high}" if self.low is None else f"{self.low} .. {self.high}"


class Only(NamedTuple):
    """A mark of an option that takes effect only where another one, which names a way, has one of these values."""

    option: str
    values: tuple[str, ...]


class OfLoss:
    """A mark of an option that only the loss knows: training may start from weights that were made with another."""


@dataclass(frozen=True)
class Option:
    """One option of a builder or a sampler.

    Attributes:
        name: The keyword.
        type: The annotation without `Annotated`.
        default: Its default value.
        help: What it does, from `Annotated[..., "help"]`, or "".
        range: Bounds of a number, or None.
        of_loss: Whether it is marked `OfLoss`.
        only: Where it takes effect, or None: everywhere.
    """

    name: str
    type: Any
    default: Any
    help: str = ""
    range: Range | None = None
    of_loss: bool = False
    only: Only | None = None

    @property
    def kind(self) -> str:
        """The type in words: `int`, `a | b`, `float or automatic`, `int,...`."""
        return _kind(self.type)

    def describe(self) -> dict[str, Any]:
        """Return name, type, default, range and help for a listing in JSON, and what it goes with if anything."""
        bounds = str(self.range) if self.range else None
        facts = {"name": self.name, "type": self.kind, "default": self.default, "range": bounds, "help": self.help}
        return facts | ({"only": {self.only.option: list(self.only.values)}} if self.only else {})


def schema(function: Callable[..., Any], skip: Collection[str] = ()) -> dict[str, Option]:
    """Return the options that a function declares.

    Args:
        function: A builder or a `sample` method.
        skip: Parameters that are no options, for example `("tokenizer",)`.

    Raises:
        PluginError: `plugin-protocol` for `*args`, `**kwargs`, or an option without annotation or default.
    """
    where = f"{function.__module__}:{function.__qualname__}"
    hints = _hints(function, where)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in skip]
    return {p.name: _option(p, hints, where) for p in parameters}


def extended(more: Mapping[str, tuple[Any, Any]]) -> Callable[[F], F]:
    """Return a decorator of a function that takes `**own`: its signature then has these options in place of them.

    Args:
        more: Annotation and default of each; an option that the function names itself stays as it is there.
    """

    def extend(function: F) -> F:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        rest = {name: told for name, told in more.items() if name not in signature.parameters}
        added = [
            inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=d, annotation=a) for n, (a, d) in rest.items()
        ]
        function.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        function.__annotations__ |= {name: annotation for name, (annotation, _) in rest.items()}
        return function

    return extend


def _hints(function: Callable[..., Any], where: str) -> dict[str, Any]:
    try:
        # Resolves annotations that are text, as all are under `from __future__ import annotations`.
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise PluginError("plugin-protocol", where, f"annotations cannot be read: {error}") from error


def _option(parameter: inspect.Parameter, hints: Mapping[str, Any], where: str) -> Option:
    name = parameter.name
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise PluginError("plugin-protocol", where, f"'*{name}' hides options", hint="name each of them")
    if name not in hints or parameter.default is parameter.empty:
        missing = "annotation" if name not in hints else "default"
        raise PluginError("plugin-protocol", where, f"option '{name}' has no {missing}")
    hint, extras = _bare(hints[name])
    if not _supported(hint):
        raise PluginError("plugin-protocol", where, f"option '{name}' has type {hint}, which no text can give")
    text = next((e for e in extras if isinstance(e, str)), "")
    bounds = next((e for e in extras if isinstance(e, Range)), None)
    only = next((e for e in extras if isinstance(e, Only)), None)
    return Option(name, hint, parameter.default, text, bounds, OfLoss in extras, only)


def _bare(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without `Annotated`, whether around it or around its member beside None, and what it is told."""
    if get_origin(hint) is Annotated:
        kind, *extras = get_args(hint)
        return kind, tuple(extras)
    members = union(hint)
    if len(members) == 1 and get_origin(members[0]) is Annotated:
        kind, told = _bare(members[0])
        return kind | None, told
    return hint, ()


def union(hint: Any) -> tuple[Any, ...]:
    """Return the members of `X | None` but None, or () where `hint` is no union."""
    if get_origin(hint) not in (Union, types.UnionType):
        return ()
    return tuple(a for a in get_args(hint) if a is not type(None))


def _supported(hint: Any) -> bool:
    if members := union(hint):
        return len(members) == 1 and _supported(members[0])
    if get_origin(hint) is tuple:
        return bool(get_args(hint)) and all(part in (*SCALARS, Ellipsis) for part in get_args(hint))
    return get_origin(hint) is Literal or hint in SCALARS


def _kind(hint: Any) -> str:
    if members := union(hint):
        return f"{_kind(members[0])} or automatic"
    if get_origin(hint) is tuple:
        return ",".join("..." if part is Ellipsis else part.__name__ for part in get_args(hint))
    return " | ".join(map(str, get_args(hint))) if get_origin(hint) is Literal else str(hint.__name__)
