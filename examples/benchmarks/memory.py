"""Print what `cmrgz inpaint` holds of a large cine with a small hole, in sizes of the scan.

    python examples/benchmarks/memory.py [MODEL ...] [--shape 40,16,512,512] [--samples 1] [--command "python -m cmrgz"]

A cine of int16 noise is hidden in a hole of 32 x 32 pixels of two slices, in all phases. What the same command takes
for a cine of 64 x 64 pixels, the program and the weights, is taken off. `--command` measures another version. The
default model is one of frames and takes a minute; models of blocks compute the continuation of whole slabs of the scan.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.scan import Scan, save

HOLE = 32


def write_cine(folder: Path, name: str, shape: tuple[int, int, int, int]) -> tuple[Path, Path, int]:
    """Write a cine and a mask of its hole; return their paths and the bytes of the cine."""
    t, z, y, x = shape
    rng, spacing = np.random.default_rng(0), (8.0, 1.4, 1.4)
    frame = rng.integers(0, 900, (z, y, x)).astype(np.int16)
    stored = np.stack([np.roll(frame, i, axis=1) for i in range(t)])
    hidden = np.zeros(shape, np.uint8)
    row, column, first = y // 2 - HOLE // 2, x // 2 - HOLE // 2, max(0, z // 2 - 1)
    hidden[:, first : first + 2, row : row + HOLE, column : column + HOLE] = 1
    paths = folder / f"{name}.nii", folder / f"{name}_mask.nii"
    for path, values in zip(paths, (stored, hidden), strict=True):
        save(path, with_stored(Scan.blank(shape, spacing, 0.04), values))
    return *paths, stored.nbytes


def with_stored(scan: Scan, values: NDArray[np.generic]) -> Scan:
    """Return a scan of these values on the grid of another."""
    return Scan(values, 1.0, 0.0, scan.geometry)


def peak(command: list[str], scan: Path, mask: Path, model: str, samples: int) -> int:
    """Return the most bytes that were resident while a scan was inpainted."""
    options = ["--mask", str(mask), "--model", model, "--samples", str(samples), "--device", "cpu", "--overwrite"]
    process = subprocess.Popen(
        [*command, "inpaint", str(scan), *options, "--output", str(scan.with_name("out.nii"))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed with status {status}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["ar-maskgit"], metavar="MODEL")
    parser.add_argument("--shape", default="40,16,512,512", help="t,z,y,x")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--command", default=f"{shlex.quote(sys.executable)} -m cmrgz")
    given = parser.parse_args()
    t, z, y, x = map(int, given.shape.split(","))
    command = shlex.split(given.command)
    with tempfile.TemporaryDirectory() as name:
        *large, size = write_cine(Path(name), "large", (t, z, y, x))
        *small, _ = write_cine(Path(name), "small", (t, 2, 64, 64))
        for model in given.models:
            before, after = (peak(command, *files, model, given.samples) for files in (small, large))
            taken = after - before
            print(f"{model}: {taken / 2**20:.0f} MiB, {taken / size:.1f} of the scan ({after / 2**20:.0f} MiB in all)")


if __name__ == "__main__":
    main()
