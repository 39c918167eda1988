"""Work that is done again and again on tensors of the same shapes, launched as one: CUDA graphs.

A network of small layers takes a GPU less time than the host takes to launch it, kernel after kernel. The first call is
made as ever, the second is recorded, and from then on all its kernels are one launch. A record holds addresses: what
the work uses beside its arguments must stay where it is, so a record lives no longer than the draw that made it. For
those of a training, which must give gradients, see `cmrgz.pieces`.

The environment variable CMRGZ_GRAPHS=0 turns it off.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cmrgz.errors import is_out_of_memory, warn

VARIABLE = "CMRGZ_GRAPHS"
Work = Callable[[], Any]
Replay = Callable[[], None]
Recorder = Callable[[Work], tuple[Any, Replay]]
"""Returns the tensors that work makes, and what fills them anew from its arguments."""
T = TypeVar("T")


def _cuda() -> Recorder:
    """Return what records work of a GPU, which is not done yet; its records share memory: they are replayed in turn."""
    pool = torch.cuda.graph_pool_handle()

    def record(work: Work) -> tuple[Any, Replay]:
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as those that load data, may ask the GPU for memory meanwhile; by default that ends the
        # capture.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            made = work()
        return made, graph.replay

    return record


RECORDERS: dict[str, Callable[[], Recorder]] = {"cuda": _cuda}
"""By type of device."""


def can_record(device: torch.device) -> bool:
    """Whether a device can launch work as one, and may."""
    return device.type in RECORDERS and os.environ.get(VARIABLE, "") != "0"


def recorded(device: torch.device, make: Callable[[], T]) -> T | None:
    """Return what `make` makes by recording work of a device; None where that fails, which is told once."""
    kind = device.type
    try:
        # what autocast keeps would lie in the memory of the record
        with torch.autocast(kind, enabled=torch.is_autocast_enabled(kind), cache_enabled=False):
            return make()
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        why = str(error).partition("\n")[0][:100]
        warn("graphs", "model", f"work could not be recorded: {why}", hint="it goes on, kernel after kernel")
        return None


class Replayed:
    """A function of tensors of one shape each time, as one launch where the device can do that.

    Args:
        function: Takes tensors on one device and returns one, or None; waits for nothing. What it changes in place
            must be the same where it is done twice. Calls with tensors of other shapes than the first are made as ever.
        counted: A module that it calls, whose hooks are called where the function is not.
    """

    def __init__(self, function: Callable[..., Tensor | None], counted: nn.Module | None = None) -> None:
        self.function, self.counted = function, counted
        self._given: list[Tensor] = []
        self._made: Tensor | None = None
        self._replay: Replay | None = None
        self._shapes: tuple[torch.Size, ...] = ()
        self._calls, self._off = 0, False

    def __call__(self, *args: Tensor) -> Tensor | None:
        """Return what the function returns."""
        shapes = tuple(value.shape for value in args)
        self._shapes = self._shapes or shapes
        # A record serves tensors of one shape, which are copied to where its own lie.
        if self._off or not can_record(args[0].device) or shapes != self._shapes:
            return self.function(*args)
        self._calls += 1
        # What is made at first use, such as the workspaces of libraries, must be there before a record begins.
        if self._calls == 1:
            return self.function(*args)
        if self._replay is None and not self._recorded(args):
            return self.function(*args)
        for place, value in zip(self._given, args, strict=True):
            place.copy_(value)
        # A replay runs no Python, so its hooks are called here; at the second call they were, while it was recorded.
        if self.counted is not None and self._calls > 2:
            for hook in self.counted._forward_pre_hooks.values():
                hook(self.counted, args)
        assert self._replay is not None
        self._replay()
        # The next replay writes to the same memory.
        return None if self._made is None else self._made.clone()

    def _recorded(self, args: tuple[Tensor, ...]) -> bool:
        """Record the function, and return whether that could be done."""
        self._given = [value.clone() for value in args]
        record = RECORDERS[args[0].device.type]()
        made = recorded(args[0].device, lambda: record(lambda: self.function(*self._given)))
        self._made, self._replay = made or (None, None)
        self._off = made is None
        return not self._off
