"""A checkpoint folder -> a model or a tokenizer with its weights; nothing in it is believed before it is checked."""

import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from packaging.version import Version
from torch import Tensor, nn

from cmrgz import registry, weights
from cmrgz.conditions import learn
from cmrgz.durable import is_file
from cmrgz.errors import CheckpointError, PluginError, UsageError
from cmrgz.meta import META, TOKENIZER, WEIGHTS, Link, Meta, read_folder, rename
from cmrgz.model import Model, Tokenizer
from cmrgz.plugin import PROTOCOL, Spec
from cmrgz.skeletons import check_grid, check_options

Device = str | torch.device
M = TypeVar("M", bound=Model | Tokenizer)


class Opened(NamedTuple, Generic[M]):
    """What a checkpoint holds.

    Attributes:
        module: A model or a tokenizer.
        meta: What the checkpoint says of it.
    """

    module: M
    meta: Meta


def load(path: str | Path, device: Device = "cpu") -> Opened[Model | Tokenizer]:
    """Build what a checkpoint folder describes and give it its weights; in eval mode, float32.

    No code runs but that of installed plugins, which are named by their registered name only.

    Raises:
        CheckpointError: The folder is no checkpoint, or was damaged, or does not fit what is installed here.
        PluginError: The plugin that it names is broken.
    """
    return loaded(Path(path), read_folder(Path(path)), device)


def loaded(folder: Path, meta: Meta, device: Device) -> Opened[Any]:
    """Return what `load` returns of a folder whose meta was read."""
    if meta.kind == "tokenizer":
        return Opened(_loaded_tokenizer(folder, meta).to(device), meta)
    return Opened(_loaded_model(folder, meta).to(device), meta)


def bundled(spec: Spec) -> Path | None:
    """Return the folder of a spec's bundled weights, or None where it has none.

    Raises:
        PluginError: `plugin-broken`: the package lacks the weights that it promises.
    """
    if spec.checkpoint is None:
        return None
    package, _, folder = spec.checkpoint.partition(":")
    path = Path(str(files(package) / folder))
    if not is_file(path / META):
        raise PluginError("plugin-broken", spec.name, f"has no weights at {spec.checkpoint}", hint="install it again")
    return path


def own_state(module: nn.Module, tokenizer: nn.Module | None) -> dict[str, Tensor]:
    """Return a module's tensors by name without those of its tokenizer, which has a checkpoint of its own."""
    inside = [f"{name}." for name, part in module.named_modules() if part is tokenizer]
    return {name: t for name, t in module.state_dict().items() if not name.startswith(tuple(inside))}


def sha256(data: bytes | bytearray) -> str:
    """Return the hash of a file, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _loaded_tokenizer(folder: Path, meta: Meta) -> Tokenizer:
    spec = find_spec(registry.tokenizers(), meta, folder)
    return _filled(folder, meta, None, lambda: registry.build_tokenizer(spec, meta.options))


def _loaded_model(folder: Path, meta: Meta) -> Model:
    spec = find_spec(registry.models(), meta, folder)
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


def find_spec(entries: Mapping[str, registry.Entry[registry.S]], meta: Meta, folder: Path) -> registry.S:
    """Return the installed spec that a checkpoint names, if it is of the same package and not older."""
    made, hint = f"{meta.package} {meta.version}", f"pip install {meta.package}=={meta.version}"
    if meta.name not in entries:
        what = f"needs the {meta.kind} '{meta.name}', which is not installed"
        raise CheckpointError("unknown-plugin", str(folder), what, f"made with {made}", hint)
    entry = registry.find(meta.qualified, entries) or entries[meta.name]
    # Major and minor version count: a patch release may not change what is stored.
    newer = Version(meta.version).release[:2] > Version(entry.version).release[:2]
    if entry.package != meta.package or newer or meta.protocol > PROTOCOL:
        what = f"made with {made}, here is {entry.package} {entry.version}"
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
        # Options and shapes are compared where they take no memory: a forged width must not be built first.
        skeleton = check_options(build)
        if skeleton is not None:
            weights.check_expected(layout, own_state(skeleton, tokenizer), str(path))
        # Fresh weights are drawn only to be replaced: opening a checkpoint must not move the caller's random state.
        with torch.random.fork_rng(devices=[]):
            module = build()
    except UsageError as error:
        raise CheckpointError("config-mismatch", str(folder / META), error.what, error.facts, error.hint) from error
    weights.check_expected(layout, own_state(module, tokenizer), str(path))
    # Read whole only now, and its header again: the file may have been changed since `peek`.
    data = weights.read_bytes(path)
    if sha256(data) != meta.sha256 or rename(weights.inspect(data, str(path)), meta, str(path)) != layout:
        raise CheckpointError("hash", str(path), "is not the file that meta.json describes", hint="copy it again")
    # The tensors of its tokenizer are not in the file: they stay those that the tokenizer's own checkpoint gave.
    module.load_state_dict({**module.state_dict(), **weights.tensors(data, layout, str(path))}, strict=True)
    module.eval()
    return module
