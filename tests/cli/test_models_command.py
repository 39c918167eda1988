"""`cmrgz models` says what weights see, from their meta alone."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cmrgz.cli import main
from cmrgz.training.options import TrainOptions

SPEC = """
from cmrgz.plugin import ModelSpec
SPEC = ModelSpec(name="ar-test", family="ar", summary="a test", build="toy:build", axes=("t", "z", "y", "x"),
                 item=(5, 3, 128, 128), checkpoint="toy:weights")
def build():
    pass
"""
BLOCKS = {"axes": ["t", "z", "y", "x"], "item": [5, 3, 128, 128]}
CASES = {
    "of blocks": (BLOCKS, "weights of blocks 5x3"),
    "of a clip": ({"axes": ["t", "y", "x"], "item": [12, 128, 128]}, "weights of clips 12"),
    "of frames": ({"axes": ["y", "x"], "item": [128, 128]}, "weights of frames"),
    "of the first format": ({"item": [128, 128]}, "weights of frames"),
    "damaged": ({"axes": ["q"], "item": 3}, "weights"),
    "no object": ([], "weights"),
    "no item": ({}, "weights"),
}


def install_with(meta: object, install: Callable[..., Any], root: Path) -> None:
    """Install a model with weights whose `meta.json` is this; None leaves it out."""
    install("cmrgz-toy", {"ar-test": "toy:SPEC"}, {"toy/__init__": SPEC})
    folder = root / "site" / "toy" / "weights"
    folder.mkdir()
    if meta is not None:
        (folder / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize("case", list(CASES))
def test_a_listing_says_what_weights_see(
    case: str, install: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meta, told = CASES[case]
    install_with(meta, install, tmp_path)
    assert main(["models"]) == 0
    assert f"[cmrgz-toy 1.0, {told}]" in capsys.readouterr().out


def test_weights_that_are_not_there_are_listed(
    install: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_with(None, install, tmp_path)
    assert main(["models"]) == 0 and "[cmrgz-toy 1.0, weights]" in capsys.readouterr().out


def test_a_page_has_the_options_of_training_too(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ar-vq", "vq"):
        assert main(["models", name]) == 0
        told = capsys.readouterr().out
        groups = re.findall(r"^Options of (?:the )?(\w+)", told, re.MULTILINE)
        assert groups == ["architecture", "training", "sampling"][: 3 if name == "ar-vq" else 2]
        assert "  lr=0.001  float (at least 1e-12)  peak learning rate\n" in told
        assert "  keep=last  last | best  whose weights" in told
        assert main(["models", name, "--json"]) == 0
        options = {option["name"]: option for option in json.loads(capsys.readouterr().out)["train"]}
        assert options.keys() == {field.name for field in dataclasses.fields(TrainOptions)}
        assert (options["steps"]["default"], options["batch_size"]["range"]) == (2000, "1 .. 65536")


def test_a_page_has_axes_and_item(
    install: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_with(BLOCKS, install, tmp_path)
    assert main(["models", "--json"]) == 0
    (facts,) = [f for f in json.loads(capsys.readouterr().out)["models"] if f["name"] == "ar-test"]
    assert facts["axes"] == ["t", "z", "y", "x"] and facts["item"] == [5, 3, 128, 128]
    assert (facts["weights"], facts["weights_of"]) == ("bundled", "blocks 5x3")
