"""Checks of what a draw takes, and of what it leaves behind."""

from typing import Any

import torch
from torch import Tensor

from cmrgz.latents import known_positions, lift
from cmrgz.testing.checks.outcomes import Skipped
from cmrgz.testing.memory import LiveTensors
from cmrgz.testing.subject import Subject, streams
from cmrgz.tokens.blocks import block_condition
from cmrgz.tokens.causal_decoding import prefill
from cmrgz.tokens.codes import CodeModel
from cmrgz.tokens.network import CausalNetwork

SLACK = 1 << 16
"""Bytes that may be lost to what is small and held for good."""


def _case(subject: Subject, n: int, size: tuple[int, ...] | None = None) -> tuple[Tensor, Tensor]:
    known = subject.known_part(n, size)
    return torch.where(known, subject.items(n, size=size), 0.0), known


def memory_is_linear_in_the_batch(subject: Subject) -> None:
    """Eight items take at most twice as much more than four as four do than two."""
    subject.draw(*_case(subject, 2))  # what is made at first use and stays does not count
    peaks = [_peak(subject, *_case(subject, n)) for n in (2, 4, 8)]
    first, second = peaks[1] - peaks[0], peaks[2] - peaks[1]
    assert second <= 2.05 * first + SLACK, f"2, 4, 8 items take {', '.join(f'{p >> 10} KiB' for p in peaks)}"


def _peak(subject: Subject, x: Tensor, known: Tensor) -> int:
    with LiveTensors() as memory:
        subject.draw(x, known)
    return memory.peak


def memory_is_given_back(subject: Subject) -> None:
    """A second draw like the first leaves nothing more in memory."""
    x, known = _case(subject, 4)
    left = []
    with LiveTensors() as memory:
        for seed in range(3):
            subject.draw(x, known, seed)
            left.append(memory.live)
    assert left[2] <= left[1] + SLACK, f"a draw keeps {(left[2] - left[1]) >> 10} KiB"


def earlier_draws_leave_no_trace(subject: Subject) -> None:
    """After draws of other items, shapes and conditions a draw has the same bits: no cache outlives its call."""
    x, known = _case(subject, 4)
    first = subject.draw(x, known)
    subject.draw(-x, known.flip(0), seed=5)
    lengths = subject.extent.item[:-2]
    for more in ((2, (*lengths, 64, 96)), (1, (*(1 for _ in lengths), 64, 64))):
        try:
            subject.draw(*_case(subject, *more), seed=1)
        except Exception:  # a model may take items of one shape alone; what it then leaves behind counts
            continue
    given = {name: torch.full((4,), 0.3) for name in subject.spec.conditions}
    subject.draw(x, known, condition=given)
    assert torch.equal(subject.draw(x, known), first), "an earlier draw changes this one"


@torch.no_grad()
def cached_equals_uncached(subject: Subject) -> None:
    """A causal network of the kit says the same of a position from its cache as in one pass over all."""
    model = subject.model
    if not (isinstance(model, CodeModel) and isinstance(model.network, CausalNetwork)):
        raise Skipped("no causal network of the kit")
    x, known = (lift(part, model.axes) for part in _case(subject, 3))
    condition = block_condition(None, x, model.axes)
    vectors, codes = model.encode(x)
    b, n, _ = vectors.shape
    order = streams(b).permutation(n)
    content = model.vectors(codes).gather(1, order[..., None].expand_as(vectors))
    hints = model.hints(x, known, condition)
    want = model.network.train_states(content, order, condition, hints)
    network: CausalNetwork[Any] = model.network
    for length in (0, 1, n // 2, n - 1):
        cache = network.start(b, n, condition, hints)
        prefill(network, cache, model.vectors(codes), order, length)
        got = network(cache, order[:, length : length + 1], torch.full((b,), length))[:, 0]
        scale = float(want[:, length].abs().max())
        assert torch.allclose(got, want[:, length], atol=1e-3 * scale), f"after {length} of {n} positions"
    assert known_positions(known, model.tokenizer.patch).any()
