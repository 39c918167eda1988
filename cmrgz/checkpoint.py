"""A folder <-> a trained model or tokenizer: `weights.safetensors` and `meta.json`, nothing pickled.

A model's checkpoint is whole by itself: its tokenizer is a sub-folder `tokenizer/`, or, where it is the one that a
distribution bundles, a reference by name and hash that is checked on load.
"""

import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import torch
from packaging.version import Version
from torch import Tensor, nn

from cmrgz import options as schemas
from cmrgz import registry, weights
from cmrgz.conditions import learn
from cmrgz.durable import exists, is_file, is_folder, write_directory
from cmrgz.errors import CheckpointError, PluginError, UsageError, did_you_mean
from cmrgz.meta import DTYPES, META, TOKENIZER, WEIGHTS, Link, Meta, read_folder, read_meta, rename, write_meta
from cmrgz.model import Model, Tokenizer
from cmrgz.plugin import PROTOCOL, Extent, ModelSpec, TokenizerSpec
from cmrgz.skeletons import check_grid, check_options
from cmrgz.vocabulary import Vocabulary

Device = str | torch.device
M = TypeVar("M", Model, Tokenizer)


def describe(
    spec: ModelSpec | TokenizerSpec,
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
    entry: registry.Entry[Any]
    if isinstance(spec, ModelSpec):
        entry, schema = registry.find_entry(spec, registry.models()), registry.model_schema(spec)
    else:
        entry, schema = registry.find_entry(spec, registry.tokenizers()), registry.tokenizer_schema(spec)
    return Meta(
        kind="model" if isinstance(spec, ModelSpec) else "tokenizer",
        name=spec.name,
        distribution=entry.distribution,
        version=entry.version,
        protocol=spec.protocol,
        options=schemas.complete(options, schema),
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
    tokenizer: tuple[Tokenizer, Meta] | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
) -> Meta:
    """Write a checkpoint folder, whole or not at all.

    Args:
        path: The folder; its parent must be there.
        module: What was trained.
        meta: From `describe`, or from `load` when something is trained further.
        tokenizer: A model's tokenizer with its meta, as `open_tokenizer` gives them.
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


def load(path: str | Path, device: Device = "cpu") -> tuple[Model | Tokenizer, Meta]:
    """Build what a checkpoint folder describes and give it its weights; in eval mode, float32.

    No code runs but that of installed plugins, which are named by their registered name only.

    Raises:
        CheckpointError: The folder is no checkpoint, or was damaged, or does not fit what is installed here.
        PluginError: The plugin that it names is broken.
    """
    folder = Path(path)
    meta = read_folder(folder)
    if meta.kind == "tokenizer":
        return _loaded_tokenizer(folder, meta).to(device), meta
    return _loaded_model(folder, meta).to(device), meta


def open_model(target: str | Path, device: Device = "cpu") -> tuple[Model, Meta]:
    """Return a model, which knows its extent, and its meta: bundled weights of a name, or a checkpoint folder.

    Raises:
        UsageError: `unknown-plugin`: it is neither.
        CheckpointError: `no-checkpoint` for a name without bundled weights; else as `load`.
    """
    module, meta = load(_folder(target, registry.models(), "model"), device)
    if not isinstance(module, Model):
        raise CheckpointError("config-mismatch", str(target), f"expected a model, got the tokenizer '{meta.name}'")
    return module, meta


def peek_model(target: str | Path) -> Meta:
    """Return the meta of what `open_model` would open, without its weights.

    Raises:
        UsageError: `unknown-plugin`.
        CheckpointError: As `open_model`, for what can be told from the meta alone.
        PluginError: The plugin that it names is broken.
    """
    folder = _folder(target, registry.models(), "model")
    meta = read_folder(folder)
    if meta.kind != "model":
        raise CheckpointError("config-mismatch", str(target), f"expected a model, got the tokenizer '{meta.name}'")
    _spec(registry.models(), meta, folder)
    return meta


def open_tokenizer(target: str | Path, device: Device = "cpu") -> tuple[Tokenizer, Meta]:
    """Return a tokenizer with its meta, and raise, as `open_model` does for a model."""
    module, meta = load(_folder(target, registry.tokenizers(), "tokenizer"), device)
    if not isinstance(module, Tokenizer):
        raise CheckpointError("config-mismatch", str(target), f"expected a tokenizer, got the model '{meta.name}'")
    return module, meta


def bundled(spec: ModelSpec | TokenizerSpec) -> Path | None:
    """Return the folder of a spec's bundled weights, or None where it has none.

    Raises:
        PluginError: `plugin-broken`: the distribution lacks the weights that it promises.
    """
    if spec.checkpoint is None:
        return None
    package, _, folder = spec.checkpoint.partition(":")
    path = Path(str(files(package) / folder))
    if not is_file(path / META):
        raise PluginError("plugin-broken", spec.name, f"has no weights at {spec.checkpoint}", hint="install it again")
    return path


def _folder(target: str | Path, entries: Mapping[str, registry.Entry[Any]], noun: str) -> Path:
    path = Path(target)
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


def _contents(module: nn.Module, meta: Meta, tokenizer: tuple[Tokenizer, Meta] | None, dtype: str) -> dict[str, bytes]:
    """Return the files of a checkpoint by relative name, the meta last."""
    kept: dict[str, bytes] = {}
    link = None
    if tokenizer is not None and (link := _bundled_link(*tokenizer)) is None:
        kept = {f"{TOKENIZER}/{n}": data for n, data in _contents(*tokenizer, None, tokenizer[1].dtype).items()}
        inner = read_meta(kept[f"{TOKENIZER}/{META}"], TOKENIZER)
        link = Link(inner.name, inner.distribution, inner.version, inner.sha256, bundled=False)
    data = weights.dump(_own_state(module, tokenizer and tokenizer[0]), DTYPES[dtype])
    return {WEIGHTS: data, **kept, META: write_meta(meta, tokenizer=link, dtype=dtype, sha256=_sha256(data))}


def _bundled_link(tokenizer: Tokenizer, meta: Meta) -> Link | None:
    """Return a reference to the bundled tokenizer where `tokenizer` is that one, to the bit."""
    entry = registry.find(meta.qualified, registry.tokenizers())
    folder = bundled(entry.require()) if entry else None
    if folder is None or entry is None:
        return None
    installed = read_folder(folder)
    data = weights.dump(_own_state(tokenizer, None), DTYPES[installed.dtype])
    if (_sha256(data), meta.options) != (installed.sha256, installed.options):
        return None
    return Link(meta.name, entry.distribution, entry.version, installed.sha256, bundled=True)


def _own_state(module: nn.Module, tokenizer: nn.Module | None) -> dict[str, Tensor]:
    """Return a module's tensors by name without those of its tokenizer, which has a checkpoint of its own."""
    inside = [f"{name}." for name, part in module.named_modules() if part is tokenizer]
    return {name: t for name, t in module.state_dict().items() if not name.startswith(tuple(inside))}


def _sha256(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


def _loaded_tokenizer(folder: Path, meta: Meta) -> Tokenizer:
    spec = _spec(registry.tokenizers(), meta, folder)
    return _filled(folder, meta, None, lambda: registry.build_tokenizer(spec, meta.options))


def _loaded_model(folder: Path, meta: Meta) -> Model:
    spec = _spec(registry.models(), meta, folder)
    if spec.tokenizer is not None and meta.tokenizer is None:
        raise CheckpointError("header", str(folder / META), f"names no tokenizer, and '{meta.name}' needs one")
    tokenizer = _linked_tokenizer(folder, meta.tokenizer)
    if tokenizer is not None:
        check_grid(meta, tokenizer.patch, str(folder / META))

    def build() -> Model:
        model = registry.build_model(spec, tokenizer, meta.options)
        learn(model, meta.conditions)
        return model

    model = _filled(folder, meta, tokenizer, build)
    model.extent = meta.extent
    return model


def _spec(entries: Mapping[str, registry.Entry[registry.S]], meta: Meta, folder: Path) -> registry.S:
    """Return the installed spec that a checkpoint names, if it is of the same distribution and not older."""
    made, hint = f"{meta.distribution} {meta.version}", f"pip install {meta.distribution}=={meta.version}"
    if meta.name not in entries:
        what = f"needs the {meta.kind} '{meta.name}', which is not installed"
        raise CheckpointError("unknown-plugin", str(folder), what, f"made with {made}", hint)
    entry = registry.find(meta.qualified, entries) or entries[meta.name]
    newer = Version(meta.version).release[:2] > Version(entry.version).release[:2]
    if entry.distribution != meta.distribution or newer or meta.protocol > PROTOCOL:
        what = f"made with {made}, here is {entry.distribution} {entry.version}"
        raise CheckpointError("version-skew", str(folder), what, f"protocol {meta.protocol}, {PROTOCOL} here", hint)
    return entry.require()


def _linked_tokenizer(folder: Path, link: Link | None) -> Tokenizer | None:
    if link is None:
        return None
    inner = folder / TOKENIZER
    if link.bundled:
        entry = registry.find(link.qualified, registry.tokenizers())
        home = bundled(entry.require()) if entry else None
        if home is None:
            what = f"needs the tokenizer '{link.name}' with its weights"
            raise CheckpointError("unknown-plugin", str(folder), what, hint=f"pip install {link.requirement}")
        inner = home
    meta = read_folder(inner)
    if meta.kind != "tokenizer" or meta.sha256 != link.sha256:
        what = f"was trained with another tokenizer '{link.name}'"
        facts = f"sha256 {link.sha256[:12]}, here {meta.sha256[:12]}"
        hint = f"pip install {link.requirement}" if link.bundled else ""
        raise CheckpointError("hash", str(folder), what, facts, hint)
    return _loaded_tokenizer(inner, meta)


def _filled(folder: Path, meta: Meta, tokenizer: Tokenizer | None, build: Callable[[], M]) -> M:
    """Build a module and give it the weights of a folder, which are judged before any tensor is made."""
    path = folder / WEIGHTS
    layout = rename(weights.peek(path), meta, str(path))
    try:
        skeleton = check_options(build)
        if skeleton is not None:
            weights.check_expected(layout, _own_state(skeleton, tokenizer), str(path))
        with torch.random.fork_rng(devices=[]):
            module = build()
    except UsageError as error:
        raise CheckpointError("config-mismatch", str(folder / META), error.what, error.facts, error.hint) from error
    weights.check_expected(layout, _own_state(module, tokenizer), str(path))
    data = weights.read_bytes(path)
    if _sha256(data) != meta.sha256 or rename(weights.inspect(data, str(path)), meta, str(path)) != layout:
        raise CheckpointError("hash", str(path), "is not the file that meta.json describes", hint="copy it again")
    module.load_state_dict({**module.state_dict(), **weights.tensors(data, layout, str(path))}, strict=True)
    return module.eval()
