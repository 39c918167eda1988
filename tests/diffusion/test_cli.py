"""Diffusion from the command line: what is refused, before any weights, and what the sidecar tells."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmrgz import checkpoint
from cmrgz.cli import main
from cmrgz.data.scan import Scan, save
from cmrgz.testing.subject import Subject, shaken

LINE = re.compile(r"cmrgz: error\[([a-z-]+)\]: .+: .+\n")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of tiny checkpoints by name, `ldm-dit-2` with other weights."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in ("ldm-dit", "flow-dit", "ldm-unet"):
        Subject.of(name).save(folder / name)
    weaker = Subject.of("ldm-dit")
    shaken(weaker.model)
    weaker.save(folder / "ldm-dit-2")
    return folder


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    image = Scan.blank((1, 1, 64, 64), (10.0, 1.4, 1.4), 0.05)
    save(tmp_path / "a.nii", image, np.random.default_rng(0).integers(0, 500, image.shape).astype(np.int16))
    return tmp_path / "a.nii"


@pytest.mark.parametrize(
    ("model", "options", "what"),
    [
        ("ldm-dit", ["--set", "algorithm=lanpiant"], "did you mean.*lanpaint"),
        ("ldm-dit", ["--set", "steps=0"], "'steps' must be 1 .. 1000"),
        ("ldm-dit", ["--set", "stepps=4"], "did you mean.*steps"),
        ("ldm-dit", ["--set", "move_size=2"], "'move_size' must be"),
        ("ldm-dit", ["--set", "particles=1"], "'particles' must be"),
        ("ldm-dit", ["--set", "algorithm=pnpflow"], "needs a flow, this model has the objective 'v'"),
        (
            "ldm-dit",
            ["--set", "particles=8"],
            "'particles' goes with algorithm=smc, not with lanpaint; lanpaint has moves",
        ),
        ("ldm-dit", ["--set", "algorithm=dps", "--set", "moves=5"], "dps has strength"),
        ("ldm-dit", ["--set", "algorithm=cond", "--set", "pull=1"], "cond has no options of its own"),
        ("flow-dit", ["--set", "algorithm=pnpflow", "--set", "rounds=2"], "pnpflow has averages, data_step"),
        ("flow-dit", ["--set", "algorithm=pnpflow", "--set", "strength=2"], "pnpflow has averages, data_step"),
        ("ldm-dit", ["--set", "algorithm=repaint", "--set", "round=2"], "did you mean.*rounds"),
        ("ldm-dit", ["--set", "sampler=dpm2"], "no choice 'dpm2'"),
        ("ldm-dit", ["--guide", "{}/ldm-unet"], "must be a checkpoint of the same model"),
        ("ldm-dit", ["--guide", "{}/nothing"], "neither a registered model"),
        ("ldm-dit", ["--set", "guidance=0.5"], "'guidance' must be"),
    ],
)
@pytest.mark.parametrize("command", ["inpaint", "generate"])
def test_what_is_refused_is_one_line_before_any_weights(
    command: str,
    model: str,
    options: list[str],
    what: str,
    checkpoints: Path,
    scan: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(checkpoint, "loaded", refuse)
    start = [command, str(scan), "--mask", "0.5"] if command == "inpaint" else [command]
    given = [option.format(checkpoints) for option in options]
    assert main([*start, "--model", str(checkpoints / model), "--device", "cpu", *given]) == 2
    told = capfd.readouterr()
    assert told.out == "" and LINE.fullmatch(told.err) and re.search(what, told.err), told.err
    assert [path.name for path in scan.parent.iterdir()] == ["a.nii"]


def test_a_model_that_takes_no_guide_says_so(
    tiny_checkpoint: Path, scan: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = str(tiny_checkpoint)
    assert main(["inpaint", str(scan), "--mask", "0.5", "--model", model, "--guide", model, "--device", "cpu"]) == 2
    assert "'ar-vq' takes no guide" in capfd.readouterr().err


def test_a_guided_run_counts_both_networks_and_names_the_guide(checkpoints: Path, scan: Path) -> None:
    args = ["inpaint", str(scan), "--mask", "0.5", "--model", str(checkpoints / "ldm-dit"), "--device", "cpu"]
    args += ["--set", "steps=2", "--set", "moves=1", "--overwrite"]
    guide = ["--guide", str(checkpoints / "ldm-dit-2"), "--set", "guidance=2"]
    facts = []
    for more in ([], guide):
        assert main([*args, *more]) == 0
        facts.append(json.loads(Path("a_inpainted.json").read_text()))
    assert [f["network_calls"] for f in facts] == [4, 8]
    stored = json.loads((checkpoints / "ldm-dit-2" / "meta.json").read_text())["sha256"]
    assert [f["guide_sha256"] for f in facts] == [None, stored]


def test_pnpflow_runs_on_a_flow(checkpoints: Path, scan: Path) -> None:
    args = ["inpaint", str(scan), "--mask", "0.5", "--model", str(checkpoints / "flow-dit"), "--device", "cpu"]
    assert main([*args, "--set", "algorithm=pnpflow", "--set", "steps=3", "--set", "averages=2"]) == 0
    assert json.loads(Path("a_inpainted.json").read_text())["network_calls"] == 6


def test_a_sidecar_that_told_the_options_of_all_algorithms_is_of_the_same_run(checkpoints: Path, scan: Path) -> None:
    args = ["inpaint", str(scan), "--mask", "0.5", "--model", str(checkpoints / "ldm-dit"), "--device", "cpu"]
    args += ["--set", "steps=1", "--set", "moves=1", "--skip-existing"]
    assert main(args) == 0
    sidecar = Path("a_inpainted.json")
    facts = json.loads(sidecar.read_text())
    assert facts["sampling"]["moves"] == 1 and not facts["sampling"].keys() & {"rounds", "strength", "particles"}
    facts["sampling"] |= {"rounds": 5, "strength": 1.0, "particles": 8}
    sidecar.write_text(json.dumps(facts))
    before = Path("a_inpainted.nii.gz").stat().st_mtime_ns
    assert main(args) == 0 and Path("a_inpainted.nii.gz").stat().st_mtime_ns == before, "it was there"
    for other in ({"precision": "bf16"}, {"moves": 2}):
        sidecar.write_text(json.dumps({**facts, "sampling": {**facts["sampling"], **other}}))
        assert main(args) == 2, other
