"""Which device a command computes on."""

import pytest

from cmrgz.cli import devices
from cmrgz.errors import ResourceError

GPUS = ["cuda:0", "cuda:1"]


@pytest.mark.parametrize(
    ("asked", "there", "local", "name"),
    [
        ("auto", [*GPUS, "cpu"], None, "cuda:0"),
        ("auto", [*GPUS, "cpu"], "1", "cuda:1"),
        ("cuda", [*GPUS, "cpu"], "1", "cuda:1"),
        ("gpu", [*GPUS, "cpu"], None, "cuda:0"),
        ("cuda:0", [*GPUS, "cpu"], "1", "cuda:0"),
        ("gpu:1", [*GPUS, "cpu"], None, "cuda:1"),
        ("auto", ["cpu"], "1", "cpu"),
        ("auto", ["mps", "cpu"], None, "mps"),
        ("cpu", [*GPUS, "cpu"], "1", "cpu"),
    ],
)
def test_each_process_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, asked: str, there: list[str], local: str | None, name: str
) -> None:
    monkeypatch.setattr(devices, "available", lambda: there)
    monkeypatch.setenv("LOCAL_RANK", local) if local else monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert devices.pick(asked) == name


@pytest.mark.parametrize(("asked", "local"), [("auto", "2"), ("cuda", "7"), ("cuda:2", None)])
def test_too_few_gpus_are_told(monkeypatch: pytest.MonkeyPatch, asked: str, local: str | None) -> None:
    monkeypatch.setattr(devices, "available", lambda: [*GPUS, "cpu"])
    monkeypatch.setenv("LOCAL_RANK", local) if local else monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(ResourceError, match=r"no device 'cuda:[27]' \(there are: cuda:0, cuda:1, cpu\)"):
        devices.pick(asked)
