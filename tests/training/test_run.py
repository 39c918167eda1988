"""Training end to end on a tiny tokenizer: resume to the bit, refusals, and what the checkpoint holds."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cmrgz_tokenizers.vq import ResidualCodes
from safetensors.torch import load_file

from cmrgz import checkpoint
from cmrgz.cli import main
from cmrgz.data.scan import Scan, save
from cmrgz.durable import encode, read_journal
from cmrgz.errors import (
    CheckpointError,
    CmrgzError,
    CmrgzWarning,
    DataError,
    DivergedError,
    PluginError,
    ResourceError,
    Stopped,
    UsageError,
)
from cmrgz.signals import StopFlag
from cmrgz.training import loop, shards
from cmrgz.training.options import TrainOptions
from cmrgz.training.plan import Plan, find_spec, starting_from
from cmrgz.training.run import train
from cmrgz.training.state import State

BUILD = {"vocab": 8, "levels": 2, "width": 8, "fine_width": 4, "blocks": 1, "lloyd": 2}
OPTIONS = TrainOptions(
    steps=6, batch_size=2, warmup=2, save_every=2, validate_every=3, validation_items=2, fit_items=4, ema=0.5
)


@pytest.fixture(scope="module")
def data(noise_scans: Callable[..., Path]) -> Path:
    return noise_scans("abc", (2, 1, 136, 128))


@pytest.fixture
def plan(data: Path, tmp_path: Path) -> Plan:
    return Plan(name="vq", output=tmp_path / "run", data=[str(data)], build=BUILD, train=OPTIONS)


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("unbroken") / "run"
    train(Plan(name="vq", output=output, data=[str(data)], build=BUILD, train=OPTIONS))
    return output


def result(run: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    return load_file(run / "checkpoint" / "weights.safetensors"), read_journal(run / "log.jsonl")


def assert_equal(run: Path, other: Path) -> None:
    (weights, log), (other_weights, other_log) = result(run), result(other)
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
    assert log == other_log


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    original = loop.optimise

    def optimise(state: Any, module: Any, *rest: Any) -> loop.Figures:
        if state.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(state, module, *rest)

    monkeypatch.setattr(loop, "optimise", optimise)


@pytest.mark.parametrize("step", [0, 2, 3])
def test_a_stopped_run_ends_bit_equal(plan: Plan, unbroken: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(Stopped) as stopped:
            train(plan)
    assert stopped.value.exit_code == 75
    train(plan)
    assert_equal(plan.output, unbroken)


def test_a_killed_run_redoes_steps_to_the_same_log(plan: Plan, unbroken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is ahead of the last state: steps are redone, and must come out the same."""
    with monkeypatch.context() as patch:

        def die(state: Any, *_: object) -> None:
            if state.step == 4:
                raise KeyboardInterrupt

        patch.setattr(loop, "save", die)
        with pytest.raises(KeyboardInterrupt):
            train(plan)
    assert len(read_journal(plan.output / "log.jsonl")) == 4
    train(plan)
    assert_equal(plan.output, unbroken)


def test_a_step_that_comes_out_differently_stops_the_run(plan: Plan, unbroken: Path) -> None:
    shutil.copytree(unbroken, plan.output)
    shutil.rmtree(plan.output / "checkpoint")
    shutil.rmtree(plan.output / "state-00000006")
    lines = read_journal(plan.output / "log.jsonl")
    lines[5]["loss"] += 1e-6
    (plan.output / "log.jsonl").unlink()
    with loop.Journal(plan.output / "log.jsonl") as log:
        for line in lines:
            log.append(line)
    with pytest.raises(CheckpointError, match="nondeterminism"):
        train(plan)


def test_a_damaged_state_is_set_aside(plan: Plan, unbroken: Path) -> None:
    shutil.copytree(unbroken, plan.output)
    shutil.rmtree(plan.output / "checkpoint")
    newest = plan.output / "state-00000006" / "state.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    with pytest.warns(CmrgzWarning, match="hash"):
        train(plan)
    assert_equal(plan.output, unbroken)
    assert (plan.output / "corrupt-state-00000006").is_dir()


