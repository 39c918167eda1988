"""The card that is none: what it refuses and counts; and each family on it, whose costs are as they are stored.

Where a change makes more or fewer kernels on purpose: `python examples/benchmarks/card.py --tiny --json
tests/testing/card.json`.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cmrgz import registry
from cmrgz.blocks import whole_fill
from cmrgz.data.masks import parse
from cmrgz.grid import Grid
from cmrgz.latents import known_positions
from cmrgz.model import Tokenizer
from cmrgz.testing.card import CardTensor, Costs, card, held, on_card
from cmrgz.testing.checks.device import draws_the_same_on_a_device, steps_do_not_wait_for_the_device
from cmrgz.testing.elsewhere import (
    ITEMS,
    both,
    coding,
    counted,
    drawing,
    going_on,
    learning,
    moved,
    reconstruction,
    subjects,
)
from cmrgz.testing.subject import Subject, build_tokenizer

STORED = json.loads((Path(__file__).parent / "card.json").read_text())
CASES = [(name, subject) for name in STORED for subject in subjects(name)]


def there(*shape: int) -> CardTensor:
    return CardTensor(torch.arange(float(np.prod(shape))).view(shape))


def costs(work: Callable[[CardTensor], object], *shape: int) -> dict[str, int]:
    x = there(*(shape or (4,)))
    with on_card() as found:
        work(x)
    return found.totals()


# ------------------------------------------------------------------------------------------------------ what it refuses
@pytest.mark.parametrize(
    "fault",
    {
        "a constant without a device": lambda x: x + torch.arange(4),
        "a table that stayed behind": lambda x: torch.arange(9.0)[x.long()],
        "an index on the CPU": lambda x: x[torch.tensor([1, 2])],
        "a mask on the CPU": lambda x: torch.where(torch.tensor([True] * 4), x, 0.0),
        "numbers of the CPU put in": lambda x: x.index_copy_(0, CardTensor(torch.tensor([1])), torch.ones(1)),
        "an array": lambda x: x.numpy(),
        "an array in passing": lambda x: np.asarray(x),
        "a list": lambda x: x.tolist(),
        "a matrix on the CPU": lambda x: x @ torch.eye(4),
    }.items(),
    ids=lambda fault: fault[0],
)  # fmt: skip
def test_a_fault_is_refused(fault: tuple[str, Callable[[Tensor], object]]) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        costs(fault[1])


def test_a_fault_of_ours_would_name_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject.of("ar-vq")
    plain = torch.arange
    monkeypatch.setattr(torch, "arange", lambda *args, device=None, **kwargs: plain(*args, **kwargs))
    with pytest.raises(RuntimeError, match=r"card:0 and cpu \(.*at cmrgz"):
        drawing(subject)


class Kept(nn.Module):
    """A module whose table does not move with it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.table = nn.Parameter(torch.ones(4)), torch.ones(4)


def test_a_tensor_that_is_no_buffer_stays_and_is_refused() -> None:
    with pytest.raises(RuntimeError, match="two devices|cpu"):
        both(Kept(), lambda module, x: [module.weight * x + module.table], torch.ones(4))


# ------------------------------------------------------------------------------------------------------- what it counts
def test_kernels_are_counted_and_views_are_not() -> None:
    assert costs(lambda x: (x + 1).mul_(2).view(2, 2).t()[0])["launches"] == 2
    assert costs(lambda x: torch.empty_like(x))["launches"] == 0


@pytest.mark.parametrize(
    ("work", "waits", "up", "down"),
    [
        (lambda x: float(x.sum()), 1, 0, 0),
        (lambda x: bool((x > 1).any()), 1, 0, 0),
        (lambda x: x[x > 1], 1, 0, 0),
        (lambda x: x.nonzero(), 1, 0, 0),
        (lambda x: x.cpu(), 1, 0, 1),
        (lambda x: torch.ones(3).to(card()), 1, 1, 0),
        (lambda x: torch.ones(3).to(card(), non_blocking=True), 0, 1, 0),
        (lambda x: torch.tensor([1.0, 2.0], device=card()), 1, 1, 0),
        (lambda x: x.copy_(torch.ones(4)), 1, 1, 0),
        (lambda x: x * torch.tensor(2.0), 0, 0, 0),
        (lambda x: x.masked_fill(x > 1, 0.0), 0, 0, 0),
        (lambda x: x.__setitem__(x > 1, 0.0), 0, 0, 0),
        (lambda x: x[x.long()], 0, 0, 0),
        (lambda x: x.to(card()), 0, 0, 0),
    ],
)
def test_waits_and_copies_are_counted(work: Callable[[Tensor], object], waits: int, up: int, down: int) -> None:
    found = costs(work)
    assert (found["waits"], found["up"], found["down"]) == (waits, up, down)


def test_costs_are_told_by_line() -> None:
    with on_card() as found:
        known_positions(CardTensor(torch.ones(1, 1, 16, 16, dtype=torch.bool)), 8)
    assert set(found.launches) and all(line.startswith("cmrgz.latents:") for line in found.launches)
    assert "launches" in str(found) and "cmrgz.latents:" in str(found)


