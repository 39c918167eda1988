"""What is seen of a run beside its result: how fast it goes, in `speed.jsonl`, and curves for TensorBoard.

Both are of this machine and this hour, and so apart from `log.jsonl`, which a run that is gone on with must repeat to
the bit. Nothing that goes wrong with them costs the run more than a warning.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from cmrgz import records
from cmrgz.durable import Journal, rename
from cmrgz.errors import CheckpointError, CmrgzError, ResourceError, warn
from cmrgz.footprint import most_bytes
from cmrgz.training.frames import Batch

SPEED, BOARD = "speed.jsonl", "tensorboard"
CORRUPT = "corrupt-speed.jsonl"
LINE = {"step": records.natural, "items_per_second": records.number, "waiting": records.number}
Log = Literal["tensorboard"]


class Watch:
    """Times batches, and tells what it has seen; use it as a context manager.

    Args:
        folder: Of the run.
        device: Where it computes.
        step: That it goes on from.
        log: Write curves for TensorBoard too, to the folder `tensorboard`.

    Raises:
        ResourceError: `missing`: TensorBoard is not installed; the folder cannot be written.
    """

    def __init__(self, folder: Path, device: torch.device, step: int = 0, log: Log | None = None) -> None:
        self._device, self._folder = device, folder
        # Steps that a death cost are taken again: what was drawn of them is purged, or they would stand there twice.
        self._board: Any = _writer(log)(str(folder / BOARD), purge_step=step + 1) if log else None
        self._journal = _opened(folder)
        self._reset()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
        if self._board is not None:
            self._board.close()

    def _reset(self) -> None:
        self._items, self._waited, self._spent, self._told = 0, 0.0, 0.0, False

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield batches; counts what they hold, how long they are waited for, and how long they are used.

        A step that validates or stores, which `tell` is told, is not timed.
        """
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            ready = time.perf_counter()
            yield batch
            if not self._told:
                self._items += len(batch.x)
                self._waited += ready - start
                self._spent += time.perf_counter() - start
            self._told = False

    def tell(self, record: Mapping[str, Any], lr: float, whole: bool) -> None:
        """Show the record of a step.

        Args:
            record: As in the log.
            lr: Learning rate of the step.
            whole: The step validates or stores: write how fast the steps since the last one were.
        """
        speed = self._speed(record["step"]) if whole and self._items else {}
        try:
            if speed:
                self._journal.append(speed, sync=False)
        except ResourceError as error:
            warn(error.code, error.where, error.what, error.facts)
        if self._board is not None:
            self._draw({**record, "lr": lr, **speed}, record["step"])
        if whole:
            self._reset()
            self._told = True

    def _speed(self, step: int) -> dict[str, Any]:
        line = {"step": step, "items_per_second": self._items / self._spent, "waiting": self._waited / self._spent}
        return line | {name: round(size / 2**20) for name, size in self._peaks().items()}

    def _peaks(self) -> dict[str, int]:
        """Return the most bytes so far that the process has held, and its tensors on a GPU."""
        peaks = {}
        if (most := most_bytes()) is not None:
            peaks["peak_mib"] = most
        if self._device.type == "cuda":
            peaks["peak_gpu_mib"] = torch.cuda.max_memory_allocated(self._device)
        return peaks

    def _draw(self, record: Mapping[str, Any], step: int) -> None:
        validation = record.get("validation", {})
        curves = {f"validation/{name}": value for name, value in validation.items()}
        curves |= {name: value for name, value in record.items() if records.number(value) and name != "step"}
        try:
            for name, value in curves.items():
                self._board.add_scalar(name, value, step)
        except (OSError, CmrgzError) as error:  # a full disk
            warn("log", str(self._folder / BOARD), f"cannot be written, no more curves: {error}")
            self._board = None


def require(log: Log | None) -> None:
    """Refuse a log that cannot be written, before any work.

    Raises:
        ResourceError: `missing`.
    """
    if log:
        _writer(log)


def _writer(log: Log) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        what = f"{log} is not installed"
        raise ResourceError("missing", "option --log", what, hint="pip install 'cmrgz[tensorboard]'") from None
    return SummaryWriter


def _opened(folder: Path) -> Journal:
    """Return the journal of speeds; one that is damaged is set aside."""
    try:
        return Journal(folder / SPEED, LINE)
    except CheckpointError as error:
        warn(error.code, error.where, "is damaged, and set aside", hint=CORRUPT)
        rename(folder / SPEED, CORRUPT)
        return Journal(folder / SPEED, LINE)
