"""Batches made beside the training and before it asks for them: by threads, or by processes that read a bank."""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import active_children, get_context
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

from cmrgz.data.phantom.processes import begun_since, end_with_parent, finished, held_back, killed
from cmrgz.errors import ResourceError

T = TypeVar("T")
AHEAD = 2
"""Batches that each worker has in hand."""
_kept: dict[str, Any] = {}
"""What a process makes batches with: sent once, and not with each step."""


def by_threads(make: Callable[[int], T], steps: Iterable[int], workers: int) -> Iterator[T]:
    """Yield `make(step)` for each step, in order."""
    with ThreadPoolExecutor(workers) as pool:
        yield from _in_order(pool, make, iter(steps), workers)


def by_processes(make: Callable[[int], T], steps: Iterable[int], workers: int) -> Iterator[T]:
    """Yield `make(step)` for each step, in order; `make` is sent to each process, and what it returns is sent back.

    Processes are spawned: they import the main module anew, which must be guarded by `if __name__ == "__main__"`. They
    are deaf to Ctrl-C and SIGTERM, which ask the training to store its state, and end with it.

    Raises:
        ResourceError: `worker-lost`: a process died, as where memory is used up.
    """
    others = active_children()
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (make,)) as pool:
        try:
            yield from _in_order(pool, _made, iter(steps), workers, others)
        except BrokenProcessPool:
            killed(others)  # the pool asks them to end and waits, and they are deaf
            hint = "fewer workers need less memory"
            raise ResourceError("worker-lost", "option workers", "a process was ended from outside", "", hint) from None


def _in_order(
    pool: Executor,
    make: Callable[[int], T],
    steps: Iterator[int],
    workers: int,
    others: Sequence[BaseProcess] | None = None,
) -> Iterator[T]:
    with held_back(signal.SIGINT, signal.SIGTERM):  # of processes for ever
        ahead = deque(pool.submit(make, step) for step in islice(steps, AHEAD * workers))
    processes = [] if others is None else begun_since(others)
    try:
        while ahead:
            for future in finished([ahead.popleft()], processes):
                yield future.result()
            ahead.extend(pool.submit(make, step) for step in islice(steps, 1))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # whoever opened it waits


def _begin(make: Callable[[int], Any]) -> None:
    # Many processes with a thread for each processor would only take turns.
    torch.set_num_threads(1)
    _kept["make"] = make
    end_with_parent(signal.SIGKILL)


def _made(step: int) -> Any:
    return _kept["make"](step)
