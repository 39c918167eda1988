"""How fast items of training are made: from NIfTI files, which are held in memory, and from a bank, which is read.

    python examples/benchmarks/data.py
    python examples/benchmarks/data.py DATA --items 2000 --workers 0 1 2 4

Without DATA built-in phantoms are rendered first. For frames and blocks it prints how long it takes to open the scans,
and items a second with so many workers beside the training (0: none, made when they are asked for): threads for files,
processes for a bank, timed once all have begun. The ratio is that to files without workers.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path

from cmrgz.data import cases
from cmrgz.data.cases import Case
from cmrgz.plugin import Extent
from cmrgz.training.banking import make_bank
from cmrgz.training.frames import Frames

EXTENTS = {
    "frames": Extent(),
    "blocks": Extent(("t", "z", "y", "x"), (5, 3, 128, 128)),
}
BATCH = 16


def speed(frames: Frames, workers: int, items: int, warm: float) -> float:
    """Return items a second of batches as a training asks for them, once all workers are at work."""
    number = -(-items // BATCH)
    with closing(frames.batches(0, count(), BATCH, workers)) as batches:
        next(batches)
        end = time.perf_counter() + warm * workers
        while time.perf_counter() < end:
            next(batches)
        start = time.perf_counter()
        for _ in range(number):
            next(batches)
        return number * BATCH / (time.perf_counter() - start)


def measure(name: str, found: Sequence[Case], extent: Extent, given: argparse.Namespace) -> dict[int, float]:
    """Open scans, and return items a second by the number of workers."""
    start = time.perf_counter()
    frames = Frames([found], extent)
    print(f"{name:12s} opened {len(found)} scans in {time.perf_counter() - start:.2f} s", flush=True)
    return {workers: speed(frames, workers, given.items, given.warm) for workers in given.workers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="a data set [built-in phantoms]")
    parser.add_argument("--phantoms", type=int, default=12, help="how many built-in phantoms, where there is no data")
    parser.add_argument("--size", type=int, default=176, help="their pixels along a side")
    parser.add_argument("--items", type=int, default=800)
    parser.add_argument("--warm", type=float, default=5, help="seconds a worker before the clock starts")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    files = cases.find(given.data) if given.data else cases.builtin(given.phantoms, 0, given.size, phases=12)
    with ExitStack() as stack:
        bank = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "bank"
        start = time.perf_counter()
        made = make_bank(files, bank)
        took = time.perf_counter() - start
        print(
            f"a bank of {made.cases} scans, {made.size / 1e6:.1f} MB, made in {took:.1f} s: {made.cases / took:.2g}/s"
        )
        for name, extent in EXTENTS.items():
            speeds = {
                where: measure(f"{name} {where}", found, extent, given)
                for where, found in (("files", files), ("bank", cases.find(bank, banks=True)))
            }
            base = next(iter(speeds["files"].values()))
            for where, by_workers in speeds.items():
                row = "  ".join(f"{workers}: {n:7.0f}/s x{n / base:.2f}" for workers, n in by_workers.items())
                print(f"{name} from {where:5s}  {row}", flush=True)


if __name__ == "__main__":
    main()
