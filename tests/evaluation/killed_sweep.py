"""A sweep of many small units, killed again and again: python killed_sweep.py DATA RUN KILLS."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cmrgz.data import cases
from cmrgz.evaluation.competitors import Draws, Kind, Method
from cmrgz.evaluation.frames import Frame, read_frames
from cmrgz.evaluation.lineup import Lineup
from cmrgz.evaluation.options import SweepOptions
from cmrgz.evaluation.scoring import Scorer
from cmrgz.evaluation.store import read_lines
from cmrgz.evaluation.sweep import Sweep, run
from cmrgz.rng import derive

PAUSE = 0.02
"""Seconds that a unit takes at least, so that a kill meets it at work."""


class Slow(Method):
    """Noise, slowly."""

    kind: ClassVar[Kind] = "model"
    random: ClassVar[bool] = True

    def draw(self, frames: Sequence[Frame], known: Sequence[NDArray[np.bool_]], seed: int, samples: int) -> Draws:
        time.sleep(PAUSE)
        rngs = [[np.random.default_rng(derive(seed, frame.id, k)) for frame in frames] for k in range(samples)]
        drawn = np.stack([np.stack([rng.random(frames[0].x.shape) for rng in row]) for row in rngs])
        return Draws.of(frames, drawn.astype(np.float32), 1.0, samples * len(frames))


def sweep(frames: Sequence[Frame], root: Path) -> None:
    ratios = tuple(round(0.05 * k, 2) for k in range(1, 16))
    options = SweepOptions(ratios=ratios, samples=2)
    run(Sweep(options, Lineup(frames, [], [Slow("slow", {})]), Scorer(), batch=4), root)


def killed(frames: Sequence[Frame], root: Path, pause: float) -> None:
    """Run the sweep in a child and kill it `pause` seconds after it did something."""
    before = len(read_lines(root)) if root.exists() else 0
    child = os.fork()
    if not child:
        sweep(frames, root)
        os._exit(0)
    while not (root.exists() and len(read_lines(root)) > before):
        time.sleep(0.001)
    time.sleep(pause)
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGKILL, "there was nothing left to kill"


def main() -> None:
    frames, root = read_frames(cases.find(sys.argv[1]), (64, 64), "2", spacing=3.6), Path(sys.argv[2])
    rng = np.random.default_rng(0)
    for _ in range(int(sys.argv[3])):
        killed(frames, root, float(rng.uniform(0, 0.05)))
    sweep(frames, root)


if __name__ == "__main__":
    main()
