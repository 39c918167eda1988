"""Strict YAML: what a config file says is what is meant, or it is refused with line and column.

YAML 1.2 scalars (`1e-4` is a number; `no`, `010` and `1:30` are text), no tags, no duplicate keys, sparing anchors.
"""

import copy
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cmrgz.durable import read_bytes
from cmrgz.errors import UsageError

MAX_BYTES, MAX_DEPTH, MAX_ALIASES, MAX_NODES, MAX_DIGITS = 1 << 20, 32, 100, 20_000, 400

Keys = tuple[str | int, ...]

_CORE = "tag:yaml.org,2002:"
_STRING, _INTEGER, _MERGE = _CORE + "str", _CORE + "int", _CORE + "merge"
_SCALARS = {
    _CORE + "null": r"(~|null|Null|NULL)?",
    _CORE + "bool": r"true|True|TRUE|false|False|FALSE",
    _INTEGER: r"[-+]?(0|[1-9][0-9]*)",
    _CORE + "float": r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    _MERGE: r"<<",
}
"""Plain scalars of the core schema of YAML 1.2, without its octal and hexadecimal forms; all others are text."""
# libyaml reads 1 MiB in time, and valid YAML that PyYAML's own scanner refuses (a tab at the end of a line), but its
# composer cannot be overridden: PyYAML's composer is put before it, and composes libyaml's events.
_BASES: Any = (yaml.composer.Composer, yaml.CSafeLoader) if yaml.__with_libyaml__ else (yaml.SafeLoader,)
_Base: Any = type("_Base", _BASES, {})


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
    try:
        loader = _Loader(text, path)
        return Config(loader.values(), path, loader.places)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        code = "type" if isinstance(error, yaml.constructor.ConstructorError) else "syntax"
        raise UsageError(code, path + place, error.problem or "cannot be parsed") from error
    except yaml.YAMLError as error:
        raise UsageError("syntax", path, str(error).splitlines()[0]) from error


class _Loader(_Base):  # type: ignore[misc]
    """PyYAML's safe loader with limits, which hold before anything is built, and the place of each value."""

    # Events and nodes are Any: what they have depends on their kind, and their marks are optional only on paper.

    yaml_implicit_resolvers = {None: [(tag, re.compile(rf"(?:{plain})\Z")) for tag, plain in _SCALARS.items()]}

    def __init__(self, text: str, path: str) -> None:
        _BASES[-1].__init__(self, text)
        yaml.composer.Composer.__init__(self)
        self.path = path
        self.places: dict[Keys, tuple[int, int]] = {}
        self._anchored: dict[str, Any] = {}
        self._aliases = self._nodes = self._depth = 0

    def values(self) -> dict[str, Any]:
        root: Any = self.get_single_node()
        if root is None or (root.tag == _CORE + "null" and root.value == ""):
            raise UsageError("empty", self.path, "holds no setting")
        values = self.construct_document(root)
        if not isinstance(values, dict):
            raise self._error("type", root, f"expected a mapping at the top, got {type(values).__name__}")
        self._mark(root, ())
        self.places[()] = (1, 1)
        return values

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        is_key = isinstance(parent, yaml.MappingNode) and index is None
        if is_key and (event.anchor or not isinstance(event, yaml.ScalarEvent)):
            raise self._error("type", event, "a key must be plain text")
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(self.get_event())
        self._count(event, self._depth)
        if event.tag is not None:
            raise self._error("unsafe-tag", event, f"tag '{event.tag}'", "tags are not used here")
        self.anchors.clear()  # a name may be given to another value later; the composer would refuse that
        self._depth += 1
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor:
            self._anchored[event.anchor] = node
        return node

    def compose_scalar_node(self, anchor: Any) -> Any:
        node: Any = super().compose_scalar_node(anchor)
        if node.tag == _INTEGER and len(node.value) > MAX_DIGITS:
            raise self._error("range", node, f"an integer of more than {MAX_DIGITS} digits")
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node: Any = super().compose_mapping_node(anchor)
        names = set()
        for key, _ in node.value:
            if key.tag not in (_STRING, _MERGE):
                raise self._error("type", key, "a key must be plain text")
            if key.value in names and key.tag != _MERGE:
                raise self._error("duplicate-key", key, f"'{key.value}' stands here twice")
            names.add(key.value)
        return node

    def _aliased(self, event: Any) -> Any:
        """Return a copy: else a change of one value would change another."""
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise self._error("alias", event, f"more than {MAX_ALIASES} aliases")
        if event.anchor not in self._anchored:  # a node's own anchor is known only once the node is whole
            raise self._error("alias", event, f"'*{event.anchor}' names nothing that stands before it")
        node = self._anchored[event.anchor]
        self._count_all(event, node, self._depth)
        return copy.deepcopy(node)

    def _count_all(self, event: Any, node: Any, depth: int) -> None:
        self._count(event, depth)
        for _, child in _children(node):
            self._count_all(event, child, depth + 1)

    def _count(self, event: Any, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            code = "alias" if isinstance(event, yaml.AliasEvent) else "range"
            raise self._error(code, event, f"more than {MAX_NODES} values")
        if depth >= MAX_DEPTH:
            raise self._error("depth", event, f"nested deeper than {MAX_DEPTH}")

    def _error(self, code: str, at: Any, what: str, hint: str = "") -> UsageError:
        mark = at.start_mark
        return UsageError(code, f"{self.path}:{mark.line + 1}:{mark.column + 1}", what, hint=hint)

    def _mark(self, node: Any, at: Keys) -> None:
        self.places[at] = (node.start_mark.line + 1, node.start_mark.column + 1)
        for key, value in _children(node):
            self._mark(value, (*at, key))


_Loader.add_constructor(_MERGE, lambda loader, node: "<<")  # as a value, `<<` is text


def _children(node: Any) -> list[tuple[str | int, Any]]:
    if isinstance(node, yaml.MappingNode):
        return [(key.value, value) for key, value in node.value]
    return list(enumerate(node.value)) if isinstance(node, yaml.SequenceNode) else []
