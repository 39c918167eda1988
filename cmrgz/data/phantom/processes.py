"""Work by several processes, in order: the results are those of one process.

Processes are spawned, not forked, since a library may be used by a program with threads: a program that asks for more
than one must guard its main module by `if __name__ == "__main__"`.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, TypeVar

from cmrgz.errors import ResourceError

T = TypeVar("T")
R = TypeVar("R")

Progress = Callable[[int], None]

GRACE = 10.0
"""Seconds that processes have to break off; then they are ended. Foreign code may swallow an interrupt."""
PATIENCE = 2.0
"""Seconds after which a silent pool is asked whether its processes live."""


class _Work:
    """What a process keeps: whether it is at work, which alone is broken off, and what asks it to begin no more.

    The question takes no lock: an interrupt that came between a lock and its release would keep it for ever.
    """

    asked: Any = None
    going = False


def available() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_processes(
    function: Callable[[T], R], arguments: Iterable[T], workers: int, progress: Progress | None = None
) -> list[R]:
    """Return `[function(a) for a in arguments]`, computed by up to `workers` processes.

    An exception, also Ctrl-C, ends all: what is in hand is broken off, and it is raised here.

    Args:
        function: Of a module, so that a process can import it.
        arguments: What can be sent to a process; taken one after another where all is done here.
        workers: Processes; with 1 all is done here.
        progress: Called with the number that is done.

    Raises:
        ResourceError: `worker-lost`: a process died, as where memory is used up.
    """
    tell = progress or (lambda done: None)
    if workers > 1:
        arguments = list(arguments)
        workers = min(workers, len(arguments))
    if workers <= 1:
        return [_and_tell(function(argument), tell, done) for done, argument in enumerate(arguments, 1)]
    # Children that the program had before are none of ours to end.
    context, others = get_context("spawn"), active_children()
    asked = context.RawValue("b", 0)
    with ProcessPoolExecutor(workers, context, _begin, (asked,)) as pool:
        try:
            with held_back(signal.SIGINT):
                # Ctrl-C between the start of a process and `_begin` would end it with a traceback.
                futures = [pool.submit(_call, function, argument) for argument in arguments]
            processes = begun_since(others)
            for done, future in enumerate(finished(futures, processes), 1):
                _and_tell(future.result(), tell, done)
        except BrokenProcessPool:
            killed(others)
            hint = "fewer processes need less memory"
            raise ResourceError("worker-lost", "processes", "one was ended from outside", "", hint) from None
        except BaseException:
            asked.value = 1
            with _broken_off(begun_since(others)):
                pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def finished(futures: Iterable[Future[R]], processes: Sequence[BaseProcess]) -> Iterator[Future[R]]:
    """Yield what is asked of the processes of a pool, when it is done.

    Raises:
        BrokenProcessPool: A process has died, and nothing more will be done.
    """
    pending = set(futures)
    while pending:
        done, pending = wait(pending, PATIENCE, FIRST_COMPLETED)
        yield from done
        # The pool tells that itself, but for a gap: its thread goes over all that is pending, and is ended by an error
        # where something is asked for meanwhile. Then nobody is left to tell.
        if not done and any(process.exitcode is not None for process in processes):
            raise BrokenProcessPool("a process has died")


def begun_since(others: Sequence[BaseProcess]) -> list[BaseProcess]:
    """Return the processes that this one has begun, others left out, which were there before."""
    return [process for process in active_children() if process not in others]


def killed(others: Sequence[BaseProcess]) -> None:
    """End all processes but others; the pool waits for them, and may not end them itself."""
    ours = begun_since(others)
    for process in ours:
        process.kill()
    for process in ours:
        process.join(GRACE)


def _and_tell(result: R, tell: Progress, done: int) -> R:
    tell(done)
    return result


@contextmanager
def held_back(*numbers: int) -> Iterator[None]:
    """Let signals wait; processes that are started meanwhile have them held back too, until they let them through."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _broken_off(processes: Sequence[BaseProcess]) -> Iterator[None]:
    """Tell processes what Ctrl-C tells them, which may have come before they were set up, and see that they end."""
    if hasattr(signal, "pthread_sigmask"):
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid or 0, signal.SIGINT)
    # Foreign code may hold off an interrupt for good, and the caller waits for all of them.
    late = threading.Timer(GRACE, _end, [processes])
    late.start()
    try:
        yield
    finally:
        late.cancel()


def _end(processes: Iterable[BaseProcess]) -> None:
    for process in processes:
        process.terminate()


def _begin(asked: Any) -> None:
    """Set up a process: Ctrl-C, which all processes of a terminal get, ends its work; it ends with its parent."""
    _Work.asked = asked
    signal.signal(signal.SIGINT, _interrupt)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with_parent(signal.SIGTERM)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Break off what is in hand, once; between two pieces of work a process talks with its parent, undisturbed."""
    del number, frame
    if _Work.going:
        _Work.going = False
        raise KeyboardInterrupt


def end_with_parent(number: int) -> None:
    """Let this process end by a signal as soon as that which started it has ended."""

    def wait() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            signal.raise_signal(number)

    # By a thread, since not every system can send a signal when a parent ends.
    threading.Thread(target=wait, daemon=True).start()


def _call(function: Callable[[T], R], argument: T) -> R:
    """Do one piece of work in a process."""
    _Work.going = True
    try:
        if _Work.asked.value:  # asked after the signal counts, so that none is missed
            raise KeyboardInterrupt
        return function(argument)
    finally:
        _Work.going = False
