"""From `cmrgz plugins new` to a filled scan, by the commands of the README that it writes, as its author would."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cmrgz.data.scan import Scan, save


@pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="setuptools is not installed")
def test_a_new_plugin_is_installed_checked_trained_and_used(tmp_path: Path) -> None:
    site = tmp_path / "site"
    environment = {**os.environ, "PYTHONPATH": str(site), "CMRGZ_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    rng = np.random.default_rng(0)
    for name in ("scan", "DATA/a", "DATA/b"):
        image = Scan.blank((2, 1, 128, 128), (10.0, 1.4, 1.4), 0.05)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path / f"{name}.nii.gz", image, rng.integers(0, 500, image.shape).astype(np.int16))
    run("cmrgz", "plugins", "new", "my-model")
    pip = ["pip", "install", "-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    run(*pip, "--target", str(site), "./my-model")
    assert "my-model" in run("cmrgz", "plugins", "list")
    assert "ok       my-model" in run("cmrgz", "plugins", "doctor", "my-model")
    assert "failed" not in run("cmrgz", "plugins", "check", "my-model")
    small = ["--set", "steps=2", "--set", "batch_size=2", "--set", "width=8", "--set", "validation_items=2"]
    run("cmrgz", "train", "my-model", "DATA", "-o", "runs/my-model", *small)
    run(
        "cmrgz", "inpaint", "scan.nii.gz", "--model", "runs/my-model/checkpoint", "--mask", "0.5", "-o", "filled.nii.gz"
    )
    facts = json.loads((tmp_path / "filled.json").read_text())
    assert facts["model"]["distribution"] == "cmrgz-my-model" and "cmrgz-my-model" in json.dumps(facts["plugins"])
    assert facts["network_calls"] == 1
