"""Progress on stderr: a bar on a terminal, else a line now and then."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LOG = logging.getLogger("cmrgz.progress")
PAUSE = 30.0
"""Seconds between two lines."""


def is_quiet() -> bool:
    """Whether progress is not wanted: `--quiet`, or CMRGZ_LOG_LEVEL=WARNING and above."""
    return not LOG.isEnabledFor(logging.INFO)


class Progress:
    """Shows (done, total) items, how many a second and how long the rest will take; call it with both."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._bar: Any = None
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done; 0 starts anew, and all of them end it."""
        if self._bar is None or done == 0:
            self._open(total)
        self._bar.update(done - self._bar.n)
        now = time.monotonic()
        # A log of a cluster wants a line now and then; a bar would fill it with thousands.
        if self._bar.disable and now - self._last >= PAUSE and 0 < done < total:
            speed, self._last = done / (now - self._start), now
            LOG.info(f"{done}/{total} {self.unit}, {speed:.2g} {self.unit}/s, {(total - done) / speed:.0f} s left")
        if self._bar.disable:
            self._bar.n = done  # a bar that is off does not count
        if done >= total:
            self.close()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open(self, total: int) -> None:
        from tqdm import tqdm

        self.close()
        disable = is_quiet() or None  # None: shown on a terminal
        self._bar = tqdm(total=total, unit=f" {self.unit}", disable=disable, leave=False, dynamic_ncols=True)
        self._bar.n = 0
        self._start = self._last = time.monotonic()


@contextmanager
def progress(unit: str) -> Iterator[Progress]:
    """Show progress for the length of a block."""
    shown = Progress(unit)
    try:
        yield shown
    finally:
        shown.close()
