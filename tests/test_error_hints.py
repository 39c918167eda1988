"""A hint names only options that the command has which prints it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from cmrgz import errors
from cmrgz.cli import main
from cmrgz.cli.commands import absent_options, app
from cmrgz.data.scan import Scan, save
from cmrgz.errors import DataError, without_options

ROOT = Path(errors.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
OTHER = {"--raw", "--head", "--help"}
"""Options of other programs, which hints name with those programs, and the one that every command has."""


def commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with the words that name it."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield path, command
    for name, sub in inner.items():
        yield from commands(sub, *path, name)


@cache
def hints() -> set[str]:
    """Return the texts of the core that name options in errors and warnings."""
    found = set()
    for file in (p for p in ROOT.rglob("*.py") if "testing" not in p.parts):
        text = file.read_text()
        for node in ast.walk(ast.parse(text)) if OPTION.search(text) else ():
            if not isinstance(node, ast.Call | ast.Assign):
                continue
            texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            named = isinstance(node, ast.Call) and re.search("Error$|^warn$", getattr(node.func, "id", ""))
            is_hint = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "hint"
            if named or is_hint:
                found |= {text for text in texts if OPTION.search(text) and not text.startswith("option ")}
    return found


def test_every_option_that_is_named_exists() -> None:
    root = typer.main.get_command(app)
    everywhere = {name for _, command in [((), root), *commands(root)] for p in command.params for name in p.opts}
    assert len(hints()) > 10
    assert {name for hint in hints() for name in OPTION.findall(hint)} <= everywhere | OTHER


@pytest.mark.parametrize("words", [path for path, _ in commands(typer.main.get_command(app))], ids=" ".join)
def test_no_command_names_what_it_has_not(words: tuple[str, ...]) -> None:
    root = typer.main.get_command(app)
    own = {name for path, command in commands(root) if path == words for p in command.params for name in p.opts}
    own |= {name for p in root.params for name in p.opts}
    with without_options(absent_options(words)):
        told = [DataError("code", "where", "what", "", hint).hint for hint in hints()]
    parts = (part for hint in told for part in hint.split(", or ") if "cmrgz " not in part)
    assert {name for part in parts for name in OPTION.findall(part)} <= own | OTHER


def test_a_command_that_need_not_be_named_is_meant() -> None:
    assert absent_options(["evaluate", "verify"]) == absent_options(["-q", "evaluate", "verify", "--cells"])
    assert absent_options(["evaluate", "run"]) == absent_options(["evaluate", "DATA", "verify"])
    assert "--overwrite" in absent_options(["train"]) and "--overwrite" not in absent_options(["inpaint"])


def test_parts_that_can_be_followed_are_kept() -> None:
    hint = "mend the file, or pass --nonfinite zero"
    assert DataError("nonfinite", "a", "b", "", hint).hint == hint
    with without_options({"--nonfinite"}):
        assert DataError("nonfinite", "a", "b", "", hint).line.endswith("; mend the file")
        assert DataError("nonfinite", "a", "b", "", "pass --nonfinite zero").line.endswith(": b")
        assert DataError("x", "a", "b", "", "cmrgz inpaint --nonfinite zero does").hint.startswith("cmrgz")
    assert DataError("nonfinite", "a", "b", "", hint).hint == hint


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("train", "vq", "DATA", "-o", "run"), False),
        (("data", "check", "DATA"), False),
        (("inpaint", "DATA", "--model", "ar-vq", "--mask", "0.5", "-d", "cpu"), True),
    ],
)
def test_nan(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    args: tuple[str, ...],
    named: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    scan = Scan.blank((1, 1, 16, 16), (10.0, 1.4, 1.4))
    save("p0.nii.gz", scan, np.full(scan.shape, np.nan, np.float32))
    assert main([word.replace("DATA", "p0.nii.gz") for word in args]) == 3
    err = capfd.readouterr().err
    assert "error[nonfinite]: p0.nii.gz" in err and ("--nonfinite" in err) == named
