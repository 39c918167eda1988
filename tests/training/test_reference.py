"""The script that makes all reference weights: its list, and one tokenizer in small, twice."""

import subprocess
import sys
from pathlib import Path

import pytest

from cmrgz import checkpoint, registry

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "benchmarks" / "reference.py"


def script(*arguments: str) -> list[str]:
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_the_list_has_all_that_comes_with_weights(tmp_path: Path) -> None:
    lines = script(str(tmp_path / "out"), "a.nii.gz", "b.nii.gz", "--validation", "c.nii.gz", "--list")
    names = list(dict.fromkeys(line.split(": ")[1] for line in lines))
    entries = [*registry.models().values(), *registry.tokenizers().values()]
    bundled = {entry.name for entry in entries if entry.require().checkpoint}
    assert bundled <= set(names) and names[:2] == ["phantoms", "phantoms-test"]
    assert all(line.startswith("to do: ") for line in lines) and not (tmp_path / "out").exists()
    (block,) = (line for line in lines if ": ar-vq: " in line)
    assert "a.nii.gz b.nii.gz --share=2 --share=1 --share=1 --validation=c.nii.gz" in block and "--half" in block
    assert "--set=item=5,3,128,128" in block and f"--tokenizer={tmp_path / 'out' / 'vq' / 'checkpoint'}" in block


def test_only_what_is_asked_for_and_what_it_needs(tmp_path: Path) -> None:
    def names(*arguments: str) -> list[str]:
        return list(dict.fromkeys(line.split(": ")[1] for line in script(str(tmp_path), "--list", *arguments)))

    assert names("--only", "ar-var") == ["phantoms", "phantoms-test", "vq-ms", "ar-var"]
    assert names("--only", "ar-var", "--installed") == ["phantoms", "phantoms-test", "ar-var"]
    assert "--set=steps=7" in script(str(tmp_path), "--list", "--only", "kl", "--set", "steps=7")[-1]
    unknown = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "--only", "x"], capture_output=True, text=True
    )
    assert unknown.returncode == 1 and "no step 'x'" in unknown.stderr


@pytest.mark.slow
def test_it_runs_and_skips_what_is_done(tmp_path: Path) -> None:
    first = script(str(tmp_path), "--tiny", "--only", "kl", "--device", "cpu")
    assert [line.split(": ")[0] for line in first if ": " in line] == ["running"] * 3
    meta = checkpoint.open_tokenizer(tmp_path / "kl" / "checkpoint")[1]
    assert meta.dtype == "float16" and meta.item == (64, 64)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = script(str(tmp_path), "--tiny", "--only", "kl", "--device", "cpu")
    assert [line.split(": ")[0] for line in again] == ["done"] * 3
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