def test_all_states_damaged_is_no_fresh_start(plan: Plan, unbroken: Path) -> None:
    shutil.copytree(unbroken, plan.output)
    shutil.rmtree(plan.output / "checkpoint")
    for path in plan.output.glob("state-*/state.safetensors"):
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(CmrgzWarning), pytest.raises(CheckpointError, match="no-checkpoint"):
        train(plan)


def test_a_finished_run_is_left_alone(plan: Plan, unbroken: Path) -> None:
    shutil.copytree(unbroken, plan.output)
    before = {path: path.stat().st_mtime_ns for path in plan.output.rglob("*")}
    assert train(plan) == plan.output / "checkpoint"
    assert {path: path.stat().st_mtime_ns for path in plan.output.rglob("*")} == before


def test_another_config_is_refused(plan: Plan, unbroken: Path) -> None:
    shutil.copytree(unbroken, plan.output)
    other = dataclasses.replace(plan, seed=1)
    with pytest.raises(CheckpointError, match=r"config-mismatch.*seed"):
        train(other)


def test_a_run_may_be_gone_on_with_by_other_workers(
    plan: Plan, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(Stopped):
            train(dataclasses.replace(plan, train=dataclasses.replace(OPTIONS, workers=2)))
    train(plan)
    assert_equal(plan.output, unbroken)


def test_two_processes_cannot_share_a_folder(plan: Plan) -> None:
    plan.output.mkdir()
    holder = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(1, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", holder, str(plan.output / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.read(1)
        try:
            with pytest.raises(ResourceError, match="locked"):
                train(plan)
        finally:
            other.kill()


def test_three_bad_steps_stop_the_run(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "step_loss", lambda module, *_: sum(p.sum() for p in module.parameters()) * torch.nan)
    with pytest.raises(DivergedError, match="diverged"):
        train(plan)
    assert [record["loss"] for record in read_journal(plan.output / "log.jsonl")] == [None, None]
    for path in plan.output.glob("state-*/state.safetensors"):
        assert all(bool(value.isfinite().all()) for value in load_file(path).values() if value.is_floating_point())


def lose_from(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Lose the loss of this step and of all that follow."""
    original = shards.step_loss

    def step_loss(module: Any, batch: Any, seed: int, number: int, *rest: Any) -> torch.Tensor:
        return original(module, batch, seed, number, *rest) * (NAN if number >= step else 1)

    monkeypatch.setattr(shards, "step_loss", step_loss)


@pytest.mark.parametrize("stop", [3, 4])
def test_bad_steps_count_on_after_a_stop(plan: Plan, monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    lose_from(monkeypatch, 2)
    with monkeypatch.context() as patch:
        stop_at(patch, stop - 1)
        with pytest.raises(Stopped):
            train(plan)
    with pytest.raises(DivergedError, match="loss .*step 4"):  # steps 3, 4 and 5, as of a run that nothing stopped
        train(plan)
    assert len(read_journal(plan.output / "log.jsonl")) == 4


@pytest.mark.parametrize("bad", [None, -1, 3, True, "1"])
def test_the_count_of_bad_steps_is_what_it_can_be(plan: Plan, monkeypatch: pytest.MonkeyPatch, bad: Any) -> None:
    """A state from before it was stored has none, and counts from 0; another value is damage."""
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        with pytest.raises(Stopped):
            train(plan)
    path = plan.output / "state-00000002" / "state.json"
    record = {name: value for name, value in read_journal(path)[0].items() if name != "bad"}
    path.write_bytes(encode(record | ({} if bad is None else {"bad": bad})))
    if bad is None:
        train(plan)
        return
    with pytest.warns(CmrgzWarning, match="damaged"), pytest.raises(CheckpointError, match="no-checkpoint"):
        train(plan)


@pytest.mark.parametrize(
    ("part", "answer", "code"),
    [
        ("loss", "raise", "plugin-broken"),
        ("loss", None, "plugin-output"),
        ("loss", torch.zeros(2, requires_grad=True), "plugin-output"),
        ("loss", torch.zeros(()), "plugin-output"),
        ("fit", "raise", "plugin-broken"),
    ],
)
def test_what_a_plugin_does_wrong_in_training_is_told_as_its_fault(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, part: str, answer: object, code: str
) -> None:
    def wrong(*_: object, **__: object) -> object:
        if answer == "raise":
            raise KeyError("x\ny")
        return answer

    monkeypatch.setattr(ResidualCodes, part, wrong)
    with pytest.raises(PluginError, match=code):
        train(plan)


NAN = float("nan")


def test_a_run_without_one_good_step_has_diverged(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "step_loss", lambda module, *_: sum(p.sum() for p in module.parameters()) * NAN)
    with pytest.raises(DivergedError, match="loss"):
        train(dataclasses.replace(plan, train=dataclasses.replace(OPTIONS, steps=2)))


@pytest.mark.parametrize("change", [{"validate_every": 6, "save_every": 1}, {"early": 1}, {"validate_every": 1}])
def test_weights_that_are_not_finite_are_divergence(
    change: dict[str, int], plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overshoot(state: State, *_: Any) -> loop.Figures:
        next(p for p in state.module.parameters() if p.requires_grad).data.fill_(NAN)
        return loop.Figures(torch.ones(()), torch.ones(()))

    monkeypatch.setattr(loop, "optimise", overshoot)
    with pytest.raises(DivergedError, match="weights .*step 1"):
        train(dataclasses.replace(plan, train=dataclasses.replace(OPTIONS, **change)))
    assert not list(plan.output.glob("state-*")) and not (plan.output / "early").exists()


def test_a_validation_that_is_not_finite_is_divergence(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cmrgz.training.validation.Validation._row", lambda self, batch: {"loss": 1.0, "psnr_2": NAN})
    with pytest.raises(DivergedError, match="validation"):
        train(plan)
    assert all(record["step"] < 3 for record in read_journal(plan.output / "log.jsonl"))
    assert not (plan.output / "checkpoint").exists()


def test_too_high_a_rate_ends_with_the_exit_code_of_divergence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = BUILD | {"steps": 2, "batch_size": 2, "warmup": 0, "fit_items": 4, "validation_items": 2, "lr": 1e30}
    words = [f"--set={name}={value}" for name, value in options.items()]
    assert main(["train", "vq", str(data), "-o", str(tmp_path / "run"), "-d", "cpu", *words]) == 7
    assert "error[diverged]" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", ["train vq DATA -d cpu -o", "data check DATA", "data phantom --subjects 1"])
def test_quiet_shows_no_progress(
    command: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CMRGZ_LOG_LEVEL", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    words = [str(data) if word == "DATA" else word for word in command.split()]
    if words[0] == "train":
        options = BUILD | {"steps": 1, "batch_size": 2, "fit_items": 4, "validation_items": 2}
        words += ["OUT", *(f"--set={name}={value}" for name, value in options.items())]
    if words[1] == "phantom":
        words += ["OUT", "--lite", "--size=32", "--phases=1", "--slices=1"]
    for name, flags in (("loud\x1b\n", []), ("still", ["-q"])):
        out = str(tmp_path / name)
        assert main([*(out if word == "OUT" else word for word in words), *flags]) == 0
        told = capsys.readouterr()
        assert (told.err == "") == bool(flags), told.err
        assert told.out and "\x1b" not in told.out and len(told.out.splitlines()) == 1 + (words[1] == "check")


def test_one_bad_step_is_skipped(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    original = shards.step_loss
    monkeypatch.setattr(
        shards, "step_loss", lambda m, b, s, step, p: original(m, b, s, step, p) * (torch.nan if step == 1 else 1)
    )
    tokenizer, _ = checkpoint.open_tokenizer(train(plan))
    assert all(bool(p.isfinite().all()) for p in tokenizer.parameters())


def test_the_checkpoint_tells_how_it_was_made(unbroken: Path) -> None:
    tokenizer, meta = checkpoint.open_tokenizer(unbroken / "checkpoint")
    assert meta.name == "vq"
    assert meta.training["train"]["steps"] == 6
    assert meta.training["split_sha256"]
    figures = meta.training["validation"]
    assert {"loss", "psnr_2", "closed_psnr_2", "perplexity_1", "code_use_1"} <= figures.keys()
    stored = (unbroken / "checkpoint" / "meta.json").read_text() + (unbroken / "config.json").read_text()
    assert str(unbroken) not in stored and ".nii" not in stored


def test_the_log_has_a_line_a_step_and_figures_a_validation(unbroken: Path) -> None:
    log = read_journal(unbroken / "log.jsonl")
    assert [record["step"] for record in log] == [1, 2, 3, 4, 5, 6]
    assert [record["step"] for record in log if "validation" in record] == [3, 6]
    for line in (unbroken / "log.jsonl").read_text().splitlines():
        json.loads(line)


def test_two_states_are_kept(unbroken: Path) -> None:
    assert sorted(path.name for path in unbroken.glob("state-*")) == ["state-00000004", "state-00000006"]
    assert not list(unbroken.glob(".tmp-*"))


def test_the_average_is_what_is_kept(unbroken: Path) -> None:
    state = load_file(unbroken / "state-00000006" / "state.safetensors")
    weights = load_file(unbroken / "checkpoint" / "weights.safetensors")
    name = "decoder.enter.weight"
    assert torch.equal(weights[name], state[f"average.{name}"])
    assert not torch.equal(weights[name], state[f"module.{name}"])


def test_the_global_generator_is_left_alone(plan: Plan) -> None:
    before = torch.get_rng_state()
    train(plan)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_second_interrupt_is_not_held_back() -> None:
    flag = StopFlag()
    flag(signal.SIGINT, None)
    assert flag.asked
    with pytest.raises(KeyboardInterrupt):
        flag(signal.SIGINT, None)


def test_ctrl_c_on_the_command_line(data: Path, tmp_path: Path) -> None:
    options = BUILD | {"steps": 100000, "batch_size": 2, "fit_items": 2}
    sets = [f"--set={name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "cmrgz", "train", "vq", str(data), "-o", str(tmp_path / "run"), *sets]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run" / "log.jsonl").is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 75, errors
    assert "cmrgz: error[stopped]: run: stopped at step" in errors
    assert "Traceback" not in errors
    assert list((tmp_path / "run").glob("state-*"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["train"], "usage"),
        (["train", "nothing"], "unknown-plugin"),
        (["train", "vq", "--set", "stepz=3"], "unknown-key"),
        (["train", "vq", "--set", "steps=0"], "range"),
        (["train", "vq", "--set", "steps=x"], "type"),
        (["train", "vq", "--seed", "-1"], "range"),
        (["train", "vq", "nowhere"], "not-found"),
        (["train", "vq", "--tokenizer", "vq"], "usage"),
        (["train", "vq", "--device", "cuda:9"], "device"),
    ],
)
def test_a_wrong_command_is_one_line(arguments: list[str], code: str, tmp_path: Path) -> None:
    from cmrgz.cli import main

    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert main(arguments) in (2, 3, 6)
    finally:
        os.chdir(before)
    assert not list(tmp_path.iterdir())


def test_errors_cross_processes() -> None:
    import pickle

    error = Stopped("stopped", "run", "stopped at step 3")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, CmrgzError) and copy.line == error.line


def test_a_run_starts_from_the_weights_of_another(plan: Plan, unbroken: Path) -> None:
    """At a learning rate of next to nothing they are what comes out, and the architecture need not be said again."""
    still = dataclasses.replace(OPTIONS, steps=1, lr=1e-12, weight_decay=0.0)
    start = str(unbroken / "checkpoint")
    train(dataclasses.replace(plan, build={}, start=start, train=still, seed=5))
    ours, theirs = result(plan.output)[0], result(unbroken)[0]
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in theirs)
    assert checkpoint.load(plan.output / "checkpoint")[1].options == checkpoint.load(start)[1].options


def test_a_start_may_be_trained_with_another_loss(tmp_path: Path) -> None:
    plan = Plan(name="ldm-dit", output=tmp_path / "run", start="ldm-dit", build={"known_share": 0.25, "min_snr": 2.0})
    spec = find_spec("ldm-dit")
    full, _ = starting_from(plan, spec)
    assert (full.build["known_share"], full.build["min_snr"]) == (0.25, 2.0)
    with pytest.raises(UsageError, match="'objective' differs"):
        starting_from(dataclasses.replace(plan, build={"objective": "eps"}), spec)


def test_a_start_of_another_shape_or_kind_is_refused(plan: Plan, unbroken: Path) -> None:
    start = str(unbroken / "checkpoint")
    with pytest.raises(UsageError, match="'width' differs"):
        train(dataclasses.replace(plan, build={"width": 16}, start=start))
    with pytest.raises(UsageError, match="got those of 'vq'"):
        train(dataclasses.replace(plan, name="fsq", build={}, start=start))
    assert not plan.output.exists()


def test_an_early_checkpoint_is_kept_as_a_guide(plan: Plan) -> None:
    """Its weights are the averaged ones of its step, other than the last; a run that dies writes it again."""
    train(dataclasses.replace(plan, train=dataclasses.replace(OPTIONS, early=3)))
    early, last = (load_file(plan.output / name / "weights.safetensors") for name in ("early", "checkpoint"))
    assert early.keys() == last.keys() and any(not torch.equal(early[name], last[name]) for name in early)
    assert checkpoint.load(plan.output / "early")[1].training["train"]["early"] == 3


def test_a_patient_who_trains_is_not_validated_on(plan: Plan, data: Path, tmp_path: Path) -> None:
    """Be it under another name; and what a data set prescribes for test is on neither side."""
    other = tmp_path / "other" / "x7.nii.gz"
    other.parent.mkdir()
    shutil.copy(data / "b.nii.gz", other)
    for held in (data / "b.nii.gz", other):
        both = dataclasses.replace(plan, validation=[str(held)])
        with warnings.catch_warnings(), pytest.raises(DataError, match=r"error\[leak\].*validation"):
            warnings.simplefilter("ignore", CmrgzWarning)
            train(both)
    manifest = data.parent / "prescribed.csv"
    rows = [f"{data / name}.nii.gz,{part}" for name, part in (("a", "train"), ("b", "val"), ("c", "test"))]
    manifest.write_text("\n".join(["image,split", *rows]))
    prescribed = dataclasses.replace(plan, data=[str(manifest)], validation=[str(manifest)])
    with pytest.warns(CmrgzWarning, match=r"warning\[prescribed\].*2 of 3"):
        train(prescribed)
    config = json.loads((plan.output / "config.json").read_bytes())
    assert config["subjects"] == {"train-0": 1, "validation": 1}


def test_a_checkpoint_tells_who_it_learned_from(plan: Plan, data: Path) -> None:
    """As keyed hashes, with those of the weights that it starts from; the held-out patient is none of them."""
    from cmrgz.data import cases

    train(plan)
    everybody = {case.subject_id for case in cases.find(data)}
    told = checkpoint.load(plan.output / "checkpoint")[1].training["trained_on"]
    assert told == sorted(told) and set(told) < everybody and len(told) == 2
    start = str(plan.output / "checkpoint")
    other = dataclasses.replace(plan, output=plan.output.with_name("more"), start=start, build={}, seed=5)
    train(other)
    assert set(checkpoint.load(other.output / "checkpoint")[1].training["trained_on"]) >= set(told)


def test_scans_that_are_named_one_by_one_have_a_share_each(plan: Plan, tmp_path: Path) -> None:
    scans = [str(tmp_path / f"{name}.nii.gz") for name in "xyz"]
    for number, path in enumerate(scans):
        scan = Scan.blank((2, 1, 128, 128), (10.0, 1.4, 1.4), 0.05)
        save(path, scan, np.random.default_rng(number).integers(0, 500, scan.shape).astype(np.int16))
    output = tmp_path / "shares"
    train(dataclasses.replace(plan, data=scans, shares=(2.0, 1.0, 1.0), output=output))
    assert (output / "checkpoint" / "meta.json").is_file()
    with pytest.raises(UsageError, match="one positive number"):
        train(dataclasses.replace(plan, data=scans, shares=(2.0, 1.0), output=tmp_path / "short"))
