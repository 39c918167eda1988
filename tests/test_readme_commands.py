"""Every command of every README runs, or is shown to be none: most of them only under the marker `slow`.

By default scripts start, options of trainings are read, and what takes no time runs. As slow a README is followed from
its first command to its last, in a folder of its own, with less data, fewer steps and fewer draws than it says. What
the README of the project and the pages in `cmrgz/docs` have in their blocks is followed by `test_readme.py`, and the
set-up by `.ci/run`.
"""

import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from cmrgz import checkpoint, registry
from cmrgz.cli import main
from cmrgz.data.scan import Scan, load, save
from cmrgz.training import run as training

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("README.md", "cmrgz/docs/*.md", "cmrgz/**/README.md", "examples/**/README.md", "plugins/*/README.md")
READMES = {path.relative_to(ROOT).as_posix(): path for pattern in FOLDERS for path in sorted(ROOT.glob(pattern))}
BLOCKS = ("README.md", *(name for name in READMES if name.startswith("cmrgz/docs/")))
"""Whose blocks are followed by `test_readme.py`, or by `.ci/run`."""
PROGRAM = r"(?:cmrgz|python3?|pip|pytest|cd) "

NONE = {
    "a capital word stands for what the reader has": [
        "cmrgz models NAME", "cmrgz plugins check NAME", "pytest --cmrgz NAME", "cmrgz inpaint --set NAME=VALUE",
        *(f"cmrgz train {name} DATA --set NAME=VALUE" for name in
          ("ar-mar", "ar-maskgit", "ar-var", "ar-vq", "ldm-dit", "ldm-unet", "ldm-uvit")),
    ],
    "names a command or an option, of which the text speaks": [
        "cmrgz evaluate", "cmrgz inpaint", "cmrgz inpaint --refine", "cmrgz inpaint --refine z=2", "cmrgz measure",
        "cmrgz measure --mask", "cmrgz train", "cmrgz data phantom", "cmrgz plugins new", "pytest --cmrgz",
    ],
    "needs an index that has this project": ["pip install cmrgz[cluster]", "pip install cmrgz[dicom]"],
    "dots stand for the data and options of a command above": [
        "cmrgz train ar-maskgit ... --start runs/ar-maskgit/checkpoint -o runs/more --half --seed 1 "
        "--set steps=3500 --set lr=6e-4 --set warmup=100 --set early=1000",
        "cmrgz train ar-maskgit ... --start runs/more/early -o runs/last --half --seed 2 "
        "--set steps=1100 --set lr=4e-4 --set warmup=30 --set ema=0.997",
        "python examples/inpainting_table.py phantoms-test --frames 2 --masks patch:0.7 "
        "--models ar-maskgit ar-maskgit:steps=4 ...",
        "python examples/inpainting_table.py phantoms-test --frames 2 --models ar-var ar-vq --masks ...",
    ],
}  # fmt: skip
DATA = ("DATA", "TRAIN", "phantoms", "phantoms-test", "sunnybrook-train", "sunnybrook-test")
CINES = ("SCD0000101", "SCD0000201", "SCD0000301")
SCRIPTS = {
    "card.py": "ldm-dit --tiny",
    "context_table.py": "--models ldm-dit --set steps=2 moves=1 --phases 2 --slices 2 --masks 0.7",
    "coverage_table.py": "--models ldm-dit --set steps=1 moves=1 --draws 2 --stride 5 --cases 1",
    "decoding_table.py": "--items 2 --draws 2 --rows 1",
    "inpainting_table.py": "--frames 1 --samples 2 --masks patch:0.5",
    "posterior_table.py": "--items 2 --draws 2 --rows 1",
    "refine_table.py": "--models ldm-unet --axes z --set steps=2 moves=1 --draws 2 --phases 2 --slices 3",
    "readme_picture.py": "--samples 2 --out picture.png",
    "sampling_speed.py": "--models ldm-dit --batch 1 --steps 2 --repeats 1",
    "train_segmenter.py": "--steps 2 --most 1",
    "ar-maskgit/benchmarks/decoding.py": "--batch 1 --repeats 1",
    "ar-var/benchmarks/scales.py": "--batch 1 --repeats 1 --items 4",
    "ar-vq/benchmarks/decoding.py": "--parts ours library --batch 1 --repeats 1 --frames 1 --samples 2 --parallel 8",
}
"""What makes a script quick, after its own arguments."""
REFUSED = ["cmrgz", "plugins", "check", "regression"]
"""Ends with exit code 5, as its README says: it is no sampler."""
TRAINING = {"steps": "1", "batch_size": "1", "fit_items": "4", "validation_items": "1", "early": "1", "warmup": "0"}
NUMBERS = {"--subjects": "2", "--size": "128", "--phases": "2", "--slices": "2", "--number": "1", "-n": "1"}