def test_attention_is_one_kernel_and_the_same_to_the_bit() -> None:
    q = torch.randn(2, 2, 5, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(5, 5).masked_fill(torch.ones(5, 5).triu(1) > 0, -torch.inf)
    for how in ({}, {"is_causal": True}, {"attn_mask": mask}):
        want = nn.functional.scaled_dot_product_attention(q, q, q, **how)  # type: ignore[arg-type]
        card_how = {key: CardTensor(v) if isinstance(v, Tensor) else v for key, v in how.items()}  # type: ignore[attr-defined]
        with on_card() as found:
            got = nn.functional.scaled_dot_product_attention(*[CardTensor(q)] * 3, **card_how)  # type: ignore[arg-type]
        assert torch.equal(held(got), want) and found.launches.total() == 1


def test_it_leaves_torch_as_it_was() -> None:
    before = torch.tensor, torch.inference_mode, nn.functional.scaled_dot_product_attention
    with pytest.raises(ZeroDivisionError), on_card():
        raise ZeroDivisionError
    assert before == (torch.tensor, torch.inference_mode, nn.functional.scaled_dot_product_attention)
    assert torch.ones(2).device.type == "cpu"


def test_other_work_goes_on_beside_it() -> None:
    assert card().type == "card"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Linear(2, 1)
        layer(torch.ones(3, 2)).sum().backward()
    torch.optim.AdamW(layer.parameters()).step()


def test_a_module_on_it_leaves_the_original_alone() -> None:
    layer = nn.Linear(3, 2)
    assert moved(layer).weight.device.type == "card" and layer.weight.device.type == "cpu"


# ----------------------------------------------------------------------------------------------------------- our models
def assert_near(found: Costs, stored: dict[str, int]) -> None:
    """Fail where kernels are a tenth more or fewer than stored, or waits are more."""
    now = counted(found)
    assert abs(now["kernels"] - stored["kernels"]) <= 0.1 * stored["kernels"], f"{now}, stored {stored}\n{found}"
    assert now["waits"] <= stored["waits"], f"{now}, stored {stored}\n{found}"


@pytest.mark.parametrize(("name", "subject"), CASES, ids=lambda part: getattr(part, "kind", part))
def test_a_draw_is_that_of_the_cpu_and_costs_what_is_stored(name: str, subject: Subject) -> None:
    run = drawing(subject)
    assert run.equal
    assert_near(run.costs, STORED[name][f"{subject.kind} draw"])


@pytest.mark.parametrize(("name", "subject"), CASES, ids=lambda part: getattr(part, "kind", part))
def test_a_training_step_is_that_of_the_cpu_and_costs_what_is_stored(name: str, subject: Subject) -> None:
    run = learning(subject)
    assert run.apart < 1e-5
    assert_near(run.costs, STORED[name][f"{subject.kind} step"])


@pytest.mark.parametrize(("name", "subject"), CASES, ids=lambda part: getattr(part, "kind", part))
def test_later_training_steps_have_the_same_bits_and_cost_what_is_stored(name: str, subject: Subject) -> None:
    run = going_on(subject.model, subject.items(ITEMS))
    assert run.equal
    assert_near(run.costs, STORED[name][f"{subject.kind} later step"])


def test_the_continuation_of_a_scan_is_worked_out_where_the_model_is() -> None:
    (subject,) = [subject for subject in subjects("ldm-dit") if subject.on_blocks]
    scan = subject.scan()
    known = parse("0.7").draw(scan.shape, seed=0)
    grid = Grid.of(scan, scan.voxels, known, subject.extent, subject.model.patch)
    x, seen, _ = grid.to_model(np.tanh(scan.voxels / scan.voxels.std()).astype(np.float32), known)
    here, there = whole_fill(subject.model, grid, x, seen), moved(subject.model)
    with on_card() as costs:
        again = whole_fill(there, grid, x, seen)
    assert np.array_equal(again, here)
    assert costs.totals()["launches"] > 100 and costs.totals()["waits"] == 1, "one answer of all slices"


def test_all_families_are_here() -> None:
    assert set(STORED) == set(registry.models())


@pytest.fixture(scope="module", params=list(registry.tokenizers()))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return build_tokenizer(registry.get_tokenizer(request.param))


def test_a_tokenizer_codes_and_learns_as_on_the_cpu(tokenizer: Tokenizer) -> None:
    assert coding(tokenizer).equal
    assert reconstruction(tokenizer).apart < 1e-5


def test_a_process_that_has_used_the_card_can_be_forked() -> None:
    """Tests of several processes fork; torch lets none compute gradients that comes from one with devices."""
    with on_card():
        there(4).requires_grad_().sum().backward()
    if (child := os.fork()) == 0:
        try:
            torch.ones(1, requires_grad=True).sum().backward()
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    assert os.waitpid(child, 0)[1] == 0


# -------------------------------------------------------------------------------------- checks for authors of plugins
class Copying(nn.Module):
    """A network that makes a table on the CPU in every call."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.multiple = inner, inner.multiple

    def forward(self, inputs: Tensor, time: Tensor, condition: object) -> Tensor:
        return self.inner(inputs + 0 * torch.zeros(1, device="cpu").expand(1).to(inputs.device), time, condition)


@pytest.mark.filterwarnings("ignore:.*could not be recorded")
def test_a_network_that_copies_in_every_step_is_caught() -> None:
    subject = Subject.of("ldm-dit")
    subject.model.network = Copying(subject.model.network)  # type: ignore[assignment, arg-type]
    with pytest.raises(AssertionError, match=r"\d+ waits in many steps.*cmrgz.diffusion"):
        steps_do_not_wait_for_the_device(subject)


def test_a_network_that_is_other_on_a_device_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject.of("ldm-dit")
    plain = nn.functional.gelu
    fault = lambda x, **how: plain(x, **how) * (1.001 if x.device.type == "card" else 1)  # noqa: E731
    monkeypatch.setattr(nn.functional, "gelu", fault)
    monkeypatch.setattr(nn.GELU, "forward", lambda self, x: fault(x, approximate=self.approximate))
    with pytest.raises(AssertionError, match="off by"):
        draws_the_same_on_a_device(subject)
