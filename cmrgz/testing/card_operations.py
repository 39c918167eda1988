"""What a GPU does with the operations of torch, what that costs, and what torch has to be told of a device."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "card"
Lines = Counter[str]

_aten = torch.ops.aten
ASKS = {  # the host needs a number or a size from the card
    _aten._local_scalar_dense.default, _aten.nonzero.default, _aten.masked_select.default, _aten.equal.default,
    _aten.bincount.default, _aten._unique2.default, _aten.unique_consecutive.default, _aten.repeat_interleave.Tensor,
    _aten._linalg_eigh.default,
}  # fmt: skip
HOST = {_aten._local_scalar_dense.default, _aten.equal.default}
"""Operations whose result is no tensor of the card."""
COPIES = {_aten._to_copy.default, _aten.copy_.default}
INDEXED = {
    _aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default,
    _aten._unsafe_index.Tensor,
}  # fmt: skip
FREE = {  # no kernel runs
    _aten.detach.default, _aten._unsafe_view.default, _aten.lift_fresh.default, _aten.alias.default,
    _aten.empty.memory_format, _aten.empty_like.default, _aten.new_empty.default, _aten.empty_strided.default,
    _aten.new_empty_strided.default, _aten.resize_.default, _aten.set_.source_Tensor,
}  # fmt: skip
UNSTEADY = {  # whose kernels on CUDA give other bits each time, and there is no other kernel
    _aten.upsample_bilinear2d_backward.default, _aten.upsample_bilinear2d_backward.grad_input,
    _aten.reflection_pad2d_backward.default, _aten.replication_pad2d_backward.default,
    _aten.grid_sampler_2d_backward.default, _aten._adaptive_avg_pool2d_backward.default,
    _aten.histc.default, _aten.kthvalue.default, _aten.median.default, _aten.cumsum.default,
}  # fmt: skip


class _Backend(_DummyBackendModule):
    """What torch asks of a kind of device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        """Return the types that autocast may compute in."""
        return [torch.bfloat16, torch.float16]

    def _lazy_init(self) -> None:
        """Do what is put off until first use: nothing."""

    def _is_in_bad_fork(self) -> bool:
        """Return whether a process that was forked cannot use it."""
        return False

    def manual_seed_all(self, seed: int) -> None:
        """Seed its own random numbers, of which it has none."""

    def get_rng_state(self, device: Any = None) -> None:
        """Return where they are."""

    def set_rng_state(self, state: None, device: Any = None) -> None:
        """Put them there."""


@cache
def card() -> torch.device:
    """Return the device; torch is told of it once a process."""
    # At the first gradients torch starts a thread for each device that it knows of, and no fork can compute gradients
    # from then on. Those of the card need none.
    torch.zeros((), requires_grad=True).neg().backward()
    # A second time torch would refuse: a process has one backend of this kind.
    _setup_privateuseone_for_python_backend(NAME, _Backend())
    return torch.device(NAME, 0)


@dataclass
class Costs:
    """What a GPU would be asked for, by line of the project.

    Attributes:
        launches: Kernels, one for each operation that is no view.
        waits: Times that the host waits for the card: numbers that it asks for, and copies that are not asynchronous.
        up: Copies from the host to the card.
        down: Copies from the card to the host.
    """

    launches: Lines = field(default_factory=Counter)
    waits: Lines = field(default_factory=Counter)
    up: Lines = field(default_factory=Counter)
    down: Lines = field(default_factory=Counter)

    def totals(self) -> dict[str, int]:
        """Return the sums by name."""
        return {name: lines.total() for name, lines in vars(self).items()}

    def __str__(self) -> str:
        """The sums, and the lines that cost most of each."""
        parts = [", ".join(f"{count} {name}" for name, count in self.totals().items())]
        for name, lines in vars(self).items():
            parts += [f"  {name} {count}: {line}" for line, count in lines.most_common(8)]
        return "\n".join(parts)
