"""How exactly devices compute: parity with the CPU, repeatable training, and bf16 where it is asked for."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from cmrgz.arithmetic import CUBLAS, exact, repeatable
from cmrgz.calls import Caller, Items
from cmrgz.testing.card import CardTensor, on_card
from cmrgz.testing.subject import Subject


def switches() -> tuple[bool, ...]:
    """Return what is set for a GPU."""
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    convolutions = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    return (*tf32, *convolutions, torch.are_deterministic_algorithms_enabled())


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(CUBLAS, raising=False)
    yield
    os.environ.pop(CUBLAS, None)


def test_products_are_exact_within_and_as_before_after() -> None:
    torch.backends.cudnn.allow_tf32 = True
    before = switches()
    with pytest.raises(ZeroDivisionError), exact():
        assert switches()[:2] == (False, False)
        raise ZeroDivisionError
    assert switches() == before


@pytest.mark.usefixtures("plain")
def test_training_on_a_gpu_repeats() -> None:
    before = switches()
    with repeatable("cuda:0"):
        assert switches() == (False, False, True, False, True) and os.environ[CUBLAS] == ":4096:8"
    assert switches() == before


@pytest.mark.usefixtures("plain")
def test_a_workspace_that_was_chosen_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUBLAS, ":16:8")
    with repeatable("cuda"):
        assert os.environ[CUBLAS] == ":16:8"


@pytest.mark.usefixtures("plain")
def test_on_the_cpu_nothing_is_changed() -> None:
    before = switches()
    with repeatable("cpu"):
        assert switches() == before and CUBLAS not in os.environ


@pytest.mark.usefixtures("plain")
def test_what_cuda_has_no_repeatable_kernel_for_is_refused() -> None:
    x = CardTensor(torch.rand(4))
    with on_card():
        x.cumsum(0)
        with repeatable("card:0"), pytest.raises(RuntimeError, match="deterministic"):
            x.cumsum(0)


def items(subject: Subject) -> Items:
    x, known = subject.items(2)[:, 0].numpy(), subject.known_part(2)[:, 0].numpy()
    return Items(x, known, [(0, i) for i in range(2)], {})


def test_networks_compute_in_bf16_where_it_is_asked_for() -> None:
    subject, seen = Subject.of("ldm-dit"), []
    subject.model.network.blocks[0].feed[0].register_forward_hook(lambda *call: seen.append(call[2].dtype))  # type: ignore[union-attr, index]
    drawn = {}
    for precision in ("fp32", "bf16"):
        setting = type(subject.setting)(seed=3, options=subject.options, precision=precision)  # type: ignore[arg-type]
        drawn[precision] = Caller(subject.model, setting).draw(items(subject))
        assert set(seen) == {torch.float32 if precision == "fp32" else torch.bfloat16}
        seen.clear()
    off = np.abs(drawn["bf16"] - drawn["fp32"])
    assert drawn["bf16"].dtype == np.float32 and 0 < off.mean() < 0.1


@pytest.mark.parametrize("name", ["ar-vq", "ar-maskgit", "ar-mar", "ar-var", "ldm-unet", "ldm-uvit", "flow-dit"])
def test_every_family_draws_in_bf16(name: str) -> None:
    subject = Subject.of(name)
    setting = type(subject.setting)(options=subject.options, precision="bf16")
    assert np.isfinite(Caller(subject.model, setting).draw(items(subject))).all()
