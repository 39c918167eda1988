import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz import weights
from cmrgz.errors import CheckpointError


def read(data: bytes) -> dict[str, torch.Tensor]:
    layout = weights.inspect(data, "w")
    return weights.tensors(bytearray(data), layout, "w")


def file(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(head) if length is None else length).to_bytes(8, "little") + head + data


def tensor(start: Any, end: Any, shape: Any = (2, 3), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def refused(data: bytes) -> CheckpointError:
    with pytest.raises(CheckpointError) as refusal:
        read(data)
    assert refusal.value.line.isprintable()
    return refusal.value


TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "half": torch.ones(3, dtype=torch.float16),
    "odd": torch.ones(3, dtype=torch.uint8),
    "after": torch.arange(4),
    "scalar": torch.tensor(2.5),
    "none": torch.zeros(0, 4),
    "flag": torch.tensor([True, False]),
    "wide": torch.ones(2, dtype=torch.float64),
    "brain": torch.ones(2, dtype=torch.bfloat16),
}


def test_what_is_written_is_read_by_us_and_by_the_library() -> None:
    data = weights.dump(TENSORS)
    for copies in (read(data), safetensors.torch.load(data)):
        assert copies.keys() == TENSORS.keys()
        for name, value in TENSORS.items():
            torch.testing.assert_close(copies[name], value, rtol=0, atol=0)


def test_equal_tensors_give_equal_bytes() -> None:
    assert len({weights.dump(TENSORS) for _ in range(20)}) == 1


def test_shared_and_strided_tensors_are_written() -> None:
    base = torch.arange(6.0).reshape(2, 3)
    copies = read(weights.dump({"a": base, "b": base, "t": base.T}))
    assert torch.equal(copies["b"], base) and torch.equal(copies["t"], base.T)


def test_half_precision_casts_only_floating_point() -> None:
    copies = read(weights.dump({"f": torch.tensor([0.1]), "n": torch.tensor([7])}, torch.float16))
    assert copies["f"].dtype == torch.float16 and copies["n"].dtype == torch.int64
    with pytest.raises(CheckpointError, match="nonfinite"):
        weights.dump({"f": torch.tensor([1e6])}, torch.float16)


def test_tensors_share_the_memory_of_the_bytes() -> None:
    data = bytearray(weights.dump({"a": torch.zeros(4)}))
    made = weights.tensors(data, weights.inspect(data, "w"), "w")
    data[-4:] = b"\x00\x00\x80\x3f"
    assert made["a"][-1] == 1.0


W = bytes(24)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"1234567", "truncated"),
        (file({}, length=0), "header"),
        (file({"w": tensor(0, 24)}, W, length=10**6), "header"),
        (file({"w": tensor(0, 24)}, W, length=2**64 - 1), "header"),
        (file(b"not json at all!"), "header"),
        (file([1]), "header"),
        (file(b"\xff\xfe{}"), "header"),
        (file(b"[" * 100_000), "header"),
        (file(b'{"a":' * 5_000), "header"),
        (file(b'{"w": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 24]}}'), "header"),
        (file(b'{"w":{"dtype":"F32","shape":[6],"data_offsets":[0,24],"dtype":"F32"}}', W), "header"),
        (file({"w": tensor(0, 24, dtype="PICKLE")}, W), "header"),
        (file({"w": tensor(0, 24, dtype=["F32"])}, W), "header"),
        (file({"w": tensor(0, 24) | {"x": 1}}, W), "header"),
        (file({"w": 1}), "header"),
        (file({"__metadata__": {"a": 1}}), "header"),
        (file({"__metadata__": [1]}), "header"),
        (file({"__metadata__": {"cmrgz_format": "999"}}), "version"),
        (file({"__metadata__": {"cmrgz_format": "one"}}), "version"),
        (file({"__metadata__": {"cmrgz_format": "9" * 10_000}}), "version"),
        (file({"w": tensor(0, 24)}, W[:-8]), "truncated"),
        (file({"w": tensor(0, 24)}, W + b"\x80\x04N."), "trailing-data"),
        (file({"a": tensor(0, 24), "b": tensor(0, 24)}, W), "offsets"),
        (file({"a": tensor(0, 24), "b": tensor(28, 52)}, bytes(52)), "offsets"),
        (file({"w": tensor(4, 28)}, bytes(28)), "offsets"),
        (file({"w": tensor(24, 0)}, W), "offsets"),
        (file({"w": tensor(-24, 0)}, W), "offsets"),
        (file({"w": tensor(0, 24.0)}, W), "offsets"),
        (file({"w": tensor(0, 24, [True, 6])}, W), "offsets"),
        (file({"w": tensor(0, 24, [2, 2])}, W), "offsets"),
        (file({"w": tensor(0, 0, [2**62, 8])}), "offsets"),
        (file({"w": tensor(0, 0, [2**70, 0])}), "offsets"),
        (file({"w": tensor(0, 0, [0, 2**62, 2**62])}), "offsets"),
        (file({"a": tensor(0, 24), "b": tensor(12, 12, [0])}, W), "offsets"),
        (file({"a": tensor(0, 0, [0]), "b": tensor(4, 4, [0])}), "offsets"),
    ],
)
def test_faults_are_named(data: bytes, code: str) -> None:
    assert refused(data).code == code


