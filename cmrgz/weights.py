"""Tensors <-> the bytes of a safetensors file; everything is checked before any tensor is made, nothing runs.

The safetensors library keeps the last of two equal names and knows no model. Here the header is judged first (names,
offsets, products, bytes left over), then compared with the tensors that the module expects, and only then are tensors
made: views of the bytes that were read, so that what was hashed is what is used.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import safetensors.torch
import torch
from torch import Tensor

from cmrgz import durable, records
from cmrgz.errors import CheckpointError

FORMAT = 1
"""Of the file of tensors; `meta.json` counts its own."""
OURS = {"not-found": "no-checkpoint", "permission": "no-checkpoint", "not-a-file": "path"}
"""What faults of files are called here."""
MAX_HEADER = 4 << 20
"""Bytes of header: some 30,000 tensors."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_PICKLED = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".npz", ".npy", ".joblib")


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies in the data of a file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Layout:
    """A judged header: the tensors by name, and where the data begins."""

    slots: dict[str, Slot]
    data: int


def dump(tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> bytes:
    """Return tensors as the bytes of a safetensors file: equal tensors give equal bytes.

    Args:
        tensors: By name; may share memory or be on any device.
        dtype: Floating-point type to store floating-point tensors in, or None to keep theirs.

    Raises:
        CheckpointError: `nonfinite` where a value is not finite, also after the cast.
    """
    stored = {}
    for name, tensor in tensors.items():
        cast = tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor
        _require_finite(cast, name, "weights")
        # The library refuses tensors that share memory, as tied weights do.
        stored[name] = cast.detach().cpu().contiguous().clone()
    return safetensors.torch.save(stored, {"cmrgz_format": str(FORMAT)})  # the library shuffles two keys or more


def read_bytes(path: Path, limit: int | None = None) -> bytearray:
    """Return a regular file's bytes, read once: what is hashed is what is parsed.

    Args:
        path: The file.
        limit: Most bytes to accept.

    Raises:
        CheckpointError: `no-checkpoint`, `path` (no regular file), `too-large` or `truncated`.
    """
    try:
        return durable.read_whole(path, CheckpointError, limit)
    except CheckpointError as error:
        raise _ours(error) from error


def peek(path: Path) -> Layout:
    """Judge the header of a safetensors file, of which no more is read: what it claims costs no memory.

    Raises:
        CheckpointError: As `read_bytes` and `inspect`.
    """
    try:
        with durable.opened(path, CheckpointError) as file:
            total = os.fstat(file.fileno()).st_size
            start = file.read(8) or b""
            # Whatever length a header claims, no more than the limit is read.
            start += file.read(min(MAX_HEADER, int.from_bytes(start, "little"))) or b""
    except CheckpointError as error:
        raise _ours(error) from error
    return _judged(start, total, str(path))


def _ours(error: CheckpointError) -> CheckpointError:
    """Return a fault of a file as it is called here."""
    return CheckpointError(OURS.get(error.code, error.code), error.where, error.what, error.facts, error.hint)


def refuse_file(path: Path) -> NoReturn:
    """Say why a file is not taken for a checkpoint.

    Raises:
        CheckpointError: `unsafe-pickle`, `wrong-extension` or `path`.
    """
    head = durable.read_bytes(path, CheckpointError, 16)
    # Eight bytes of length and then JSON are safetensors, whatever the name says; 0x80 begins a pickle.
    tensors = head[8:9] == b"{"
    if path.suffix.lower() in _PICKLED or not tensors and head[:1] == b"\x80":
        if tensors:
            raise CheckpointError("wrong-extension", str(path), "holds safetensors", hint="rename it to .safetensors")
        hint = "load it in a trusted place and save it as safetensors"
        raise CheckpointError("unsafe-pickle", str(path), "pickles run code when they are loaded", hint=hint)
    raise CheckpointError("path", str(path), "expected a checkpoint folder, got a file", hint="name its folder")


def inspect(data: bytes | bytearray, where: str) -> Layout:
    """Judge the header of a safetensors file.

    Raises:
        CheckpointError: `empty`, `truncated`, `header`, `offsets`, `trailing-data` or `version`.
    """
    return _judged(data, len(data), where)


def _judged(data: bytes | bytearray, total: int, where: str) -> Layout:
    """Judge the header that `data` starts with, of a file of `total` bytes."""
    if total < 8:
        raise CheckpointError("truncated" if total else "empty", where, "no header", f"{total} bytes")
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= min(MAX_HEADER, total - 8, len(data) - 8):
        raise CheckpointError("header", where, f"a header of {size} bytes cannot be", f"{total} bytes in all")
    header = records.parse(bytes(data[8 : 8 + size]), where)
    _check_metadata(header.pop("__metadata__", {}), where)
    slots = {name: _slot(name, entry, where) for name, entry in header.items()}
    _check_offsets(slots, total - 8 - size, where)
    return Layout(slots, 8 + size)


def read_foreign(path: Path, limit: int) -> tuple[bytearray, Layout]:
    """Return the bytes of a safetensors file that the user brought, and its judged header.

    Raises:
        CheckpointError: As `read_bytes` and `inspect`, or `unsafe-pickle` for what is no safetensors file.
    """
    data = read_bytes(path, limit)
    if len(data) > 8 and data[8:9] != b"{":
        what = "expected safetensors: pickles, TorchScript and exported programs run code when they are loaded"
        hint = "save its tensors as safetensors in a trusted place"
        raise CheckpointError("unsafe-pickle", str(path), what, hint=hint)
    return data, inspect(data, str(path))


def check_expected(layout: Layout, expected: Mapping[str, Tensor], where: str) -> None:
    """Compare a file with the tensors that a module has, which may be on the meta device.

    Raises:
        CheckpointError: `unexpected-keys`, with counts and the first three names.
    """
    slots = layout.slots
    missing = sorted(expected.keys() - slots.keys())
    extra = sorted(slots.keys() - expected.keys())
    odd = sorted(n for n in expected.keys() & slots.keys() if not _fits(slots[n], expected[n]))
    kinds = (("missing", missing), ("unexpected", extra), ("of another shape or type", odd))
    if faults := [f"{len(names)} {kind}: {', '.join(names[:3])}" for kind, names in kinds if names]:
        raise CheckpointError("unexpected-keys", where, f"not the tensors of this model: {'; '.join(faults)}")


def tensors(data: bytearray, layout: Layout, where: str) -> dict[str, Tensor]:
    """Return the tensors as views of `data`, all finite.

    Raises:
        CheckpointError: `nonfinite`.
    """
    made = {name: _view(data, slot, layout.data) for name, slot in layout.slots.items()}
    for name, tensor in made.items():
        _require_finite(tensor, name, where)
    return made


def check_format(stated: object, where: str, newest: int = FORMAT) -> int:
    """Return a format number that this version reads, up to the newest.

    Raises:
        CheckpointError: `version`.
    """
    number = int(stated) if isinstance(stated, str) and re.fullmatch("[0-9]{1,9}", stated) else stated
    if type(number) is not int or number < 1:
        raise CheckpointError("version", where, f"format '{stated}' cannot be read")
    if number > newest:
        what = f"has format {number}, this version reads up to {newest}"
        raise CheckpointError("version", where, what, hint="update cmrgz")
    return number


def _check_metadata(metadata: object, where: str) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise CheckpointError("header", where, "metadata must be text")
    check_format(metadata.get("cmrgz_format", "1"), where)


def _slot(name: str, entry: Any, where: str) -> Slot:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError("header", where, f"tensor '{name}' needs dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CheckpointError("header", where, f"tensor '{name}' has the unknown dtype '{dtype}'")
    if not (_naturals(shape) and _naturals(offsets) and len(offsets) == 2 and offsets[0] <= offsets[1]):
        raise CheckpointError("offsets", where, f"tensor '{name}' has no valid shape and offsets")
    if math.prod(max(n, 1) for n in shape) >= 1 << 60:  # with a side of 0 too: its strides overflow
        raise CheckpointError("offsets", where, f"tensor '{name}' has a shape that no memory can hold")
    needed = math.prod(shape) * DTYPES[dtype].itemsize
    if needed != offsets[1] - offsets[0]:
        got = offsets[1] - offsets[0]
        raise CheckpointError("offsets", where, f"tensor '{name}' needs {needed} bytes, its offsets give {got}")
    return Slot(DTYPES[dtype], tuple(shape), offsets[0], offsets[1])


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in value) and len(value) <= 64


def _check_offsets(slots: Mapping[str, Slot], size: int, where: str) -> None:
    """Tensors must follow one another without overlap or hole, to the end of the file."""
    end = 0
    for name, slot in sorted(slots.items(), key=lambda item: (item[1].start, item[1].end)):
        if slot.start != end:  # any number of tensors without elements may begin at one place
            raise CheckpointError("offsets", where, f"tensor '{name}' begins at {slot.start}, expected {end}")
        end = slot.end
    if end > size:
        raise CheckpointError("truncated", where, f"ends {end - size} bytes before the last tensor does")
    if end < size:
        raise CheckpointError("trailing-data", where, f"{size - end} bytes after the last tensor")


def _fits(slot: Slot, tensor: Tensor) -> bool:
    # Floating-point weights may be stored in half precision; a module takes them into its own.
    alike = slot.dtype == tensor.dtype or (slot.dtype.is_floating_point and tensor.is_floating_point())
    return alike and slot.shape == tuple(tensor.shape)


def _view(data: bytearray, slot: Slot, base: int) -> Tensor:
    count = math.prod(slot.shape)
    if count == 0:
        return torch.empty(slot.shape, dtype=slot.dtype)
    start = base + slot.start
    if start % slot.dtype.itemsize:  # no library writes this, but it is valid
        return torch.frombuffer(data[start : base + slot.end], dtype=slot.dtype).reshape(slot.shape)
    return torch.frombuffer(data, dtype=slot.dtype, count=count, offset=start).reshape(slot.shape)


def _require_finite(tensor: Tensor, name: str, where: str) -> None:
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise CheckpointError("nonfinite", where, f"tensor '{name}' has values that are not finite")
