"""What a sweep costs beside its models: starting again with many finished cells, and keeping books of one.

    python examples/sweep_bookkeeping.py --cells 100000

Writes a journal of that many cells in a temporary folder, with the files of results it names, and times reading what
is done and finding what is still to do; then, for new cells of the cheapest method there is, drawing and measuring
them, and storing them (files and journal, each synced to the disk).
"""

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cmrgz.evaluation.cells import Grid
from cmrgz.evaluation.competitors import Draws, Kind, Method
from cmrgz.evaluation.crops import Crop
from cmrgz.evaluation.frames import Frame
from cmrgz.evaluation.lineup import Lineup
from cmrgz.evaluation.options import SweepOptions
from cmrgz.evaluation.scoring import Scorer
from cmrgz.evaluation.store import Store, result_path
from cmrgz.evaluation.sweep import Sweep, attempt, run, unit_facts
from cmrgz.footprint import most_bytes


class Grey(Method):
    """Fills with grey: as cheap as a method can be."""

    kind: ClassVar[Kind] = "model"
    random: ClassVar[bool] = True

    def draw(self, frames: Sequence[Frame], known: Sequence[NDArray[np.bool_]], seed: int, samples: int) -> Draws:
        """Return grey frames."""
        return Draws.of(
            frames, np.full((samples, len(frames), *known[0].shape[2:]), 0.5, np.float32), 1.0, samples * len(frames)
        )


def frames(count: int) -> list[Frame]:
    """Return frames of noise."""
    x = np.random.default_rng(0).uniform(-1, 1, (count, 1, 1, 128, 128)).astype(np.float16)
    about: tuple[Any, ...] = (None, ((0, 0),), np.zeros(1), np.zeros(1), 1.0, False, 1.4, 10.0, (64.0, 64.0), None, {})
    crops = [Crop(f"{i:016x}", x[i], *about) for i in range(count)]
    still = np.zeros((128, 128), dtype=bool)
    return [Frame(c.id, f"s{i % 50}", "scan", 0, 0, "", c, (0, 0), None, still, {}) for i, c in enumerate(crops)]


def megabytes() -> float:
    """Return the most memory that this process has held."""
    return (most_bytes() or math.nan) / 2**20


def write_journal(root: Path, grid: Grid) -> int:
    """Store every unit of a grid with an empty file in place of its results, and return the units."""
    count = 0
    with Store(root) as store:
        for unit in grid.units():
            path = result_path(root, unit.id)
            path.parent.mkdir(exist_ok=True)
            path.touch()
            facts = {"revision": "revision", **unit_facts(unit)}
            record = {"unit": unit.id, "cells": list(unit.cells), "sha256": "0" * 64, "facts": facts}
            store._journal.append(record, sync=False)
            count += 1
    return count


def main() -> None:
    """Write, read, store, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--new", type=int, default=200, help="cells that are computed")
    given = parser.parse_args()
    every, method = frames(200), Grey("grey", {})
    ratios = [f"patch:{k / 1000}" for k in range(1, max(2, given.cells // len(every)) + 1)]
    grid = Grid("revision", every, [method], ratios, [0], 2, batch=16)
    with tempfile.TemporaryDirectory() as folder:
        root, before = Path(folder), megabytes()
        units = write_journal(root, grid)
        start = time.perf_counter()
        with Store(root) as store:
            done = store.done()
            read = time.perf_counter() - start
            left = list(grid.units(done))
        total = time.perf_counter() - start
        print(f"{len(done)} cells in {units} units: read in {read:.2f} s, {len(left)} to do found in {total:.2f} s")
        print(f"memory {before:.0f} MB before, {megabytes():.0f} MB after")
    with tempfile.TemporaryDirectory() as folder:
        options = SweepOptions(ratios=tuple(k / 100 for k in range(1, max(2, given.new // 50) + 1)), samples=2)
        order = Sweep(options, Lineup(every[:50], [], [method]), Scorer(), batch=16)
        computed, work = [], time.perf_counter()
        for unit in order.units(set()):
            computed.append((unit, attempt(order.scorer, unit, leak=False)))
        work, cells = time.perf_counter() - work, sum(len(unit.cells) for unit, _ in computed)
        start = time.perf_counter()
        run(order, Path(folder), lambda units: iter(computed))
        books = time.perf_counter() - start
    each = 1000 / cells
    print(f"{cells} cells: {work * each:.1f} ms drawing and measuring, {books * each:.2f} ms of books a cell")


if __name__ == "__main__":
    main()
