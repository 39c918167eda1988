"""Processes that train as one: each has some of the shards of every batch, and all end with the same bits.

A floating-point sum depends on its order, so gradients are added in the order of their shards, whoever made them: the
result is a function of the number of shards and not of the number of processes. `torchrun` starts the processes and
ends all of them where one dies; the first alone holds the folder of the run.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cmrgz.errors import ResourceError, UsageError

PATIENCE = timedelta(hours=12)
"""How long a process waits for the others: as long as the first may validate. Where one dies, none waits."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a training, and which of them this is.

    Attributes:
        rank: Of this process, from 0.
        number: Of processes.
    """

    rank: int = 0
    number: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def own(self, shards: int) -> range:
        """Return the shards that are this process's: every so many, so that one of each process make a round."""
        return range(self.rank, shards, self.number)

    def alone(self, held: AbstractContextManager[None]) -> AbstractContextManager[None]:
        """Return what the first process holds while a block runs."""
        return held if self.leads else nullcontext()

    def gathered(self, x: Tensor) -> list[Tensor]:
        """Return the tensors of all processes, each (n,) and of one type, in the order of their ranks.

        Raises:
            ResourceError: `lost-process`: one of the others ended.
        """
        if self.number == 1:
            return [x]
        found = [torch.empty_like(x) for _ in range(self.number)]
        _told(lambda: dist.all_gather(found, x))
        return found

    def any(self, flag: bool) -> bool:
        """Return whether the flag of any process is up.

        Raises:
            ResourceError: `lost-process`.
        """
        return any(bool(part) for part in self.gathered(torch.tensor([flag])))

    def shared(self, make: Callable[[], bytes]) -> bytearray:
        """Return what the first process makes, for all.

        Raises:
            ResourceError: `lost-process`.
        """
        data = bytearray(make() if self.leads else b"")
        if self.number == 1:
            return data
        # The others have to make room, and do not know how much.
        size = torch.tensor([len(data)])
        _told(lambda: dist.broadcast(size, 0))
        data = data or bytearray(int(size))
        if data:
            _told(lambda: dist.broadcast(torch.frombuffer(data, dtype=torch.uint8), 0))
        return data


@contextmanager
def joined(device: str, shards: int) -> Iterator[Ranks]:
    """Join the processes that `torchrun` started, for a block; alone where it did not.

    Args:
        device: Where this process computes.
        shards: Of a batch.

    Raises:
        UsageError: `range`: the shards cannot be shared out evenly.
        ResourceError: `lost-process`.
    """
    number, rank = (_from_environment(name, default) for name, default in (("WORLD_SIZE", 1), ("RANK", 0)))
    if number == 1:
        yield Ranks()
        return
    if shards % number:
        what, facts = "shards must be a multiple of the number of processes", f"{shards} shards, {number} processes"
        raise UsageError("range", "option --set", what, facts, hint=f"--set shards={number}")
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(device)
    # Two at once: gradients go from GPU to GPU (nccl), flags and the state from host to host (gloo).
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    _told(lambda: dist.init_process_group(backend, timeout=PATIENCE))
    try:
        yield Ranks(rank, number)
    finally:
        dist.destroy_process_group()


def _from_environment(name: str, default: int) -> int:
    """Return a number that `torchrun` says.

    Raises:
        UsageError: `range`.
    """
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise UsageError(
            "range", f"environment variable {name}", "must be a number, as torchrun sets it", f"is '{text}'"
        )
    return int(text)


def _told(talk: Callable[[], Any]) -> None:
    """Talk to the other processes.

    Raises:
        ResourceError: `lost-process`.
    """
    try:
        talk()
    # torch.distributed has no class of errors that all its backends raise.
    except (RuntimeError, ValueError) as error:
        cause = (str(error).splitlines() or ["it does not answer"])[0][:100]
        hint = "the same command goes on"
        raise ResourceError("lost-process", "torchrun", "another process of the training ended", cause, hint) from error
