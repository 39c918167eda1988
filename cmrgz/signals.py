"""Stop on request: a handler sets a flag, the loop acts on it at the next step; elsewhere it breaks off what runs."""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

CAUGHT = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")

Handler = Callable[[int, FrameType | None], object]


class Terminated(KeyboardInterrupt):
    """The process was asked to end by another signal than Ctrl-C.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopFlag:
    """Whether a stop was asked for; a second SIGINT raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        del frame
        # Of other signals the second asks for nothing new: schedulers send SIGTERM several times.
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


class Ending:
    """Breaks off what runs: KeyboardInterrupt on SIGINT, Terminated on the others.

    Attributes:
        raised: What it raised last, or None.
    """

    def __init__(self) -> None:
        self.raised: KeyboardInterrupt | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        del frame
        self.raised = KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
        raise self.raised


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Catch the stop signals while the block runs; outside of the main thread nothing is caught."""
    flag = StopFlag()
    with _handled(CAUGHT, lambda _: flag):
        yield flag


@contextmanager
def end_on_signals() -> Iterator[Ending]:
    """Let the stop signals break off the block, so that it cleans up; outside of the main thread nothing is caught."""
    ending = Ending()
    with _handled(CAUGHT, lambda _: ending):
        yield ending


@contextmanager
def unmuffled() -> Iterator[None]:
    """Let an interrupt end the block whatever foreign code makes of it: it may swallow it or raise another error."""
    raised: list[BaseException] = []

    def listening(handler: Any) -> Handler | None:
        def handle(number: int, frame: FrameType | None) -> None:
            try:
                handler(number, frame)
            except BaseException as error:
                # Noted where it is raised: foreign code may swallow it, or raise another in its place, before it gets
                # here.
                raised.append(error)
                raise

        return handle if callable(handler) else None

    try:
        with _handled(CAUGHT, listening):
            yield
    finally:
        if raised:
            raise raised[-1]


@contextmanager
def _handled(names: Iterable[str], instead: Callable[[Any], Handler | None]) -> Iterator[None]:
    """Have other handlers while the block runs; a signal that is ignored stays so, as `nohup` asks for.

    Args:
        names: The signals; those that the system has not are left out.
        instead: From a handler to the one in its place, or to None to keep it.
    """
    before: dict[int, Any] = {}
    try:
        for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
            handler = signal.getsignal(number)
            new = None if handler in (signal.SIG_IGN, None) else instead(handler)
            if new is not None:
                before[number] = handler
                signal.signal(number, new)
    # Python lets the main thread alone set handlers; elsewhere the block runs as it would without them.
    except ValueError:  # not the main thread
        before.clear()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
