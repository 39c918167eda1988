"""`meta.json`: what a checkpoint says of itself, and how older ones are read."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from packaging.version import InvalidVersion, Version

from cmrgz import records, weights
from cmrgz.durable import is_file, is_folder
from cmrgz.errors import CheckpointError
from cmrgz.plugin import AXES, PROTOCOL, Extent, Kind
from cmrgz.vocabulary import Vocabulary, is_vocabulary

META, WEIGHTS, TOKENIZER = "meta.json", "weights.safetensors", "tokenizer"
FORMAT = 4
"""Of `meta.json`."""
DTYPES = {"float32": torch.float32, "float16": torch.float16}

# It stands in hints as `pip install NAME`: what begins with a hyphen would be an option of pip.
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Link:
    """The tokenizer that a model was trained with.

    Attributes:
        name: Its registered name.
        package: Package that registers it.
        version: Version of that package when the model was saved.
        sha256: Hash of its weights.
        bundled: It is the one that the package bundles; else it lies in the sub-folder `tokenizer/`.
    """

    name: str
    package: str
    version: str
    sha256: str
    bundled: bool

    @property
    def qualified(self) -> str:
        """`package:name`, which selects it wherever names are taken."""
        return f"{self.package}:{self.name}"

    @property
    def requirement(self) -> str:
        """What pip would install."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What a checkpoint says of itself.

    Attributes:
        kind: `model` or `tokenizer`.
        name: Registered name of its spec.
        package: Package that registers it.
        version: Version of that package when it was saved.
        protocol: Version of the protocol.
        options: All of the builder's options.
        axes: Axes of a scan that it sees together, slowest first.
        item: Shape of the items that it was trained on, a number for each axis.
        spacing: In-plane pixel size in mm that it was trained on.
        tokenizer: A model's tokenizer, or None.
        conditions: What it may be told of patients, and the values of each, see `cmrgz.vocabulary`.
        training: How it was trained, in JSON's types.
        dtype: Floating-point type of the stored weights.
        sha256: Hash of the weights file; "" before it is saved.
        format: Version of the format.
    """

    kind: Kind
    name: str
    package: str
    version: str
    protocol: int = PROTOCOL
    options: dict[str, Any]
    axes: tuple[str, ...] = ("y", "x")
    item: tuple[int, ...]
    spacing: float
    tokenizer: Link | None = None
    conditions: Vocabulary = field(default_factory=dict)
    training: dict[str, Any]
    dtype: str = "float32"
    sha256: str = ""
    format: int = FORMAT

    @property
    def qualified(self) -> str:
        """`package:name`, which selects it wherever names are taken."""
        return f"{self.package}:{self.name}"

    @property
    def extent(self) -> Extent:
        """What one call sees."""
        return Extent(self.axes, self.item, self.spacing)


@dataclass(frozen=True)
class Migration:
    """How a checkpoint of an older format becomes one of the next.

    Attributes:
        name: What changed, for the error if it fails.
        format: The format that it reads; it gives `format + 1`.
        meta: From the old content of `meta.json` to the new.
        rename: From the old name of a tensor to the new.
    """

    name: str
    format: int
    meta: Callable[[dict[str, Any]], dict[str, Any]] = dict
    rename: Callable[[str], str] = str


def _with_axes(raw: dict[str, Any]) -> dict[str, Any]:
    """Format 1 knew frames alone."""
    return {**raw, "axes": ["y", "x"]}


def _without_patients(raw: dict[str, Any]) -> dict[str, Any]:
    """Format 2 knew no conditions of patients."""
    return {**raw, "conditions": {}}


def _with_packages(raw: dict[str, Any]) -> dict[str, Any]:
    """Format 3 called a package a distribution, which is what a model is."""
    link = raw["tokenizer"]
    return _renamed(raw) | {"tokenizer": None if link is None else _renamed(link)}


def _renamed(raw: dict[str, Any]) -> dict[str, Any]:
    return {"package" if name == "distribution" else name: value for name, value in raw.items()}


MIGRATIONS: tuple[Migration, ...] = (
    Migration("items have axes", 1, _with_axes),
    Migration("patients have conditions", 2, _without_patients),
    Migration("plugins are of packages", 3, _with_packages),
)
"""One for each older format, in order."""


def read_meta(data: bytes, where: str) -> Meta:
    """Return the meta that the bytes of `meta.json` hold; older formats are migrated, `format` stays that of the file.

    Raises:
        CheckpointError: `header` or `version`.
    """
    raw = records.parse(data, where)
    stated = weights.check_format(raw.get("format"), where, FORMAT)
    for migration in _due(stated, where):
        raw = _migrated(migration, raw, where)
    fields = _checked(raw, _META, where)
    if len(fields["axes"]) != len(fields["item"]):
        raise CheckpointError("header", where, "'axes' and 'item' differ in length", f"{raw['axes']}, {raw['item']}")
    conditions = {name: tuple(values) for name, values in fields["conditions"].items()}
    link = _link(raw["tokenizer"], where)
    meta = Meta(**fields | {"format": stated, "tokenizer": link, "conditions": conditions})
    if fault := meta.extent.out_of_bounds():
        raise CheckpointError("header", where, f"no model can have this item: {fault}")
    return meta


def read_folder(folder: Path) -> Meta:
    """Return the meta of a checkpoint folder.

    Raises:
        CheckpointError: `no-checkpoint`; as `read_meta`.
    """
    if not is_folder(folder):
        raise CheckpointError("no-checkpoint", str(folder), "expected a checkpoint folder")
    if not is_file(folder / META):
        raise CheckpointError("no-checkpoint", str(folder), f"has no {META}", hint="name a checkpoint folder")
    # A stranger may have written it: no meta needs a megabyte.
    return read_meta(bytes(weights.read_bytes(folder / META, 1 << 20)), str(folder / META))


def check_folder(folder: Path) -> Meta:
    """Return the meta of a checkpoint folder whose files are those that it describes; nothing is built.

    Raises:
        CheckpointError: `hash`: the weights are others; as `read_folder`.
    """
    meta = read_folder(folder)
    # A bundled tokenizer lies in an installed package, not in the folder that is checked.
    inner = meta.tokenizer is not None and not meta.tokenizer.bundled and check_folder(folder / TOKENIZER)
    if hashlib.sha256(weights.read_bytes(folder / WEIGHTS)).hexdigest() != meta.sha256:
        raise CheckpointError("hash", str(folder / WEIGHTS), f"is not the file that {META} describes")
    if meta.tokenizer and inner and inner.sha256 != meta.tokenizer.sha256:
        raise CheckpointError("hash", str(folder / TOKENIZER), f"is not the tokenizer that {META} describes")
    return meta


def write_meta(meta: Meta, *, tokenizer: Link | None, dtype: str, sha256: str) -> bytes:
    """Return the bytes of `meta.json`.

    Raises:
        CheckpointError: `header` where `training` or an option is no JSON, NaN among them.
    """
    whole = dataclasses.replace(meta, tokenizer=tokenizer, dtype=dtype, sha256=sha256, format=FORMAT)
    try:
        return json.dumps(dataclasses.asdict(whole), indent=1, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise CheckpointError("header", META, f"cannot be written as JSON: {error}") from error


def rename(layout: weights.Layout, meta: Meta, where: str) -> weights.Layout:
    """Return a layout with the tensor names of this version."""
    slots = layout.slots
    for migration in _due(meta.format, where):
        # Names are changed one format after another, as the meta is: a rename knows only those of the format before.
        slots = {migration.rename(name): slot for name, slot in slots.items()}
    return weights.Layout(slots, layout.data)


def _due(stated: int, where: str) -> list[Migration]:
    """Return the migrations from a format to this version's, in order."""
    steps = {migration.format: migration for migration in MIGRATIONS}
    missing = [number for number in range(stated, FORMAT) if number not in steps]
    if missing:
        raise CheckpointError("version", where, f"format {stated} is too old", f"no migration from {missing[0]}")
    return [steps[number] for number in range(stated, FORMAT)]


