"""Strict YAML: what a config file says is what is meant, or it is refused with line and column.

YAML 1.2 scalars (`1e-4` is a number; `no`, `010` and `1:30` are text), no tags, no duplicate keys, sparing anchors.
"""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cmrgz.durable import read_bytes
from cmrgz.errors import UsageError

MAX_BYTES, MAX_DEPTH, MAX_ALIASES, MAX_NODES, MAX_DIGITS = 1 << 20, 32, 100, 20_000, 400

Keys = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_NAMED = {
    **dict.fromkeys(["", "~", "null", "Null", "NULL"]),
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], float("nan")),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], float("inf")),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], float("-inf")),
}
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one reads 1 MiB in time


@dataclass(frozen=True)
class Config:
    """A config file as plain values, with the place of each.

    Attributes:
        values: The mapping at the top.
        path: The file as typed.
        marks: (line, column) by path of keys, both from 1.
    """

    values: dict[str, Any]
    path: str
    marks: dict[Keys, tuple[int, int]] = field(repr=False)

    def where(self, *keys: str | int) -> str:
        """Return `file:line:column` of a value, or of the nearest mapping round it."""
        while keys not in self.marks:
            keys = keys[:-1]
        line, column = self.marks[keys]
        return f"{self.path}:{line}:{column}"


def load(path: str | Path) -> Config:
    """Read a config file.

    Raises:
        UsageError: `not-found`, `not-a-file`, `permission`, `range` (over 1 MiB), `encoding`, `empty`, `syntax`,
            `type`, `duplicate-key`, `unsafe-tag`, `alias` or `depth`.
    """
    return parse(read_bytes(path, UsageError, MAX_BYTES + 1), str(path))


def parse(data: bytes, path: str) -> Config:
    """Return the config that `data` holds; raises as `load`."""
    if len(data) > MAX_BYTES:
        raise UsageError("range", path, "a config is at most 1 MiB", f"{len(data)} bytes or more")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise UsageError("encoding", f"{path}:{line}:{column}", "expected UTF-8") from error
    reader = _Reader(text, path)
    values = reader.read()
    return Config(values, path, reader.marks)


def run_name(name: str, where: str) -> str:
    """Return a name that is safe as a file name.

    Raises:
        UsageError: `name`.
    """
    if not isinstance(name, str) or not _RUN_NAME.fullmatch(name):
        raise UsageError("name", where, f"'{name}' is no name", hint="use letters, digits, '.', '_', '-', at most 100")
    return name


def _scalar(text: str) -> Any:
    """Return what a plain scalar means in the core schema of YAML 1.2, without its octal and hexadecimal forms."""
    if text in _NAMED:
        return _NAMED[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


class _Reader:
    """Builds values from the parser's events, so that each limit holds before anything is built."""

    # Events are Any: their attributes depend on their kind, and their marks are optional only on paper.

    def __init__(self, text: str, path: str) -> None:
        self.path = path
        self.marks: dict[Keys, tuple[int, int]] = {(): (1, 1)}
        self._events = self._parsed(text)
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._aliases = self._nodes = 0

    def read(self) -> dict[str, Any]:
        next(self._events)
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            raise UsageError("empty", self.path, "holds no setting")
        event = next(self._events)
        if isinstance(event, yaml.ScalarEvent) and event.value == "" and event.implicit[0]:
            raise UsageError("empty", self.path, "holds no setting")
        values = self._value(event, ())
        next(self._events)
        last = next(self._events)
        if not isinstance(last, yaml.StreamEndEvent):
            raise self._error("syntax", last, "a second document")
        if not isinstance(values, dict):
            raise self._error("type", event, f"expected a mapping at the top, got {type(values).__name__}")
        return values

    def _parsed(self, text: str) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(text, Loader=_PARSER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
            raise UsageError("syntax", self.path + place, error.problem or "cannot be parsed") from error
        except yaml.YAMLError as error:
            raise UsageError("syntax", self.path, str(error).splitlines()[0]) from error

    def _error(self, code: str, event: Any, what: str, hint: str = "") -> UsageError:
        mark = event.start_mark
        return UsageError(code, f"{self.path}:{mark.line + 1}:{mark.column + 1}", what, hint=hint)

    def _value(self, event: Any, at: Keys) -> Any:
        mark = event.start_mark
        self.marks[at] = (mark.line + 1, mark.column + 1)
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event)
        self._count(event, 1)
        if len(at) >= MAX_DEPTH:
            raise self._error("depth", event, f"nested deeper than {MAX_DEPTH}")
        if event.tag is not None:
            raise self._error("unsafe-tag", event, f"tag '{event.tag}'", "tags are not used here")
        before = self._nodes
        value = self._built(event, at)
        if event.anchor:
            self._anchors[event.anchor] = value, self._nodes - before + 1
        return value

    def _built(self, event: yaml.Event, at: Keys) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            if event.implicit[0] and len(event.value) > MAX_DIGITS and _INTEGER.fullmatch(event.value):
                raise self._error("range", event, f"an integer of more than {MAX_DIGITS} digits")
            return _scalar(event.value) if event.implicit[0] else event.value
        return self._sequence(at) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(at)

    def _count(self, event: yaml.Event, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise self._error("alias" if nodes > 1 else "range", event, f"more than {MAX_NODES} values")

    def _aliased(self, event: yaml.AliasEvent) -> Any:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise self._error("alias", event, f"more than {MAX_ALIASES} aliases")
        if event.anchor not in self._anchors:  # a node's own anchor is known only once the node is whole
            raise self._error("alias", event, f"'*{event.anchor}' names nothing that stands before it")
        value, size = self._anchors[event.anchor]
        self._count(event, max(size, 2))
        return copy.deepcopy(value)

    def _sequence(self, at: Keys) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            values.append(self._value(event, (*at, len(values))))
        return values

    def _mapping(self, at: Keys) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event)
            if key in own:
                raise self._error("duplicate-key", event, f"'{key}' stands here twice")
            value_event = next(self._events)
            value = self._value(value_event, (*at, key))
            if key == "<<":
                merged |= self._merged(value_event, value)
            else:
                own[key] = value
        return {**{k: v for k, v in merged.items() if k not in own}, **own}

    def _key(self, event: yaml.Event) -> str:
        plain = isinstance(event, yaml.ScalarEvent) and event.tag is None and not event.anchor
        key = self._built(event, ()) if plain else None
        if not isinstance(key, str):
            raise self._error(
                "unsafe-tag" if getattr(event, "tag", None) else "type", event, "a key must be plain text"
            )
        return key

    def _merged(self, event: yaml.Event, value: Any) -> dict[str, Any]:
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            raise self._error("type", event, "'<<' takes a mapping or a list of them")
        return {k: v for part in reversed(parts) for k, v in part.items()}
