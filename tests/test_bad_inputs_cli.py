"""Malformed and unusual scans and masks through the command line: the demanded verdict, one line, and no file left."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cmrgz.cli import main

LINE = re.compile(r"cmrgz: error\[([a-z-]+)\]: [^\n]{1,240}\n")
CODES = {"nifti": 3, "pair": 3, "special": 3}


def verdicts(folder: Path, kinds: set[str], expect: str) -> list[dict[str, Any]]:
    entries = json.loads((folder / "manifest.json").read_text())["entries"]
    return [e for e in entries if e["kind"] in kinds and e["expect"] == expect]


def arguments(folder: Path, entry: dict[str, Any], model: Path) -> list[str]:
    command = ["inpaint", "--model", str(model), "-o", "out.nii.gz", "--device", "cpu"]
    if entry["kind"] == "pair":
        return [*command, str(folder / entry["image"]), "--mask", str(folder / entry["file"]), "--mask-label", "hidden"]
    return [*command, str(folder / entry["file"]), "--mask", "0.5"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_refused_is_one_line_and_leaves_nothing(
    bad_inputs: Path, tiny_checkpoint: Path, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    entries = verdicts(bad_inputs, set(CODES), "refuse")
    assert len(entries) > 20
    wrong = []
    for entry in entries:
        code = main(arguments(bad_inputs, entry, tiny_checkpoint))
        told = capfd.readouterr()
        line = LINE.fullmatch("".join(x + "\n" for x in told.err.splitlines() if "error[" in x))
        if not (line and line[1] == entry["reason"] and code == 3 and not told.out and not list(here.iterdir())):
            wrong.append((entry["file"], entry["reason"], code, told.err[:200]))
        assert "Traceback" not in told.err
    assert not wrong


def test_what_is_unusual_but_valid_is_accepted(
    bad_inputs: Path, tiny_checkpoint: Path, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    entries = verdicts(bad_inputs, set(CODES), "accept")
    assert len(entries) > 20
    wrong = []
    for entry in entries:
        code = main([*arguments(bad_inputs, entry, tiny_checkpoint), "--overwrite"])
        warned = re.findall(r"warning\[([a-z-]+)\]", capfd.readouterr().err)
        if code or (entry["warn"] and entry["warn"] not in warned):
            wrong.append((entry["file"], code, warned))
    assert not wrong
