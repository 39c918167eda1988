"""Training of a model of blocks, end to end: options, resume to the bit, what the checkpoint says, and starts."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cmrgz import checkpoint, registry
from cmrgz.data import cases
from cmrgz.durable import read_journal
from cmrgz.errors import CheckpointError, CmrgzWarning, Stopped, UsageError
from cmrgz.meta import read_meta
from cmrgz.options import parse, schema
from cmrgz.plugin import Extent
from cmrgz.training import loop
from cmrgz.training.extents import extent_of
from cmrgz.training.options import TrainOptions, read
from cmrgz.training.plan import Plan, find_spec
from cmrgz.training.run import train

Install = Callable[..., object]
SPECS = """
from cmrgz.plugin import ModelSpec
FRAME = ModelSpec(name="toy", family="test", summary="takes any axes", build="toyblocks:build", item=(32, 32),
                  conditions=("phase",))
BLOCK = ModelSpec(name="toy-block", family="test", summary="is of blocks", build="toyblocks:build",
                  axes=("t", "z", "y", "x"), item=(4, 2, 32, 32))
FIXED = ModelSpec(name="toy-fixed", family="test", summary="takes frames only", build="toyblocks:fixed", item=(32, 32))
"""
MODEL = '''
import torch
from torch import nn
from cmrgz.model import Model
from cmrgz.options import Axes


class Toy(Model):
    """Means of a pixel, of its neighbours, and, of blocks, of what lies beside it in time."""

    def __init__(self, axes, width):
        super().__init__()
        self.plane = nn.Conv2d(1, width, 3, padding=1)
        self.out = nn.Conv2d(width, 1, 1)
        self.beside = nn.Linear(2, 1) if axes != "yx" else None
        self.register_buffer("mean", torch.zeros(()))
        self.seen = []

    def fit(self, x, *, rng):
        self.mean.copy_(x.mean())

    def loss(self, x, *, condition=None, rng):
        assert x.shape[-2:] == self.extent.plane and x.ndim == 2 + len(self.extent.axes)
        if self.beside is not None:
            assert condition["time"].shape == condition["height"].shape == condition["phase"].shape
        frames = x.flatten(0, -3)[:, None] if x.ndim > 4 else x
        drawn = self.out(self.plane(frames - self.mean).relu()).view_as(x)
        if self.beside is not None:
            told = torch.stack([condition["time"], condition["height"]], -1)
            drawn = drawn + self.beside(told).mean()
        noise = rng.normal(*x.shape[1:]).to(x)
        return (drawn - x + 0.1 * noise).square().mean()

    def sample(self, x, known, *, condition=None, rng, progress=None):
        return x


def build(axes: Axes = "yx", width: int = 4) -> Toy:
    return Toy(axes, width)


def fixed(width: int = 4) -> Toy:
    return Toy("yx", width)
'''
OPTIONS = TrainOptions(
    steps=6, batch_size=2, warmup=2, save_every=2, validate_every=3, validation_items=16, fit_items=20, ema=0.5
)
BLOCKS = dataclasses.replace(OPTIONS, item=(4, 2, 32, 32))


@pytest.fixture(scope="module")
def data(noise_scans: Callable[..., Path]) -> Path:
    return noise_scans("abc", (9, 3, 40, 36), step=8.0)


@pytest.fixture(autouse=True)
def toys(install: Install) -> None:
    points = {"toy": "toyspecs:FRAME", "toy-block": "toyspecs:BLOCK", "toy-fixed": "toyspecs:FIXED"}
    install("cmrgz-toyblocks", points, {"toyspecs": SPECS, "toyblocks": MODEL})


@pytest.fixture
def plan(data: Path, tmp_path: Path) -> Plan:
    return Plan(name="toy", output=tmp_path / "run", data=[str(data)], train=BLOCKS)


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    original = loop.optimise

    def optimise(state: Any, module: Any, *rest: Any) -> loop.Figures:
        if state.step == step:
            os.kill(os.getpid(), 15)
        return original(state, module, *rest)

    monkeypatch.setattr(loop, "optimise", optimise)


# ---------------------------------------------------------------------- runs
@pytest.mark.parametrize("step", [0, 3])
def test_a_stopped_run_of_blocks_ends_bit_equal(plan: Plan, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    whole = dataclasses.replace(plan, output=plan.output.with_name("whole"))
    train(whole)
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(Stopped):
            train(plan)
    train(plan)
    ours, theirs = (load_file(p.output / "checkpoint" / "weights.safetensors") for p in (plan, whole))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert read_journal(plan.output / "log.jsonl") == read_journal(whole.output / "log.jsonl")


def test_the_checkpoint_says_what_an_item_is(plan: Plan) -> None:
    model, meta = checkpoint.open_model(train(plan))
    assert model.extent == meta.extent == Extent(("t", "z", "y", "x"), (4, 2, 32, 32))
    assert meta.options == {"axes": "tzyx", "width": 4}
    assert meta.training["train"]["item"] == [4, 2, 32, 32] and meta.training["train"]["batch_size"] == 2
    assert meta.training["validation"]["loss"] > 0
    assert float(model.mean) != 0, "it was fitted"  # type: ignore[operator]  # a buffer


def test_what_was_not_asked_for_is_the_models_own(plan: Plan) -> None:
    block = dataclasses.replace(plan, name="toy-block", train=OPTIONS)
    model, meta = checkpoint.open_model(train(block))
    assert meta.item == (4, 2, 32, 32) and model.extent.phases == 4 and meta.options["axes"] == "tzyx"
    frame = dataclasses.replace(plan, train=OPTIONS, output=plan.output.with_name("frame"))
    meta = checkpoint.open_model(train(frame))[1]
    assert meta.item == (32, 32) and meta.options["axes"] == "yx"


@pytest.mark.parametrize(("axes", "item"), [("tyx", (6, 32, 32)), ("zyx", (3, 32, 24))])
def test_cines_and_stacks_are_trained(plan: Plan, axes: str, item: tuple[int, ...]) -> None:
    other = dataclasses.replace(plan, build={"axes": axes}, train=dataclasses.replace(OPTIONS, item=item, steps=3))
    model, meta = checkpoint.open_model(train(other))
    assert "".join(meta.axes) == axes and model.extent.item == item


# ---------------------------------------------------------------------- starts
def test_a_run_of_blocks_goes_on_from_blocks(plan: Plan) -> None:
    start = train(plan)
    still = dataclasses.replace(OPTIONS, steps=1, lr=1e-12, weight_decay=0.0)
    more = dataclasses.replace(plan, output=plan.output.with_name("more"), start=str(start), train=still, seed=5)
    ours, meta = checkpoint.open_model(train(more))
    theirs = load_file(start / "weights.safetensors")
    assert meta.item == (4, 2, 32, 32) and meta.options["axes"] == "tzyx"
    assert all(torch.allclose(value, theirs[name], atol=1e-6) for name, value in ours.state_dict().items())
    longer = dataclasses.replace(still, item=(6, 1, 32, 32))
    again = dataclasses.replace(more, output=plan.output.with_name("again"), train=longer)
    assert checkpoint.open_model(train(again))[1].item == (6, 1, 32, 32)


def test_a_run_of_blocks_starts_from_frames(plan: Plan) -> None:
    """What they have in common comes from the frames, what has a closed form is fitted to blocks."""
    start = train(dataclasses.replace(plan, train=OPTIONS, output=plan.output.with_name("frames")))
    still = dataclasses.replace(BLOCKS, steps=1, lr=1e-12, weight_decay=0.0)
    with pytest.warns(CmrgzWarning, match=r"partial-start.*2 of 6 weights"):
        model, meta = checkpoint.open_model(train(dataclasses.replace(plan, start=str(start), train=still)))
    theirs = load_file(start / "weights.safetensors")
    assert "".join(meta.axes) == "tzyx"
    ours = model.state_dict()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ("plane.weight", "out.bias"))
    assert "beside.weight" in ours and not torch.equal(ours["mean"], theirs["mean"])


def test_a_start_with_nothing_in_common_is_refused(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    start = train(dataclasses.replace(plan, train=OPTIONS, output=plan.output.with_name("frames")))
    module, meta = checkpoint.open_model(start)
    monkeypatch.setattr(checkpoint, "open_kind", lambda *_: (torch.nn.Linear(7, 7), meta))
    with pytest.raises(CheckpointError, match="no weights for items of these axes"):
        train(dataclasses.replace(plan, start=str(start)))
    del module


# ---------------------------------------------------------------------- options
FRAME, BLOCK = Extent(), Extent(("t", "z", "y", "x"), (5, 3, 128, 128), 1.2)


def test_items_say_their_axes() -> None:
    assert extent_of(None, None, BLOCK) == BLOCK
    assert extent_of(None, (64, 96), BLOCK) == Extent(("y", "x"), (64, 96), 1.2)
    assert extent_of(None, (7, 2, 64, 64), FRAME) == Extent(("t", "z", "y", "x"), (7, 2, 64, 64))
    assert extent_of("zyx", (7, 64, 64), FRAME).slices == 7
    assert extent_of("tyx", None, BLOCK) == Extent(("t", "y", "x"), (5, 128, 128), 1.2)
    assert extent_of(None, (7, 64, 64), Extent(("t", "y", "x"), (3, 64, 64))).phases == 7


@pytest.mark.parametrize(
    ("axes", "item", "message"),
    [
        (None, (5, 64, 64), "axes=tyx or axes=zyx"),
        (None, (64,), "rows,columns"),
        (None, (1, 2, 3, 64, 64), "rows,columns"),
        ("tyx", (64, 64), "need 3 numbers"),
        ("tzyx", None, "need an item"),
        (None, (4, 64), "'y' must be 8 .. 1024, got 4"),
        (None, (64, 2000), "'x' must be 8"),
        (None, (65, 3, 64, 64), "'t' must be 1 .. 64"),
        (None, (2, 65, 64, 64), "'z' must be 1 .. 64"),
        (None, (64, 64, 1024, 1024), "voxels"),
    ],
)
def test_items_of_no_use_are_refused(axes: str | None, item: tuple[int, ...] | None, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        extent_of(axes, item, FRAME)
    assert len(error.value.line.splitlines()) == 1


def test_item_is_read_from_text() -> None:
    assert parse(["item=5,3,128,128"], schema(TrainOptions), "--set") == {"item": (5, 3, 128, 128)}
    assert parse(["item=none"], schema(TrainOptions), "--set") == {"item": None}
    with pytest.raises(UsageError, match="range"):
        parse(["item=5,0,128,128"], schema(TrainOptions), "--set")
    build, options = read(find_spec("toy"), None, ["axes=tyx", "item=5,32,32"])
    assert build == {"axes": "tyx"} and options.item == (5, 32, 32)


@pytest.mark.parametrize(
    ("name", "build", "item", "message"),
    [
        ("toy-fixed", {}, (4, 2, 32, 32), "takes items of axes yx only"),
        ("ar-vq", {"grid": (8, 8)}, None, "8,8 does not fit the item"),
        ("ar-vq", {"grid": (16, 16)}, (64, 64), "16,16 does not fit the item.*8,8"),
        ("ar-vq", {}, (100, 128), "multiples of 8"),
        ("kl", {"patch": 4}, (66, 64), "multiples of 4"),
        ("kl", {}, (4, 2, 64, 64), "takes items of axes yx only"),
        ("ar-vq", {"grid": (1_000_000, 1_000_000)}, None, "does not fit the item"),
        ("ar-vq", {"heads": 7}, None, "width: must be a multiple"),
        ("toy", {}, (100_000, 100_000), "must be 8 .. 1024"),
    ],
)
def test_items_that_do_not_fit_are_refused_before_anything_is_built(
    plan: Plan, name: str, build: dict[str, object], item: tuple[int, ...] | None, message: str
) -> None:
    options = dataclasses.replace(OPTIONS, item=item)
    with pytest.raises(UsageError, match=message) as error:
        train(dataclasses.replace(plan, name=name, build=build, train=options))
    assert len(error.value.line.splitlines()) == 1 and not plan.output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 60_000, "item": (5, 3, 128, 128)}, "option batch_size: must be at most 8738"),
        ({"fit_items": 1 << 20}, "option fit_items: must be at most"),
        ({"validation_items": 1 << 16, "item": (1024, 1024)}, "option validation_items: must be at most 2048"),
    ],
)
def test_more_items_than_any_memory_holds_are_refused_before_data_is_read(
    plan: Plan, options: dict[str, Any], message: str
) -> None:
    name = "ar-vq" if len(options.get("item", ())) != 2 else "kl"
    asked = dataclasses.replace(plan, name=name, build={}, train=TrainOptions(**options))
    with pytest.raises(UsageError, match=message):
        train(dataclasses.replace(asked, data=["nowhere"]))
    assert not plan.output.exists()


@pytest.mark.parametrize(
    "text", ["batch_size=1000000000", "fit_items=1000000000", "workers=100000", "steps=1000000000000", "grid=2000,1"]
)
def test_options_that_no_machine_can_meet_are_out_of_range(text: str) -> None:
    with pytest.raises(UsageError, match="range"):
        read(find_spec("ar-vq"), None, [text])


def test_the_grid_of_positions_follows_from_the_item(data: Path, tmp_path: Path) -> None:
    small = {"width": 16, "heads": 2, "inner": 16, "content_layers": 1, "target_layers": 1, "free": 2}
    options = dataclasses.replace(OPTIONS, item=(32, 24), steps=1)
    plan = Plan(name="ar-vq", output=tmp_path / "ar", data=[str(data)], build=small, train=options)
    meta = read_meta((train(plan) / "meta.json").read_bytes(), "meta")
    assert tuple(meta.options["grid"]) == (4, 3) and meta.item == (32, 24)


def test_models_that_see_time_train_on_phantoms_of_a_whole_cycle(
    plan: Plan, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def builtin(*_: object, phases: int, **__: object) -> list[cases.Case]:
        asked.append(phases)
        return cases.find(data)

    monkeypatch.setattr(cases, "builtin", builtin)
    for item in ((4, 2, 32, 32), (1, 2, 32, 32), (32, 32)):
        output = plan.output.with_name("-".join(map(str, item)))
        options = dataclasses.replace(OPTIONS, item=item, steps=1)
        train(dataclasses.replace(plan, data=(), output=output, train=options))
    assert asked == [20, 6, 6]


def test_the_toys_are_found() -> None:
    assert registry.get_model("toy-block").extent.phases == 4
