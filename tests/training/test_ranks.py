"""Several processes train as one: the same files, to the bit, whatever their number."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import Module, Parameter

from cmrgz.durable import matching
from cmrgz.errors import CmrgzError, UsageError
from cmrgz.rng import Streams
from cmrgz.training import loop
from cmrgz.training.frames import Batch
from cmrgz.training.options import TrainOptions
from cmrgz.training.plan import Plan
from cmrgz.training.ranks import joined
from cmrgz.training.run import train
from cmrgz.training.shards import give_gradients

OPTIONS = TrainOptions(
    steps=3,
    batch_size=4,
    shards=4,
    warmup=1,
    save_every=2,
    validate_every=2,
    validation_items=1,
    fit_items=8,
    early=2,
)
FAMILIES: dict[str, dict[str, Any]] = {
    "vq": {"vocab": 4, "levels": 2, "width": 8, "fine_width": 4, "blocks": 1, "lloyd": 1},
    "kl": {"width": 8, "blocks": 1},
    "fsq": {"width": 8, "blocks": 1},
    "vq-ms": {
        "strides": (16, 1),
        "levels": (1, 1),
        "vocab": (8, 8),
        "width": 8,
        "fine_width": 4,
        "blocks": 1,
        "lloyd": 1,
    },
    "ar-vq": {"width": 16, "heads": 2, "inner": 16, "content_layers": 1, "target_layers": 1, "free": 4},
    "ar-maskgit": {"width": 16, "heads": 2, "inner": 16, "layers": 1, "local": 8, "free": 4},
    "ar-mar": {"size": "tiny"},
    "ar-var": {"width": 16, "heads": 2, "inner": 16, "layers": 1, "local": 8, "head_inner": 8, "free": 4},
    "ldm-unet": {"size": "tiny"},
    "ldm-dit": {"size": "tiny"},
    "flow-dit": {"size": "tiny"},
    "ldm-uvit": {"size": "tiny"},
}
LATER = ("vq", "fsq", "vq-ms", "flow-dit", "ldm-uvit")
"""They share their loss with others."""


@pytest.fixture(scope="module")
def data(noise_scans: Callable[..., Path]) -> Path:
    return noise_scans("abc", (2, 1, 128, 128))


@pytest.fixture
def plan(data: Path, tmp_path: Path) -> Plan:
    return Plan(name="vq", output=tmp_path / "run", data=[str(data)], build=FAMILIES["vq"], train=OPTIONS)


def together(number: int, work: Callable[[int], object]) -> list[int]:
    """Run work in so many processes that find one another as those of torchrun do; return their statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    children = []
    for rank in range(number):
        if (child := os.fork()) == 0:
            os.environ |= {
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "WORLD_SIZE": str(number),
                "RANK": str(rank),
            }
            try:
                work(rank)
            except CmrgzError as error:
                os.write(2, f"{error.line}\n".encode())
                os._exit(error.exit_code)
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
                os._exit(1)
            os._exit(0)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def signalled(patched: pytest.MonkeyPatch, rank: str, step: int, number: int) -> None:
    """Send a process a signal as soon as it has done so many steps."""
    optimise = loop.optimise

    def sending(state: Any, *rest: Any) -> loop.Figures:
        if state.step == step and os.environ.get("RANK") == rank:
            os.kill(os.getpid(), number)
        return optimise(state, *rest)

    patched.setattr(loop, "optimise", sending)


def content(folder: Path) -> dict[str, bytes]:
    """Return every file but that of speeds, which are those of an hour."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "speed.jsonl")
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def at(plan: Plan, name: str) -> Plan:
    return dataclasses.replace(plan, output=plan.output.with_name(name))


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LATER)) for name in FAMILIES])
def test_two_processes_end_as_one(plan: Plan, name: str) -> None:
    item = (128, 128) if name in ("vq-ms", "ar-var") else (64, 64)
    options = dataclasses.replace(OPTIONS, item=item)
    own = dataclasses.replace(plan, name=name, build=FAMILIES[name], train=options)
    train(at(own, "one"))
    assert together(2, lambda rank: train(at(own, "two"))) == [0, 0]
    one, two = content(at(own, "one").output), content(at(own, "two").output)
    assert one == two and "checkpoint/weights.safetensors" in one


def test_four_processes_that_were_stopped_end_as_one(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them was asked to stop: all do, at the same step, and another number of processes goes on."""
    train(at(plan, "one"))
    with monkeypatch.context() as patched:
        signalled(patched, "3", 0, signal.SIGTERM)
        assert together(4, lambda rank: train(at(plan, "four"))) == [75] * 4
    assert [path.name for path in matching(at(plan, "four").output, "state-*")] == ["state-00000001"]
    assert together(2, lambda rank: train(at(plan, "four"))) == [0, 0]
    ours, theirs = content(at(plan, "four").output), content(at(plan, "one").output)
    assert {k: v for k, v in ours.items() if "state-" not in k} == {
        k: v for k, v in theirs.items() if "state-" not in k
    }


