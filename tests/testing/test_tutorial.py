"""The tutorial, command by command, as its reader would: from `cmrgz plugins new` to a row in `cmrgz evaluate`."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "examples" / "TUTORIAL.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TUTORIAL, re.DOTALL) for line in block.splitlines()]
PIP = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]


def program(words: list[str], site: Path) -> list[str]:
    """Return what runs a command; what it installs goes to a folder of its own, not into this environment."""
    if words[:3] == ["pip", "install", "-e"]:
        return [*PIP, "--target", str(site), *words[3:]]
    if words[0] == "pytest":
        load = [] if entry_points(group="pytest11", name="cmrgz") else ["-p", "cmrgz.testing.pytest_plugin"]
        return ["-m", "pytest", "-p", "no:cacheprovider", *load, *words[1:]]
    assert words[0] == "cmrgz"
    return ["-m", *words]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Return the folder in which all commands ran, and what each printed."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed")
    folder = tmp_path_factory.mktemp("tutorial")
    site = folder / "site"
    environment = {**os.environ, "PYTHONPATH": str(site), "CMRGZ_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    told = {}
    for command in COMMANDS:
        line = [sys.executable, *program(shlex.split(command), site)]
        done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        told[command] = done.stdout
    return folder, told


def said(told: dict[str, str], start: str) -> str:
    """Return what the one command that starts like this printed."""
    (text,) = [text for command, text in told.items() if command.startswith(start)]
    return text


def test_it_is_registered_well_and_conforms(told: tuple[Path, dict[str, str]]) -> None:
    _, texts = told
    assert "model      my-model        cmrgz-my-model 0.1.0" in said(texts, "cmrgz plugins list")
    assert said(texts, "cmrgz plugins doctor").startswith("ok       my-model")
    checked = said(texts, "cmrgz plugins check")
    assert "failed" not in checked and "shown    draws_are_its_posterior  heuristic: " in checked
    assert re.search(r"\d+ passed", said(texts, "pytest"))


def test_what_it_drew_says_who_drew_it(told: tuple[Path, dict[str, str]]) -> None:
    folder, _ = told
    facts = json.loads((folder / "filled.json").read_text())
    assert facts["model"]["package"] == "cmrgz-my-model" and facts["network_calls"] >= 1
    meta = json.loads((folder / "runs/my-model/checkpoint/meta.json").read_text())
    for plugins in (facts["plugins"], meta["training"]["plugins"]):
        (used,) = [plugin for plugin in plugins if plugin["used"]]
        assert used == {
            "name": "my-model", "package": "cmrgz-my-model", "version": "0.1.0",
            "target": "cmrgz_my_model:SPEC", "used": True,
        }  # fmt: skip


def test_it_has_rows_beside_a_baseline(told: tuple[Path, dict[str, str]]) -> None:
    folder, texts = told
    table = said(texts, "cmrgz evaluate")
    assert "harmonic" in table and table.count("my-model@") >= 2 and ":temperature=0" in table
    assert (folder / "runs/compared/report.html").stat().st_size > 10_000
    settings = json.loads((folder / "runs/compared/sweep.json").read_text())
    assert [method["model"] for method in settings["methods"] if method["kind"] == "model"] == ["my-model"] * 2


def test_the_template_touches_no_line_of_the_core(told: tuple[Path, dict[str, str]]) -> None:
    folder, _ = told
    files = {path.relative_to(folder / "my-model").as_posix() for path in (folder / "my-model").rglob("*.py")}
    assert {f for f in files if not f.startswith("build/")} == {
        "cmrgz_my_model/__init__.py", "cmrgz_my_model/model.py", "tests/test_cmrgz_my_model.py",
    }  # fmt: skip


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TUTORIAL):
        assert (ROOT / "examples" / target).exists(), target
    for name in set(re.findall(r"`(cmrgz[./][\w./]+)`", TUTORIAL)) - {"cmrgz.models"}:  # a group of entry points
        path = name if name.endswith(".py") else name.replace(".", "/")
        assert (ROOT / path).exists() or (ROOT / path).with_suffix(".py").exists() or _is_in(path), name


def _is_in(path: str) -> bool:
    """Whether the last part of a path is defined in the module before it."""
    module, _, attribute = path.rpartition("/")
    return f"class {attribute}" in (ROOT / f"{module}.py").read_text()
