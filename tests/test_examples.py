"""Every example runs, on small input."""

import runpy
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from cmrgz.data.scan import Scan, save

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PHANTOM = str(EXAMPLES / "phantom.nii.gz")
ARGUMENTS = {
    "inpaint_api.py": ["a.nii.gz"],
    "phantom_volumes.py": [],
    "readme_picture.py": ["a.nii.gz", "--slice", "1", "--samples", "2", "--out", "picture.png"],
    "listing_speed.py": ["--repeats", "1"],
    "sweep_bookkeeping.py": ["--cells", "200", "--new", "20"],
    "coverage_table.py": [
        PHANTOM,
        "--models",
        "ldm-dit",
        "--set",
        "steps=1",
        "moves=1",
        "--draws",
        "2",
        "--stride",
        "5",
    ],
    "decoding_table.py": ["--items", "2", "--draws", "2", "--rows", "1"],
    "posterior_table.py": ["--items", "2", "--draws", "2", "--rows", "1"],
    "sampling_speed.py": ["--models", "ldm-dit", "--batch", "1", "--steps", "2", "--repeats", "1"],
    "context_table.py": [PHANTOM, "--models", "ldm-dit", "--set", "steps=2", "moves=1", "--draws", "3", "--antithetic"]
    + ["--phases", "2", "--slices", "2", "--masks", "0.7", "0.7,hold=t", "slices:every=2"],
    "refine_table.py": [PHANTOM, "--set", "steps=2", "moves=1", "--draws", "2", "--phases", "3", "--slices", "3"]
    + ["--axes", "z"],
    "train_segmenter.py": [PHANTOM, "--test", PHANTOM, "--steps", "2", "--out", "a.safetensors"],
    "inpainting_table.py": ["a.nii.gz", "--bank", "a.nii.gz", "--models", "ar-vq", "ldm-unet:steps=2,moves=1"]
    + ["--samples", "2", "--frames", "1", "--masks", "patch:0.5"],
}


def test_all_are_run(tracked: list[Path]) -> None:
    assert {path.name for path in tracked if path.parent == EXAMPLES and path.suffix == ".py"} == set(ARGUMENTS)


@pytest.mark.parametrize("script", ARGUMENTS)
def test_an_example_runs(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, since to import torch takes longer than most of them."""
    image = Scan.blank((1, 1, 128, 128), (10.0, 1.4, 1.4), 0.05)
    save(tmp_path / "a.nii.gz", image, np.random.default_rng(0).integers(0, 500, image.shape).astype(np.int16))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, *ARGUMENTS[script]])
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) >= 1
