"""The example plugins install and pass their own tests, the conformance suite among them."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NEEDS = {"plugin-gaussian": (), "plugin-monai": ("monai",), "plugin-regression": ()}


def test_all_are_tested(tracked: list[Path]) -> None:
    projects = {path.parent for path in tracked if path.name == "pyproject.toml"}
    assert {folder.name for folder in projects if folder.parent == EXAMPLES} == set(NEEDS)


@pytest.mark.parametrize("name", list(NEEDS))
def test_an_example_plugin_conforms(name: str, tmp_path: Path) -> None:
    for module in ("setuptools", *NEEDS[name]):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    stale = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    source = shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=stale)
    pip = ["pip", "install", "-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])}
    for words in ([*pip, "--target", str(tmp_path / "site"), str(source)], ["pytest", "-q", "--rootdir", ".", "tests"]):
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=source, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