def commands(text: str) -> list[str]:
    """Return the commands of a README, those of its blocks before those within its lines."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for kind, block in blocks if kind in ("", "sh") for line in block.replace("\\\n", " ").splitlines()]
    lines = [line for line in lines if re.match(PROGRAM, line)]
    lines += re.findall(f"`({PROGRAM}[^`]*)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    parts = [part for line in lines for part in line.split(" && ")]
    return list(dict.fromkeys(" ".join(shlex.split(part, comments=True)) for part in parts))


def own(name: str) -> list[str]:
    """Return what is to be run of a README."""
    text = READMES[name].read_text()
    if name in BLOCKS:
        text = re.sub(r"^```sh\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [command for command in commands(text) if command not in sum(NONE.values(), [])]


EVERY = {command: name for name in READMES for command in own(name)}
TRAININGS = [command for command in EVERY if command.startswith("cmrgz train ")]
QUICK = [command for command in EVERY if re.match("cmrgz (models|metrics|plugins list)", command)]
NAMED = sorted({command.split()[1] for command in EVERY if command.startswith("python plugins/")})
"""Scripts; `test_examples.py` runs those of the examples."""


def is_example(command: str) -> bool:
    """Whether a command is of a plugin among the examples, which is not installed."""
    return EVERY.get(command, "").startswith("examples/plugin-")


def patient(path: Path) -> None:
    """Write the phantom with noise of its own: equal scans are one patient, whatever they are called."""
    scan = load(ROOT / "examples" / "phantom.nii.gz")
    noise = np.random.default_rng(list(path.name.encode())).integers(0, 20, scan.shape)
    save(path, scan, (scan.stored + noise).astype(scan.stored.dtype))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all that the READMEs name; bundled weights stand for own ones."""
    tmp_path = tmp_path_factory.mktemp("readmes")
    for number, name in enumerate(DATA):
        (tmp_path / name).mkdir()
        for image in (f"sub-{number}0", f"sub-{number}1"):
            patient(tmp_path / name / f"{image}.nii.gz")
            shutil.copy(ROOT / "examples" / "phantom_label.nii.gz", tmp_path / name / f"{image}_label.nii.gz")
    for name in CINES:
        patient(tmp_path / f"{name}_cine.nii.gz")
    scan = Scan.blank((1, 1, 64, 64), (10.0, 1.4, 1.4), 0.05)
    save(tmp_path / "scan.nii.gz", scan, np.random.default_rng(0).integers(0, 500, scan.shape).astype(np.int16))
    (tmp_path / "sweep.yaml").write_text("patterns: [patch]\nratios: [0.5]\nmodels: [ar-vq]\n")
    for entry in [*registry.models().values(), *registry.tokenizers().values()]:
        if weights := checkpoint.bundled(entry.require()):
            (tmp_path / "runs" / entry.name).mkdir(parents=True)
            (tmp_path / "runs" / entry.name / "checkpoint").symlink_to(weights)
    (tmp_path / "RUNS").mkdir()
    (tmp_path / "RUNS" / "ldm-uvit").symlink_to(tmp_path / "runs" / "ldm-dit")
    for part in ("examples", "plugins"):
        (tmp_path / part).symlink_to(ROOT / part)
    return tmp_path


