"""`examples/benchmarks/gpu.py` on the CPU: each section writes its lines, and a failed one stops no other."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "benchmarks" / "gpu.py"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_benchmark", module)
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FAMILIES", ("ldm-dit",))
    monkeypatch.setattr(module, "TRAINED", ("ldm-dit",))
    monkeypatch.setattr(module, "COMPILED", ())  # half a minute
    return module


def rows(gpu: ModuleType, out: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 60) -> list[dict[str, Any]]:
    monkeypatch.setattr(sys, "argv", ["gpu", str(out), "--device", "cpu", "--tiny", "--seconds", str(seconds)])
    gpu.main()
    return [json.loads(line) for line in (out / "gpu.jsonl").read_text().splitlines()]


def test_every_section_says_what_it_found(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows(gpu, tmp_path, monkeypatch)
    assert not [row for row in found if "failed" in row or "left_out" in row]
    by = {name: [row for row in found if row["section"] == name] for name in gpu.SHARES}
    assert {row["ceiling"] for row in by["ceilings"]} == {"bf16", "tf32", "fp32", "copy", "launch"}
    (same,) = by["agreement"]
    assert (
        same["gradient"] == same["draw"] == 0
        and same["gradient_repeats"]
        and all(same["pieces_repeat"])
        and 0 < same["gradient_bf16"] < 0.2
    )
    (slot,) = by["slots"]
    assert slot["repeats"] and slot["other_slot"] and slot["call"] == 8
    assert [row["precision"] for row in by["sampling"]] == ["fp32", "bf16"]
    assert [row["kind"] for row in by["training"]] == 4 * ["kernels", "pieces"]
    assert all(row["items_s"] > 0 for row in by["training"])
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.slow
def test_compiled_steps_are_timed(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "COMPILED", ("ldm-dit",))
    monkeypatch.setattr(gpu, "SECTIONS", {"compiling": gpu.compiling})
    (row,) = rows(gpu, tmp_path, monkeypatch)[1:]
    assert row["kind"] == "compiled" and row["items_s"] > 0


def test_a_section_that_fails_and_a_model_without_time_are_told(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setitem(gpu.SECTIONS, "ceilings", broken)
    monkeypatch.setattr(gpu, "COMPILED", ("ldm-dit",))
    found = rows(gpu, tmp_path, monkeypatch, seconds=-1)
    assert [row["section"] for row in found if "out of order" in row.get("failed", "")][:1] == ["ceilings"]
    assert [row["section"] for row in found if row.get("left_out") or "failed" in row] == list(gpu.SECTIONS)
