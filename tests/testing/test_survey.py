"""What `cmrgz models` reads in another process: every plugin has its line, whatever its import does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cmrgz import registry
from cmrgz.authoring.survey import survey
from cmrgz.cli import main

SPEC = """
from cmrgz.plugin import ModelSpec
SPEC = ModelSpec(name="{name}", family="test", summary={summary}, build="nowhere:build")
"""
GOOD = SPEC.format(name="zz-good", summary="'the last one'")
HOSTILE = {
    "aa-kills": "import os; os._exit(0)",
    "bb-raises": "raise RuntimeError('at import')",
    "cc-hangs": "import time; time.sleep(60)",
    "dd-forks": "import os; os.fork()\n" + SPEC.format(name="dd-forks", summary="'twice'"),
    "ee-odd": SPEC.format(name="ee-odd", summary="{1, 2}"),
    "ff-aborts": "import os; os.abort()",
    "gg-prints": "print('hello')\n" + SPEC.format(name="gg-prints", summary="'prints'"),
}
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def lay(site: Path, sources: dict[str, str]) -> None:
    """Lay out installed packages, one a name."""
    for name, source in sources.items():
        module = name.replace("-", "_")
        folder = site / f"dist_{module}-2.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: 2.0\n")
        (folder / "entry_points.txt").write_text(f"[cmrgz.models]\n{name} = {module}:SPEC\n")
        (site / f"{module}.py").write_text(source)


@FORKS
def test_one_line_for_each_whatever_its_import_does(tmp_path: Path) -> None:
    lay(tmp_path, {**HOSTILE, "zz-good": GOOD})
    code = (
        "import json; from cmrgz import registry; from cmrgz.cli.models import _facts\n"
        "from cmrgz.authoring.survey import survey\n"
        "print(json.dumps(survey([*registry.models().values()], _facts, limit=2)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "CMRGZ_PLUGINS": ",".join([*HOSTILE, "zz-good"])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert list(rows) == [*HOSTILE, "zz-good"]
    broken = {name: row["broken"] for name, row in rows.items() if "broken" in row}
    assert broken.keys() == {"aa-kills", "bb-raises", "cc-hangs", "ee-odd", "ff-aborts"}
    assert broken["aa-kills"] == "plugin-broken: ends the process that imports it, with code 0"
    assert "at import" in broken["bb-raises"] and "did not load within 2 s" in broken["cc-hangs"]
    assert "cannot be described" in broken["ee-odd"] and "code -6" in broken["ff-aborts"]
    assert all(rows[name]["package"] == f"dist-{name}" for name in rows)
    assert rows["zz-good"]["summary"] == "the last one"


@FORKS
def test_models_lists_one_that_ends_its_process(install: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    install("cmrgz-bad", {"ar-bad": "bad:SPEC"}, {"bad": "import os; os._exit(3)"}, version="0.3")
    assert main(["models"]) == 0
    assert "BROKEN  plugin-broken: ends the process that imports it, with code 3" in capfd.readouterr().out
    assert main(["models", "--json"]) == 0
    assert len(json.loads(capfd.readouterr().out)["models"]) == len(registry.models())


def test_without_fork_specs_are_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    entries = [*registry.tokenizers().values()]
    assert survey(entries, lambda entry: {"name": entry.name}) == [{"name": entry.name} for entry in entries]


# ---------------------------------------------------------------------- ten plugins
COMMANDS = ["--help", "models", "plugins list", "plugins --help", "models --json", "plugins list --json", "--version"]


@pytest.mark.parametrize("command", COMMANDS)
def test_listing_ten_plugins_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    names = [f"plugin-{number}" for number in range(10)]
    lay(tmp_path, {name: SPEC.format(name=name, summary="'one of ten'") for name in names})
    code = (
        "import sys; from cmrgz.cli import main\n"
        f"code = main({command.split()!r})\n"
        "heavy = {'torch', 'numpy', 'scipy', 'nibabel', 'diffusers', 'matplotlib'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    if "help" not in command and "version" not in command:
        assert all(name in done.stdout for name in names)
