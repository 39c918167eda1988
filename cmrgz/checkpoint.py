"""A folder <-> a trained model or tokenizer: `weights.safetensors` and `meta.json`, nothing pickled.

A model's checkpoint is whole by itself: its tokenizer is a sub-folder `tokenizer/`, or, where it is the one that a
package bundles, a reference by name and hash that is checked on load.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from cmrgz import options as schemas
from cmrgz import registry, weights
from cmrgz.durable import exists, is_file, is_folder, write_directory
from cmrgz.errors import CheckpointError, UsageError, did_you_mean
from cmrgz.loading import Device, find_spec, loaded, own_state, sha256
from cmrgz.loading import Opened as Opened
from cmrgz.loading import bundled as bundled
from cmrgz.loading import load as load
from cmrgz.meta import DTYPES, META, TOKENIZER, WEIGHTS, Link, Meta, read_folder, read_meta, write_meta
from cmrgz.model import Model, Tokenizer
from cmrgz.plugin import Extent, Kind, Spec
from cmrgz.vocabulary import Vocabulary


def describe(
    spec: Spec,
    options: Mapping[str, Any],
    *,
    extent: Extent,
    training: Mapping[str, Any] | None = None,
    conditions: Vocabulary | None = None,
) -> Meta:
    """Return the meta of something freshly built, for `save`.

    Args:
        spec: What was built.
        options: Its builder's options; those not given are recorded with their defaults.
        extent: What one call sees, of the items that it was trained on.
        training: What else to keep, in JSON's types: seed, steps, split hash, metrics.
        conditions: What a model has learned to be told of patients.
    """
    entry = registry.find_entry(spec)
    return Meta(
        kind=spec.kind,
        name=spec.name,
        package=entry.package,
        version=entry.version,
        protocol=spec.protocol,
        options=schemas.complete(options, registry.build_schema(spec)),
        axes=extent.axes,
        item=extent.item,
        spacing=extent.spacing,
        conditions=dict(conditions or {}),
        training=dict(training or {}),
    )


def save(
    path: str | Path,
    module: Model | Tokenizer,
    meta: Meta,
    *,
    tokenizer: Opened[Tokenizer] | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
) -> Meta:
    """Write a checkpoint folder, whole or not at all.

    Args:
        path: The folder; its parent must be there.
        module: What was trained.
        meta: From `describe`, or from `load` when something is trained further.
        tokenizer: A model's tokenizer, as `open_tokenizer` gives it.
        dtype: `float32`, or `float16` for half the size; loaded back as float32.
        overwrite: Replace a folder that is there.

    Returns:
        The meta as written, with hashes.

    Raises:
        UsageError: `exists`.
        CheckpointError: `nonfinite`.
        ResourceError: As `durable.write_directory`.
    """
    if exists(path) and not overwrite:
        raise UsageError("exists", str(path), "is already there", hint="choose another name, or pass --overwrite")
    contents = _contents(module, meta, tokenizer, dtype)
    write_directory(path, contents)
    return read_meta(contents[META], str(path))


def open_model(target: str | Path, device: Device = "cpu") -> Opened[Model]:
    """Return a model, which knows its extent, and its meta: bundled weights of a name, or a checkpoint folder.

    Raises:
        UsageError: `unknown-plugin`: it is neither.
        CheckpointError: `no-checkpoint` for a name without bundled weights; else as `load`.
    """
    return open_kind("model", target, device)


def open_tokenizer(target: str | Path, device: Device = "cpu") -> Opened[Tokenizer]:
    """Return a tokenizer with its meta, and raise, as `open_model` does for a model."""
    return open_kind("tokenizer", target, device)


def open_kind(kind: Kind, target: str | Path, device: Device = "cpu") -> Opened[Any]:
    """Return what `open_model` or `open_tokenizer` returns."""
    return loaded(*_found(kind, target), device)


def peek_model(target: str | Path) -> Meta:
    """Return the meta of what `open_model` would open, without its weights.

    Raises:
        UsageError: `unknown-plugin`.
        CheckpointError: As `open_model`, for what can be told from the meta alone.
        PluginError: The plugin that it names is broken.
    """
    folder, meta = _found("model", target)
    find_spec(registry.models(), meta, folder)
    return meta


def _found(kind: Kind, target: str | Path) -> tuple[Path, Meta]:
    """Return the folder of bundled weights or of a checkpoint, and its meta, if it is of this kind."""
    folder = _folder(target, registry.entries(kind), kind)
    meta = read_folder(folder)
    if meta.kind != kind:
        what = f"expected a {kind}, got the {meta.kind} '{meta.name}'"
        raise CheckpointError("config-mismatch", str(target), what)
    return folder, meta


def _folder(target: str | Path, entries: Mapping[str, registry.Entry[Any]], noun: str) -> Path:
    path = Path(target)
    # A registered name comes before a folder of that name, which `./NAME` still reaches.
    if (entry := registry.find(str(target), entries)) is not None:
        folder = bundled(entry.require())
        if folder is None:
            hint = f"train one: cmrgz train {target}" if noun == "model" else "name a checkpoint folder"
            raise CheckpointError("no-checkpoint", str(target), f"this {noun} comes without weights", hint=hint)
        return folder
    if is_folder(path):
        return path
    if is_file(path):
        weights.refuse_file(path)
    what = f"neither a registered {noun} nor a checkpoint folder"
    raise UsageError("unknown-plugin", str(target), what, hint=did_you_mean(str(target), entries) if entries else "")


def _contents(module: nn.Module, meta: Meta, tokenizer: Opened[Tokenizer] | None, dtype: str) -> dict[str, bytes]:
    """Return the files of a checkpoint by relative name, the meta last."""
    kept: dict[str, bytes] = {}
    link = None
    # A tokenizer that was trained further, or elsewhere, goes along; the bundled one is in the package anyway.
    if tokenizer is not None and (link := _bundled_link(tokenizer)) is None:
        # Stored in its own precision, so that its hash stays that of the tokenizer that the model was trained on.
        kept = {f"{TOKENIZER}/{n}": data for n, data in _contents(*tokenizer, None, tokenizer.meta.dtype).items()}
        inner = read_meta(kept[f"{TOKENIZER}/{META}"], TOKENIZER)
        link = Link(inner.name, inner.package, inner.version, inner.sha256, bundled=False)
    data = weights.dump(own_state(module, tokenizer and tokenizer.module), DTYPES[dtype])
    return {WEIGHTS: data, **kept, META: write_meta(meta, tokenizer=link, dtype=dtype, sha256=sha256(data))}


def _bundled_link(tokenizer: Opened[Tokenizer]) -> Link | None:
    """Return a reference to the bundled tokenizer where `tokenizer` is that one, to the bit."""
    module, meta = tokenizer
    entry = registry.find(meta.qualified, registry.tokenizers())
    folder = bundled(entry.require()) if entry else None
    if folder is None or entry is None:
        return None
    installed = read_folder(folder)
    # Stored as the bundled weights are, so that equal weights give equal bytes, and the hash tells.
    data = weights.dump(own_state(module, None), DTYPES[installed.dtype])
    if (sha256(data), meta.options) != (installed.sha256, installed.options):
        return None
    return Link(meta.name, entry.package, entry.version, installed.sha256, bundled=True)
