"""Every command of the README and of the pages in `cmrgz/docs` runs, in order, in one folder.

Small data and tiny networks stand in for real ones. A command that several pages have runs once, at its first place:
the README comes first, then the pages as their index lists them. `test_docs.py` holds what the pages say against the
code.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cmrgz.cli import main
from cmrgz.data.scan import Scan, load, save

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
INDEX = ROOT / "cmrgz" / "docs" / "README.md"
SET_UP = "python3 -m venv .venv && "
"""Starts the two commands that `.ci/run` follows."""
TINY = {
    "vq": "steps=2 batch_size=2 fit_items=4 vocab=16 levels=2 width=8 fine_width=8 blocks=1 lloyd=2 validation_items=2",
    "ar-vq": "steps=2 batch_size=2 fit_items=4 width=16 heads=2 inner=16 content_layers=1 target_layers=1 free=2 "
    "validation_items=2",
    "ldm-unet": "steps=2 batch_size=2 fit_items=4 validation_items=2",
    "ldm-dit": "steps=2 batch_size=2 fit_items=4 validation_items=2 size=tiny",
    "ar-maskgit": "steps=2 batch_size=2 fit_items=4 validation_items=2 width=16 heads=2 inner=16 layers=1 local=8 "
    "free=2",
}


def pages() -> list[str]:
    """Return the texts of the README and of the pages, in the order of their index."""
    names = dict.fromkeys(re.findall(r"\]\(([\w-]+\.md)\)", INDEX.read_text()))
    return [README, INDEX.read_text(), *((INDEX.parent / name).read_text() for name in names)]


def shell() -> list[str]:
    """Return the lines of all shell blocks, each once, without comments."""
    blocks = [block for text in pages() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]
    lines = [words for block in blocks for line in block.splitlines() if (words := shlex.split(line, True))]
    return list(dict.fromkeys(map(shlex.join, lines)))


def python() -> list[str]:
    """Return the Python blocks."""
    return [block for text in pages() for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


COMMANDS = [line for line in shell() if line.startswith("cmrgz ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("readme")
    rng = np.random.default_rng(0)
    for name, shape in (("scan", (1, 2, 128, 128)), ("DATA/a", (2, 1, 128, 128)), ("DATA/b", (2, 1, 128, 128))):
        scan = Scan.blank(shape, (10.0, 1.4, 1.4), 0.05)
        (folder / name).parent.mkdir(exist_ok=True)
        save(folder / f"{name}.nii.gz", scan, rng.integers(0, 500, scan.shape).astype(np.int16))
    told = "image,subject,group,sex,ef,edv\na.nii.gz,a,NOR,F,0.6,130\nb.nii.gz,b,DCM,M,0.3,250\n"
    (folder / "DATA" / "manifest.csv").write_text(told)
    heart = load(ROOT / "examples" / "phantom.nii.gz")
    some = heart.stored[::3, 2:5, 16:144, 16:144]
    save(folder / "heart.nii.gz", Scan.blank(some.shape, heart.spacing, 0.4), some)  # type: ignore[arg-type]  # of four axes
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def reduced(words: list[str]) -> list[str]:
    """Return a command with tiny networks and small numbers."""
    if words[0] == "train":
        return [*words, *(f"--set={pair}" for pair in TINY[words[1]].split())]
    if words[0] == "evaluate" and words[1] not in ("report", "verify"):
        extra = ["--subjects", "2", "--frames", "1", "--device", "cpu", "--context", "2x2"]
        return [*words, *extra, "--no-baselines"]
    if words[0] == "measure":  # the other scan is noise
        words = ["heart.nii.gz" if word == "scan.nii.gz" else word for word in words]
    small = {"--subjects": "1", "--number": "1", "--samples": "2"}
    pairs = zip([""] + words, words, strict=False)
    words = [small.get(before, word) for before, word in pairs]
    return [*words, "--size", "32", "--phases", "2"] if words[:2] == ["data", "phantom"] else words


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    assert main(reduced(words)) == 0, capsys.readouterr().err


def test_no_other_line_of_a_block_is_left_out() -> None:
    rest = [line for line in shell() if line not in COMMANDS]
    assert len(rest) == 2 and all(line.replace("'", "").startswith(SET_UP) for line in rest)


@pytest.mark.parametrize("code", python())
def test_the_python_runs(code: str, folder: Path) -> None:
    exec(compile(code.replace("samples=4", "samples=1"), "README.md", "exec"), {})


def test_the_pages_name_every_command() -> None:
    used = {shlex.split(command)[1] for command in COMMANDS}
    known = {
        "inpaint",
        "generate",
        "measure",
        "train",
        "evaluate",
        "data",
        "models",
        "metrics",
        "plugins",
        "env",
        "view",
    }
    assert used >= known


def test_ci_follows_both_set_up_commands_in_one_clean_clone(tmp_path: Path) -> None:
    """With commands that take no time in the place of python3: what is run is what the README says."""
    for name in (".ci/run", "README.md"):
        (tmp_path / "checkout" / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(ROOT / name, tmp_path / "checkout" / name)
    programs = {"python3": "mkdir -p .venv/bin; cp $FAKES/* .venv/bin", "pip": "", "cmrgz": "", "python": ""}
    (tmp_path / "fakes").mkdir()
    for name, does in programs.items():
        (tmp_path / "fakes" / name).write_text(f'#!/bin/sh\necho "$PWD {name} $*" >> "$FAKES/../log"\n{does}\n')
        (tmp_path / "fakes" / name).chmod(0o700)
    fakes = str(tmp_path / "fakes")
    environment = {**os.environ, "PATH": f"{fakes}:{os.environ['PATH']}", "FAKES": fakes, "TMPDIR": str(tmp_path)}
    done = subprocess.run([tmp_path / "checkout" / ".ci" / "run"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    places, told = zip(*(line.split(" ", 1) for line in (tmp_path / "log").read_text().splitlines()), strict=True)
    pip = "pip install -q -c .ci/constraints.txt"
    assert [line.replace("[test]", "") for line in told[1::3]] == [f"{pip} . ./plugins/*/"] * 2
    assert "[test]" in told[4] and told[5] == "python -m pytest"
    assert told[2].startswith("cmrgz inpaint examples/phantom.nii.gz") and told[6:] == ("cmrgz models",)
    assert len(set(places[:6])) == 1 and not places[6].endswith("clone") and not Path(places[0]).exists()