@pytest.fixture
def there(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in that folder, in which nothing is written."""
    monkeypatch.chdir(world)
    return world


def reduced(command: str) -> list[str]:
    """Return the words of a command that asks for less."""
    words = shlex.split(command)
    if words[0] == "python":
        (extra,) = [extra for script, extra in SCRIPTS.items() if words[1].endswith(script)]
        return [*words, *extra.split()]
    if words[:2] == ["cmrgz", "train"]:
        words = [words[2] if before == "--start" and word in ("HINTS", "FRAMES") else word
                 for before, word in zip(["", *words], words, strict=False)]  # fmt: skip
        pairs = [(a, b) for a, b in zip(words, words[1:], strict=False) if a == "--set" and b.split("=")[0] in TRAINING]
        for pair in pairs:
            at = words.index(pair[1])
            del words[at - 1 : at + 1]
        return [*words, *(f"--set={name}={value}" for name, value in TRAINING.items())]
    if words[1] == "evaluate" and words[2] not in ("report", "repair", "verify"):
        return [*words, "--subjects", "2", "--frames", "1", "--no-baselines"]
    words = [NUMBERS.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    words = ["group=NOR" if word == "group=DCM" else word for word in words]  # of two patients one is trained on
    if words[1:3] == ["data", "phantom"]:
        words += [*(extra for extra in ("--lite", "--slices=2") if extra[:8] not in " ".join(words))]
    return words


def test_what_is_no_command_is_still_there() -> None:
    found = {command for path in READMES.values() for command in commands(path.read_text())}
    assert found >= set(sum(NONE.values(), []))
    assert found - set(EVERY) - set(sum(NONE.values(), [])) == set(commands_of_blocks()) - set(EVERY)


def commands_of_blocks() -> list[str]:
    """Return what `test_readme.py` and `.ci/run` follow."""
    texts = (READMES[name].read_text() for name in BLOCKS)
    return commands(
        "\n".join(block for text in texts for block in re.findall(r"^```sh\n.*?^```", text, re.DOTALL | re.M))
    )


def test_what_is_installed_is_there() -> None:
    for command in EVERY:
        for word in command.split()[2:] if command.startswith("pip install") else ():
            assert (ROOT / word / "pyproject.toml").is_file(), command


@pytest.mark.parametrize("script", NAMED)
def test_a_script_starts(
    script: str, there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(script, run_name="__main__")
    assert end.value.code == 0 and "usage" in capsys.readouterr().out


@pytest.mark.parametrize("command", [command for command in TRAININGS if not is_example(command)])
def test_a_training_is_understood(
    command: str, there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plans: list[training.Plan] = []
    monkeypatch.setattr(training, "train", lambda plan, quiet: plans.append(plan) or there)
    assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().err
    for path in [*plans[0].data, *plans[0].validation]:
        assert Path(path).exists(), path


@pytest.mark.parametrize("command", QUICK)
def test_a_quick_command_runs(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", READMES)
def test_a_readme_is_followed(name: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(world, tmp_path / "reader", symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CMRGZ_DEVICE", "cpu")
    if "plugin-monai" in name and importlib.util.find_spec("monai") is None:
        pytest.skip("monai is not installed")
    start = ["cmrgz evaluate --model ar-vq --mask 0.7 -o RUN"] if "evaluation" in name else []
    place = folder
    for command in [*start, *own(name)]:
        words = reduced(command)
        if words[0] == "cd":
            place = folder / words[1]
            continue
        made = words[3] if words[1:3] == ["data", "phantom"] else ""
        made = f"runs/{words[2]}" if words[:2] == ["cmrgz", "train"] else made
        written = words[words.index("-o") + 1] if "-o" in words else made
        if written:  # what stood for it
            shutil.rmtree(written, ignore_errors=True)
        if words[0] == "cmrgz" and not is_example(command):
            assert main(words[1:]) == 0, shlex.join(words)  # in this process: to import torch takes seconds
        else:
            follow(words, place, folder)
        place = folder


def follow(words: list[str], place: Path, folder: Path) -> None:
    """Run a command in a process of its own; what it installs goes to `site`."""
    paths = [str(folder / "site"), *filter(None, sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(program(words, folder), cwd=place, env=environment, capture_output=True, text=True)
    expected = 5 if words == REFUSED else 0
    assert done.returncode == expected, f"{shlex.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def program(words: list[str], folder: Path) -> list[str]:
    """Return what runs a command; sources are copied, since to install them leaves files among them."""
    if words[0] == "pip":
        stale = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", ".*", "runs", "tests")
        sources = [shutil.copytree(ROOT / word, folder / "src" / str(at), ignore=stale)
                   for at, word in enumerate(words[2:])]  # fmt: skip
        target = folder / ("site" if words[2].startswith("./examples") else "apart")
        pip = ["pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(target)]
        return [sys.executable, "-m", *pip, *map(str, sources)]
    if words[0] == "pytest":
        load = [] if entry_points(group="pytest11", name="cmrgz") else ["-p", "cmrgz.testing.pytest_plugin"]
        return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *load, *words[1:]]
    return [sys.executable, *(["-m"] if words[0] == "cmrgz" else []), *words[words[0] == "python" :]]