def test_where_one_dies_the_others_say_so_and_the_run_goes_on(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    train(at(plan, "one"))
    with monkeypatch.context() as patched:
        signalled(patched, "1", 2, signal.SIGKILL)
        assert together(2, lambda rank: train(at(plan, "two"))) == [6, -signal.SIGKILL]
    err = capfd.readouterr().err
    assert "error[lost-process]: torchrun: another process of the training ended" in err and "Traceback" not in err
    assert together(2, lambda rank: train(at(plan, "two"))) == [0, 0]
    assert content(at(plan, "two").output) == content(at(plan, "one").output)


class Toy(Module):
    """Its loss uses one of two parameters and draws a number for each item; it counts what it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = Parameter(torch.ones(3)), Parameter(torch.ones(2))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("fixed", torch.tensor([0.1, 0.7]))

    def loss(self, x: torch.Tensor, *, condition: Any, rng: Streams) -> torch.Tensor:
        self.get_buffer("mean").lerp_(x.mean(), 0.5)
        weight = condition["phase"][:, None] + rng.uniform(3)
        return (weight * (self.used * x).square()).mean()


def test_shards_give_the_mean_of_their_gradients_and_buffers() -> None:
    x, phase = torch.arange(18.0).view(6, 3) / 7, torch.arange(6.0)
    parts, whole = Toy(), Toy()
    batch = Batch(x, {"phase": phase})
    loss = give_gradients(parts, batch, 0, 5, "fp32", shards=3)  # type: ignore[arg-type]  # all that is asked of it
    full = give_gradients(whole, batch, 0, 5, "fp32")  # type: ignore[arg-type]
    assert parts.used.grad is not None and whole.used.grad is not None
    assert torch.allclose(loss, full) and torch.allclose(parts.used.grad, whole.used.grad)
    assert parts.idle.grad is None, "what no shard uses is not trained"
    assert torch.allclose(parts.get_buffer("mean"), x.mean() / 2), "each shard starts where the step did"
    assert torch.equal(parts.get_buffer("fixed"), Toy().get_buffer("fixed"))


@pytest.mark.parametrize(
    ("environment", "shards", "what"),
    [
        ({"WORLD_SIZE": "3"}, 4, r"shards must be a multiple of the number of processes \(4 shards, 3 processes\)"),
        ({"WORLD_SIZE": "two"}, 4, "environment variable WORLD_SIZE: must be a number"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, 4, "environment variable RANK: must be a number"),
    ],
)
def test_processes_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], shards: int, what: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=what), joined("cpu", shards):
        pass


def test_a_batch_that_shards_do_not_divide_is_refused(plan: Plan) -> None:
    with pytest.raises(UsageError, match=r"shards: must divide the batch \(batch_size is 4, shards is 3\)"):
        train(dataclasses.replace(plan, train=dataclasses.replace(OPTIONS, shards=3)))


@pytest.mark.slow  # torch is imported by each process
def test_torchrun_trains_with_two_processes(plan: Plan) -> None:
    train(at(plan, "one"))
    words = [f"{name}={value}" for name, value in dataclasses.asdict(OPTIONS).items() if value not in (None, ())]
    words += [f"{name}={value}" for name, value in FAMILIES["vq"].items()]
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "cmrgz"]
    given = ["train", "vq", plan.data[0], "-o", str(at(plan, "two").output), "--device", "cpu"]
    done = subprocess.run(
        [*start, *given, *(f"--set={word}" for word in words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.count("checkpoint") == 1, done.stderr
    assert content(at(plan, "two").output) == content(at(plan, "one").output)
    wrong = subprocess.run([*start, *given, "--set", "nonsense=1"], capture_output=True, text=True, check=False)
    assert wrong.returncode != 0 and wrong.stderr.count("cmrgz: error[unknown-key]") == 1
