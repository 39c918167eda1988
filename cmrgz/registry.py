"""Entry points -> specs -> built models. Does not import torch until something is built.

A broken plugin is listed with its reason and never stops the others; using it raises that reason.
"""

import importlib
import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import redirect_stdout
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, NoReturn, get_type_hints

from cmrgz import options
from cmrgz.errors import PluginError, UsageError, did_you_mean, last_line, of_a_plugin
from cmrgz.plugin import PROTOCOL, Kind, ModelSpec, TokenizerSpec
from cmrgz.plugin import Entry as Entry
from cmrgz.plugin import S as S
from cmrgz.plugin import Spec as Spec
from cmrgz.signals import unmuffled

if TYPE_CHECKING:
    from cmrgz.model import Model, Tokenizer

MODELS, TOKENIZERS = "cmrgz.models", "cmrgz.tokenizers"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_SAMPLE_ARGUMENTS = ("self", "x", "known", "condition", "rng", "progress")


def models() -> dict[str, Entry[ModelSpec]]:
    """Return the registered models by name, broken ones too.

    Raises:
        PluginError: One is broken and `CMRGZ_STRICT_PLUGINS` is set.
    """
    return _installed(MODELS, ModelSpec, os.environ.get("CMRGZ_PLUGINS"), bool(os.environ.get("CMRGZ_STRICT_PLUGINS")))


def tokenizers() -> dict[str, Entry[TokenizerSpec]]:
    """Return the registered tokenizers by name, broken ones too.

    Raises:
        PluginError: One is broken and `CMRGZ_STRICT_PLUGINS` is set.
    """
    strict = bool(os.environ.get("CMRGZ_STRICT_PLUGINS"))
    return _installed(TOKENIZERS, TokenizerSpec, os.environ.get("CMRGZ_PLUGINS"), strict)


def get_model(name: str) -> ModelSpec:
    """Return the spec of a registered model, `name` or `package:name`.

    Raises:
        UsageError: `unknown-plugin`, with the nearest name.
        PluginError: It is broken.
    """
    return _get(name, models(), "model")


def get_tokenizer(name: str) -> TokenizerSpec:
    """Return the spec of a registered tokenizer, `name` or `package:name`.

    Raises:
        UsageError: `unknown-plugin`, with the nearest name.
        PluginError: It is broken.
    """
    return _get(name, tokenizers(), "tokenizer")


def collect(points: Iterable[EntryPoint], kind: type[S], allowed: str | None = None) -> dict[str, Entry[S]]:
    """Return the entries of entry points by name, sorted; none is imported.

    A name that several packages register is broken; each of them is there as `package:name`.

    Args:
        points: Entry points of one group.
        kind: What their targets must be.
        allowed: Comma-separated names or packages to take; "" takes none, None takes all.
    """
    named: dict[str, list[EntryPoint]] = {}
    for point in points:
        if is_allowed(point, allowed):
            named.setdefault(point.name, []).append(point)
    entries = [entry for name in sorted(named) for entry in _entries(named[name], kind)]
    return {entry.name: entry for entry in entries}


def find(name: str, entries: Mapping[str, Entry[S]]) -> Entry[S] | None:
    """Return the entry that `name` or `package:name` selects, or None."""
    package, _, plain = name.rpartition(":")
    if name in entries:
        return entries[name]
    # Of names that several packages register `package:name` is an entry itself; of others it is taken apart here.
    return entries[plain] if plain in entries and entries[plain].package == package else None


def entries(kind: Kind) -> Mapping[str, Entry[Any]]:
    """Return what `models` or `tokenizers` returns."""
    return models() if kind == "model" else tokenizers()


def find_entry(spec: Spec) -> Entry[Any]:
    """Return the entry that a spec is of.

    Raises:
        UsageError: `unknown-plugin`: it is not registered.
    """
    own = [e for e in entries(spec.kind).values() if e.name.rpartition(":")[2] == spec.name and e.spec == spec]
    if not own:
        raise UsageError("unknown-plugin", spec.name, "this spec is not registered")
    return own[0]