def test_odd_but_valid_files_are_read() -> None:
    unaligned = {"h": tensor(0, 2, [1], "F16"), "w": tensor(2, 26)}
    assert read(file(unaligned, bytes(26)))["w"].shape == (2, 3)
    assert read(file({"a": tensor(0, 0, [0]), "b": tensor(0, 4, [])}, bytes(4)))["b"] == 0
    assert read(file({})) == {}


@pytest.mark.parametrize("full", [{}, {"z": torch.ones(2)}, {"a": torch.ones(2), "z": torch.ones(1)}])
def test_tensors_of_no_elements_are_read_as_written(full: dict[str, torch.Tensor]) -> None:
    empty = {"b": torch.zeros(0), "c": torch.zeros(3, 0, 2), "d": torch.zeros(0, dtype=torch.int64)}
    copies = read(weights.dump(empty | full))
    assert {name: (t.shape, t.dtype) for name, t in copies.items()} == {
        name: (t.shape, t.dtype) for name, t in (empty | full).items()
    }


def test_comparison_with_a_module_counts_and_names() -> None:
    layout = weights.inspect(weights.dump({f"x{i}": torch.zeros(1) for i in range(5)} | {"w": torch.zeros(2)}), "w")
    expected = {"w": torch.empty(3, device="meta"), "y": torch.empty(1)}
    with pytest.raises(CheckpointError) as refusal:
        weights.check_expected(layout, expected, "w")
    assert refusal.value.code == "unexpected-keys"
    assert "1 missing: y; 5 unexpected: x0, x1, x2; 1 of another shape or type: w" in refusal.value.line
    weights.check_expected(weights.inspect(weights.dump({"w": torch.zeros(3).half()}), "w"), {"w": torch.zeros(3)}, "w")
    with pytest.raises(CheckpointError, match="shape or type"):
        weights.check_expected(
            weights.inspect(weights.dump({"w": torch.zeros(3).int()}), "w"), {"w": torch.zeros(3)}, "w"
        )


def test_collection_of_bad_checkpoints(bad_inputs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = json.loads((bad_inputs / "manifest.json").read_text())
    entries = [e for e in manifest["entries"] if e["kind"] == "checkpoint"]
    assert len(entries) > 10
    for entry in entries:
        path = bad_inputs / entry["file"]
        if entry["expect"] == "accept":
            assert read(path.read_bytes())
            continue
        with pytest.raises(CheckpointError) as refusal:
            if path.suffix == ".safetensors":
                read(bytes(weights.read_bytes(path)))
            else:
                weights.refuse_file(path)
        assert refusal.value.code == entry["reason"], entry
    assert not list(tmp_path.iterdir()), "nothing was run"


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, code in (("", "path"), ("absent", "no-checkpoint"), ("/dev/null", "path"), ("pipe", "path")):
        with pytest.raises(CheckpointError) as refusal:
            weights.read_bytes(tmp_path / path)
        assert refusal.value.code == code
    (tmp_path / "big").write_bytes(bytes(100))
    with pytest.raises(CheckpointError, match="too-large"):
        weights.read_bytes(tmp_path / "big", limit=99)


VALID = weights.dump({"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.int64)})


@given(st.data())
@settings(deadline=None, max_examples=500)
def test_a_changed_header_is_read_or_refused(data: st.DataObject) -> None:
    changed = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(changed[: data.draw(st.integers(0, len(changed)))]))
    except CheckpointError as error:
        assert error.line.isprintable()


@pytest.mark.exhaustive
def test_every_byte_changed_is_read_or_refused() -> None:
    for position in range(len(VALID)):
        for value in range(256):
            changed = bytearray(VALID)
            changed[position] = value
            try:
                read(bytes(changed))
            except CheckpointError:
                continue