def _migrated(migration: Migration, raw: dict[str, Any], where: str) -> dict[str, Any]:
    try:
        return migration.meta(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError("header", where, f"'{migration.name}' cannot be applied: {error!r}") from error


def _version(value: Any) -> bool:
    try:
        return records.text(value) and bool(Version(value))
    except InvalidVersion:
        return False


def _axes(value: Any) -> bool:
    return isinstance(value, list) and value in [list(axes) for axes in AXES]


def _training(value: Any) -> bool:
    """Of how it was trained only what is read again has to be of its type."""
    return isinstance(value, dict) and records.optional(records.listed(records.text))(value.get("trained_on"))


_OWNER: records.Checks = {
    "name": records.text,
    "package": lambda value: isinstance(value, str) and _PACKAGE.fullmatch(value) is not None,
    "version": _version,
    "sha256": records.sha256,
}
_META: records.Checks = {**_OWNER} | {
    "kind": records.one_of("model", "tokenizer"),
    "protocol": records.natural,
    "options": records.kind(dict),
    "axes": _axes,
    "item": lambda value: isinstance(value, list) and 0 < len(value) <= 4 and all(map(records.natural, value)),
    # `isinstance` would take True for a number.
    "spacing": lambda value: type(value) in (int, float) and 0 < value < 1000,
    "tokenizer": records.kind(dict, type(None)),
    "conditions": is_vocabulary,
    "training": _training,
    "dtype": records.one_of(*DTYPES),
    # Judged before all else, since fields of another format are other ones.
    "format": records.anything,
}
_LINK: records.Checks = {**_OWNER} | {"bundled": records.kind(bool)}


def _checked(raw: dict[str, Any], checks: records.Checks, where: str) -> dict[str, Any]:
    """Return `raw`, lists made tuples, if it has exactly the fields of `checks` and each passes."""
    # Nothing beside: what a later version adds may change what the rest means.
    record = records.check(raw, checks, where, whole=True)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}


def _link(raw: dict[str, Any] | None, where: str) -> Link | None:
    return None if raw is None else Link(**_checked(raw, _LINK, f"{where} (tokenizer)"))