def describe_plugins(used: Collection[str]) -> list[dict[str, Any]]:
    """Return name, package, version and entry point of all plugins, for the record of a run; imports none.

    Args:
        used: Those that the run uses, as `package:name`; the others may have changed what it did, too.
    """
    entries: list[Entry[Any]] = [*models().values(), *tokenizers().values()]
    return [
        {"name": e.name, "package": e.package, "version": e.version, "target": e.target}
        | {"used": f"{e.package}:{e.name.rpartition(':')[2]}" in used}
        for e in entries
    ]


def is_allowed(point: EntryPoint, allowed: str | None) -> bool:
    """Whether `CMRGZ_PLUGINS`, a list of names, packages and `package:name`, has it; None has all."""
    package = owner(point)[0]
    ways = {point.name, package, f"{package}:{point.name}"}
    return allowed is None or bool({part.strip() for part in allowed.split(",")} & ways)


def is_name(name: str) -> bool:
    """Whether a plugin may register this name."""
    return len(name) <= 40 and _NAME.fullmatch(name) is not None


def resolve(target: str) -> Any:
    """Import what `package.module:function` names. The only place where the core imports foreign code.

    Raises:
        PluginError: `plugin-protocol` for another form, `plugin-broken` where the import fails.
        KeyboardInterrupt: Ctrl-C came meanwhile, whatever the import made of it.
    """
    if not _TARGET.fullmatch(target):
        raise PluginError("plugin-protocol", target, "expected package.module:function")
    module, _, attribute = target.partition(":")
    # What a plugin prints while it is imported must not get into the JSON that a command prints.
    with unmuffled(), redirect_stdout(sys.stderr):
        try:
            return getattr(importlib.import_module(module), attribute)
        except BaseException as error:  # a plugin may raise anything, SystemExit too; it must not end the program
            raise PluginError("plugin-broken", target, f"cannot be imported: {last_line(error)}") from error


def build_schema(spec: Spec) -> dict[str, options.Option]:
    """Return the architecture's options: the keywords of the builder, but for the tokenizer that a model is given."""
    return options.schema(resolve(spec.build), skip=() if spec.tokenizer is None else ("tokenizer",))


def sample_schema(model: "ModelSpec | Model") -> dict[str, options.Option]:
    """Return the sampling options of a model, or of the class that a spec's builder says it returns.

    Raises:
        PluginError: `plugin-protocol` where the builder's return annotation is no Model.
    """
    from cmrgz.model import Model

    kind = type(model) if isinstance(model, Model) else model_class(model)
    return options.schema(kind.sample, skip=_SAMPLE_ARGUMENTS)


def model_class(spec: ModelSpec) -> "type[Model]":
    """Return the class that a spec's builder says it returns.

    Raises:
        PluginError: `plugin-protocol` where the builder's return annotation is no Model.
    """
    from cmrgz.model import Model

    built = get_type_hints(resolve(spec.build)).get("return")
    if not (isinstance(built, type) and issubclass(built, Model)):
        raise PluginError("plugin-protocol", spec.build, "does not say which Model it returns", hint="annotate it")
    return built


def build_model(spec: ModelSpec, tokenizer: "Tokenizer | None", given: Mapping[str, Any]) -> "Model":
    """Build a model with fresh weights.

    Args:
        spec: What to build.
        tokenizer: The tokenizer that it asks for, or None if it asks for none.
        given: Builder options by name; the others have their defaults.

    Raises:
        UsageError: An option is unknown or wrong.
        PluginError: The builder failed, or what it built breaks the protocol.
    """
    from cmrgz.model import Model

    if (spec.tokenizer is None) != (tokenizer is None):
        wanted = f"needs the tokenizer '{spec.tokenizer}'" if spec.tokenizer else "takes no tokenizer"
        raise PluginError("plugin-protocol", spec.name, wanted)
    values = options.parse(dict(given), build_schema(spec), spec.name)
    model = _build(spec, values if tokenizer is None else {"tokenizer": tokenizer, **values})
    if not isinstance(model, Model):
        raise _wrong_type(spec, "Model", model)
    sample_schema(model)
    return model


