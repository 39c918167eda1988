"""Stop on request: a handler sets a flag, the loop acts on it at the next step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CAUGHT = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


class StopFlag:
    """Whether a stop was asked for; a second SIGINT raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        del frame
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Catch the stop signals while the block runs; outside of the main thread nothing is caught."""
    flag, before = StopFlag(), {}
    try:
        for name in CAUGHT:
            if hasattr(signal, name):
                before[name] = signal.signal(getattr(signal, name), flag)
    except ValueError:  # not the main thread
        pass
    try:
        yield flag
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
