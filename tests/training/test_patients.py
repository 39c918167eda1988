"""Runs that tell their models of patients: what is learned, kept, gone on from and refused."""

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cmrgz import checkpoint, registry
from cmrgz.cli import main
from cmrgz.data import cases
from cmrgz.data.scan import Scan, save
from cmrgz.errors import CheckpointError, DataError, Stopped, UsageError
from cmrgz.plugin import Extent
from cmrgz.tasks import Setting, generate
from cmrgz.testing.subject import streams
from cmrgz.training import loop
from cmrgz.training.frames import DROP, UNTOLD, Frames
from cmrgz.training.options import TrainOptions
from cmrgz.training.patients import read_patients
from cmrgz.training.plan import Plan
from cmrgz.training.run import train
from cmrgz.vocabulary import number_of

GROUPS = ("DCM", "NOR", "", "NOR")
OPTIONS = TrainOptions(
    steps=4, batch_size=2, warmup=1, save_every=2, validate_every=4, validation_items=2, fit_items=4, ema=0.5,
    item=(32, 32), conditions=("group", "ef"),
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a manifest of four patients, one of whom has no group and one no ejection fraction."""
    folder = tmp_path_factory.mktemp("data")
    rows = ["image,group,ef,split"]
    for n, group in enumerate(GROUPS):
        scan = Scan.blank((4, 2, 48, 40), (10.0, 1.4, 1.4), 0.05)
        voxels = np.random.default_rng(n).integers(0, 500, scan.shape).astype(np.int16)
        save(folder / f"p{n}.nii.gz", scan, voxels)
        rows.append(f"p{n}.nii.gz,{group},{'' if n == 1 else 0.3 + n / 10},{'val' if n == 3 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


@pytest.fixture
def plan(data: Path, tmp_path: Path) -> Plan:
    build = {"size": "tiny"}
    return Plan(name="ldm-unet", output=tmp_path / "run", data=[str(data)], build=build, train=OPTIONS)


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("unbroken") / "run"
    return train(Plan(name="ldm-unet", output=output, data=[str(data)], build={"size": "tiny"}, train=OPTIONS))


def drawn(folder: Path, **told: float) -> torch.Tensor:
    model = checkpoint.open_model(folder)[0]
    x = torch.zeros(2, 1, *model.extent.item)
    condition = {name: torch.full((2,), value) for name, value in told.items()}
    with torch.inference_mode():
        return model.sample(x, torch.zeros_like(x, dtype=torch.bool), condition=condition, rng=streams(2), steps=2)  # type: ignore[call-arg]


def test_items_are_told_of_their_patients_or_not(data: Path) -> None:
    found = cases.find(data)
    patients = read_patients(("group", "ef"), found, [])
    for extent in (Extent(item=(32, 32)), Extent(("t", "z", "y", "x"), (2, 2, 32, 32))):
        condition = Frames([found], extent, patients=patients).batch(0, 0, 600).condition
        assert condition["group"].shape == condition["ef"].shape == (600,)
        group, ef = condition["group"], condition["ef"]
        assert set(group[~group.isnan()].tolist()) == {0.0, 1.0}
        assert {round(v, 4) for v in ef[~ef.isnan()].tolist()} == {0.3, 0.5, 0.6}
        for value in (group, ef):  # one of four does not say it
            assert abs(value.isnan().float().mean() - (1 - 0.75 * (1 - DROP) * (1 - UNTOLD))) < 0.07
        neither = 0.5 * UNTOLD + 0.5 * (UNTOLD + (1 - UNTOLD) * DROP) + 0.5 * (1 - UNTOLD) * DROP**2
        assert abs((group.isnan() & ef.isnan()).float().mean() - neither) < 0.1


def test_runs_that_tell_nothing_draw_the_items_that_they_drew(data: Path) -> None:
    found = cases.find(data)
    plain, told = Frames([found], Extent(item=(32, 32))), Frames([found], Extent(item=(32, 32)), patients=None)
    assert torch.equal(plain.batch(0, 0, 4).x, told.batch(0, 0, 4).x)
    assert set(plain.batch(0, 0, 4).condition) == {"phase", "slice", "row", "column"}


def test_the_checkpoint_says_what_it_may_be_told(unbroken: Path) -> None:
    model, meta = checkpoint.open_model(unbroken)
    assert meta.conditions == {"group": ("DCM", "NOR"), "ef": ()}
    learned = {name: value for name, value in model.state_dict().items() if ".patient." in name}
    assert learned and all(float(value.abs().max()) > 0 for value in learned.values())
    assert meta.training["conditions"] == {"group": ["DCM", "NOR"], "ef": []}


def test_what_is_told_matters_and_nothing_told_is_unknown(unbroken: Path) -> None:
    plain = drawn(unbroken)
    for told in ({"group": 0.0}, {"ef": 0.3}):
        assert torch.equal(drawn(unbroken, **dict.fromkeys(told, float("nan"))), plain)
        assert not torch.equal(drawn(unbroken, **told), plain)
    assert not torch.equal(drawn(unbroken, group=0.0), drawn(unbroken, group=1.0))
    assert not torch.equal(drawn(unbroken, ef=0.2), drawn(unbroken, ef=0.6))


def test_a_stopped_run_ends_bit_equal(plan: Plan, unbroken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = loop.optimise

    def optimise(state: Any, *rest: Any) -> tuple[float, float]:
        if state.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(state, *rest)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(loop, "optimise", optimise)
        train(plan)
    train(plan)
    one, other = (load_file(folder / "weights.safetensors") for folder in (plan.output / "checkpoint", unbroken))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_another_value_of_a_patient_is_another_run(plan: Plan, data: Path) -> None:
    train(dataclasses.replace(plan, train=dataclasses.replace(OPTIONS, steps=1)))
    text = data.read_text()
    try:
        data.write_text(text.replace("0.5,", "0.55,"))
        with pytest.raises(CheckpointError, match="conditions_sha256"):
            train(dataclasses.replace(plan, train=dataclasses.replace(OPTIONS, steps=1)))
    finally:
        data.write_text(text)


def test_a_run_starts_from_weights_without_conditions_to_the_bit(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = dataclasses.replace(OPTIONS, conditions=(), steps=2)
    start = train(dataclasses.replace(plan, output=tmp_path / "start", train=without))
    assert checkpoint.peek_model(start).conditions == {}
    monkeypatch.setattr("cmrgz.training.run.run", lambda *_: None)  # what is stored is the start
    grown = train(dataclasses.replace(plan, start=str(start), build={}))
    before, after = (load_file(folder / "weights.safetensors") for folder in (start, grown))
    assert before.keys() < after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert all(".patient." in name and not after[name].any() for name in after.keys() - before.keys())
    assert torch.equal(drawn(grown), drawn(start)) and torch.equal(drawn(grown, group=1.0, ef=0.4), drawn(start))


def test_what_a_start_knows_stays_and_grows(plan: Plan, unbroken: Path, data: Path, tmp_path: Path) -> None:
    other = data.with_name("other.csv")
    other.write_text(data.read_text().replace("NOR", "HCM"))
    options = dataclasses.replace(OPTIONS, steps=1, lr=1e-12, weight_decay=0.0, conditions=())
    grown = train(dataclasses.replace(plan, data=[str(other)], start=str(unbroken), build={}, train=options))
    assert checkpoint.peek_model(grown).conditions == {"group": ("DCM", "NOR", "HCM"), "ef": ()}
    for told in ({}, {"group": 1.0}, {"ef": 0.4}):
        torch.testing.assert_close(drawn(grown, **told), drawn(unbroken, **told), atol=1e-5, rtol=0)
    torch.testing.assert_close(drawn(grown, group=2.0), drawn(unbroken), atol=1e-5, rtol=0)  # new, as unknown


@pytest.mark.parametrize(
    ("name", "conditions", "error", "what"),
    [
        ("ldm-unet", ("gruop",), UsageError, "there is no 'gruop'.*did you mean 'group'"),
        ("ldm-unet", ("sex",), DataError, "says 'sex' of no patient"),
        ("vq", ("ef",), UsageError, "'vq' is a tokenizer"),
    ],
)
def test_conditions_that_cannot_be_learned_are_refused(
    plan: Plan, name: str, conditions: tuple[str, ...], error: type[Exception], what: str
) -> None:
    options = dataclasses.replace(OPTIONS, conditions=conditions)
    build = {} if name == "vq" else plan.build
    with pytest.raises(error, match=what):
        train(dataclasses.replace(plan, name=name, build=build, train=options))
    assert not plan.output.exists()


def test_too_many_values_are_no_condition(data: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image,group\n" + "".join(f"{data.parent}/p0.nii.gz,g{n}\n" for n in range(65)))
    found = [dataclasses.replace(cases.find(data)[0], group=f"g{n}", image=Path(f"{n}.nii.gz")) for n in range(65)]
    with pytest.raises(DataError, match="'group' has too many values"):
        read_patients(("group",), found, [])


def test_conditions_are_asked_for_on_the_command_line(data: Path, tmp_path: Path, capfd: Any) -> None:
    options = ["size=tiny", "conditions=sex,ef", "item=32,32", "steps=1", "batch_size=2", "fit_items=2"]
    sets = [part for option in options for part in ("--set", option)]
    code = main(["train", "ldm-unet", str(data), "-o", str(tmp_path / "run"), "--device", "cpu", *sets])
    assert code == 3 and "says 'sex' of no patient" in capfd.readouterr().err
    sets[3] = "conditions=ef"
    assert main(["train", "ldm-unet", str(data), "-o", str(tmp_path / "run"), "--device", "cpu", *sets]) == 0
    meta = json.loads((tmp_path / "run/checkpoint/meta.json").read_text())
    assert meta["conditions"] == {"ef": []} and meta["format"] == 4


def test_a_condition_that_is_trained_is_drawn(tmp_path: Path) -> None:
    """Squares are large in one group and small in the other, and `ef` is their side: both are what is asked for."""
    rng, rows = np.random.default_rng(0), ["image,group,ef,split"]
    for n in range(10):
        half = int(rng.integers(10, 13) if n % 2 else rng.integers(4, 6))
        scan = Scan.blank((2, 1, 32, 32), (10.0, 1.4, 1.4), 0.05)
        voxels = rng.normal(40, 10, scan.shape).clip(0)
        voxels[..., 16 - half : 16 + half, 16 - half : 16 + half] += 400
        save(tmp_path / f"p{n}.nii.gz", scan, voxels.astype(np.int16))
        rows.append(f"p{n}.nii.gz,{('SMALL', 'LARGE')[n % 2]},{half / 20},{'val' if n > 7 else 'train'}")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    options = TrainOptions(
        steps=60, batch_size=8, warmup=5, lr=1e-2, save_every=1000, validate_every=1000, validation_items=1,
        fit_items=8, ema=0.9, item=(32, 32), conditions=("group", "ef"), augment=0.0,
    )  # fmt: skip
    build = registry.get_model("ar-maskgit").tiny
    plan = Plan(name="ar-maskgit", output=tmp_path / "run", data=[str(tmp_path / "m.csv")], train=options,
                build={name: value for name, value in build.items() if name != "grid"})  # fmt: skip
    model, meta = checkpoint.open_model(train(plan))

    def bright(**told: str | float) -> float:
        asked = {name: number_of(meta.conditions, name, value) for name, value in told.items()}
        return float((generate(model, (1, 1, 32, 32), Setting(samples=12, condition=asked))[1].samples > 120).mean())

    assert bright(group="LARGE") > 1.2 * bright(group="SMALL")
    assert bright(ef=0.6) > 1.2 * bright(ef=0.25)