def build_tokenizer(spec: TokenizerSpec, given: Mapping[str, Any]) -> "Tokenizer":
    """Build a tokenizer with fresh weights; raises as `build_model`."""
    from cmrgz.model import Tokenizer

    tokenizer = _build(spec, options.parse(dict(given), build_schema(spec), spec.name))
    if not isinstance(tokenizer, Tokenizer):
        raise _wrong_type(spec, "Tokenizer", tokenizer)
    return tokenizer


def _build(spec: Spec, arguments: Mapping[str, Any]) -> object:
    build = resolve(spec.build)
    with of_a_plugin(spec.name, "cannot be built"):
        return build(**arguments)


def _wrong_type(spec: Spec, wanted: str, built: object) -> PluginError:
    return PluginError("plugin-protocol", spec.name, f"expected a {wanted}, got {type(built).__name__}")


@cache
def _installed(group: str, kind: type[S], allowed: str | None, strict: bool) -> dict[str, Entry[S]]:
    # The variables of the environment are arguments, so that the cache sees when they change.
    entries = collect(entry_points(group=group), kind, allowed)
    if strict:
        for entry in entries.values():
            entry.require()
    return entries


def _get(name: str, entries: Mapping[str, Entry[S]], noun: str) -> S:
    entry = find(name, entries)
    if entry is None:
        hint = did_you_mean(name, entries) if entries else f"no {noun} is installed"
        raise UsageError("unknown-plugin", name, f"no registered {noun} has this name", hint=hint)
    return entry.require()


def owner(point: EntryPoint) -> tuple[str, str]:
    """Return name and version of the package that an entry point belongs to."""
    return (point.dist.name, point.dist.version) if point.dist else ("an unknown package", "0")


def _entries(points: list[EntryPoint], kind: type[S]) -> list[Entry[S]]:
    """Return the entry of a name, or what refuses it and an entry for each of several packages."""
    name, several = points[0].name, len(points) > 1
    owners = [owner(point) for point in points]
    ways = [f"{package}:{name}" for package, _ in owners] if several else [name]
    found: list[Entry[S]] = []
    for way, owned, point in zip(ways, owners, points, strict=True):
        found.append(Entry(way, *owned, point.value, partial(_load, point, kind)))
    if several:
        packages, versions = (" and ".join(parts) for parts in zip(*owners, strict=True))
        found.insert(0, Entry(name, packages, versions, "", partial(_refuse_clash, name, owners, ways)))
    return found


def _refuse_clash(name: str, owners: list[tuple[str, str]], ways: list[str]) -> NoReturn:
    what = f"registered by {' and by '.join(map(' '.join, owners))}"
    raise PluginError("plugin-duplicate", name, what, hint=f"write {' or '.join(ways)}, or set CMRGZ_PLUGINS")


def _load(point: EntryPoint, kind: type[S]) -> S:
    name, owned = point.name, " ".join(owner(point))
    if not is_name(name):
        raise PluginError("plugin-name", name, f"{owned} registers a name that is not like 'ar-vq'")
    try:
        spec = resolve(point.value)
    except PluginError as error:
        raise PluginError(error.code, name, f"{owned} {error.what}") from error
    if not isinstance(spec, kind) or spec.name != name:
        got = f"named '{spec.name}'" if isinstance(spec, kind) else type(spec).__name__
        raise PluginError("plugin-protocol", name, f"{owned} must give a {kind.__name__} '{name}', got {got}")
    if spec.protocol != PROTOCOL:
        what = f"{owned} has protocol {spec.protocol}, not {PROTOCOL}"
        outdated = "cmrgz" if spec.protocol > PROTOCOL else owned
        raise PluginError("plugin-protocol", name, what, hint=f"update {outdated}")
    return spec
