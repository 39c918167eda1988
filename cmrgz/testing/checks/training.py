"""Checks of a model's loss."""

from contextlib import suppress

import torch
from torch import Tensor, nn

from cmrgz.conditions import learn
from cmrgz.errors import UsageError
from cmrgz.model import Condition, Model
from cmrgz.testing.checks.outcomes import Skipped
from cmrgz.testing.subject import Subject, streams

STEPS = 80


def _loss(model: Model, x: Tensor, seed: int = 0, condition: Condition | None = None) -> Tensor:
    return model.loss(x, condition=condition, rng=streams(len(x), seed))


def loss_is_a_function_of_its_streams(subject: Subject) -> None:
    """A finite scalar, the same for the same streams, another for others; so a run can be resumed to the bit."""
    x, state = subject.items(), torch.get_rng_state()
    with torch.no_grad():
        first, again, other = (_loss(subject.model, x, seed) for seed in (0, 0, 1))
    assert first.ndim == 0 and bool(first.isfinite()), f"{tuple(first.shape)} {first}"
    assert torch.equal(first, again), "the same streams gave another loss"
    assert not torch.equal(first, other), "other streams gave the same loss"
    assert torch.equal(torch.get_rng_state(), state), "global random numbers were used"


def gradients_reach_every_weight(subject: Subject) -> None:
    """Each trained weight gets a finite gradient, those of patients too; the tokenizer's are frozen."""
    model = subject.fresh().train()
    with suppress(UsageError):  # a model need not take any
        learn(model, {"group": ("A", "B"), "ef": ()})
    patients = {"group": torch.arange(subject.count) % 2, "ef": torch.linspace(0.2, 0.7, subject.count)}
    condition = _conditions(subject) | {name: value.float() for name, value in patients.items()}
    for seed in range(3):
        _loss(model, subject.items(), seed, condition).backward()
    frozen = set(subject.tokenizer.parameters()) if subject.tokenizer is not None else set()
    for name, parameter in model.named_parameters():
        if parameter in frozen:
            assert parameter.grad is None, f"{name} belongs to the tokenizer and is trained"
        elif parameter.requires_grad:
            assert parameter.grad is not None, f"{name} has no gradient"
            assert bool(parameter.grad.isfinite().all()), f"the gradient of {name} is not finite"


def _conditions(subject: Subject) -> dict[str, Tensor]:
    """Return values of every declared condition, of each frame in blocks, unknown for the first item."""
    n = subject.count
    value = torch.linspace(0.0, 0.9, n)
    value[0] = torch.nan
    if subject.on_blocks:
        value = value[:, None, None].expand(n, subject.extent.phases, subject.extent.slices)
    return dict.fromkeys(subject.spec.conditions, value)


def learns_one_batch(subject: Subject) -> None:
    """The loss of two items falls by a tenth in eighty steps."""
    model, x = subject.fresh().train(), subject.items(2)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=3e-3)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = _loss(model, x, step % 4)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    start, end = sum(losses[:4]) / 4, sum(losses[-4:]) / 4
    assert end < start - 0.1 * abs(start), f"from {start:.4f} to {end:.4f}"


def bf16_is_close(subject: Subject) -> None:
    """The loss in bfloat16 is that in float32 within five percent."""
    x = subject.items()
    with torch.no_grad():
        exact = float(_loss(subject.model, x))
        with torch.autocast("cpu", torch.bfloat16):
            rough = float(_loss(subject.model, x))
    assert abs(rough - exact) < 0.05 * abs(exact), f"{rough:.4f}, {exact:.4f} in float32"


def cuda_is_close(subject: Subject) -> None:
    """The loss on a GPU is that on the CPU within one percent."""
    if not torch.cuda.is_available():
        raise Skipped("no GPU")
    x = subject.items()
    with torch.no_grad():
        exact = float(_loss(subject.model, x))
        there = float(_loss(subject.model.to("cuda"), x.to("cuda")))
        subject.model.to("cpu")
    assert abs(there - exact) < 0.01 * abs(exact), f"{there:.4f}, {exact:.4f} on the CPU"
