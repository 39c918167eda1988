"""What new slices and phases are worth: planes left out of a cine, drawn by `--refine`'s own grid, beside the truth.

    python examples/refine_table.py --phantoms 4 --models ldm-unet
    python examples/refine_table.py SCAN... --axes z t --models ldm-unet

Phantoms are rendered at half the distance of slices (5 mm), or at twice the phases, of which every second plane is
kept. Of a scan, too, every second slice or phase is kept, as papers on interpolation of slices have it: what is drawn
lies 8 to 10 mm from what is given there. One row a method, in Markdown: PSNR of the new planes in dB, of models of the
mean of the draws, in all of the plane and where it moves most (15 % of the pixels); and where the truth lies within the
central 80 % of a normal law of the draws' mean and spread. Planes are 128 x 128 pixels about the heart.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cmrgz import checkpoint, options, registry, tasks
from cmrgz.blocks import whole_fill
from cmrgz.data import cases
from cmrgz.data.cines import read_cine
from cmrgz.data.finer import Finer
from cmrgz.data.intensity import Scale
from cmrgz.data.phantom import Phantom
from cmrgz.data.scan import Scan
from cmrgz.evaluation.fills import along
from cmrgz.grid import Grid, is_cycle
from cmrgz.model import Model

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
SIDE, SEED = 128, 9000
CENTRAL = 1.2816
"""Standard deviations about the mean within which 80 % of a normal law lie."""


def phantom(seed: int, axis: str, phases: int, slices: int) -> Scan:
    """Return a virtual cine twice as fine along one axis."""
    subject = Phantom(seed, size=SIDE, spacing=1.4)
    middle = subject.heights()[(len(subject.heights()) - slices) // 2 :][:slices]
    heights = middle if axis == "t" else np.linspace(middle[0], middle[-1], 2 * slices - 1)
    images, _ = subject.cine(2 * phases if axis == "t" else phases, heights)
    step = float(heights[1] - heights[0])
    return replace(Scan.blank(images.shape, (step, 1.4, 1.4), 0.04), stored=images.astype(np.float32))


def scan_of(case: cases.Case, phases: int, slices: int) -> Scan:
    """Return the middle slices of a recorded cine, an odd number, about the heart; of long cines part of the phases."""
    cine = read_cine(case)
    slices = min(slices, cine.frames.shape[1] - 1 + cine.frames.shape[1] % 2)
    first = (cine.frames.shape[1] - slices) // 2
    row, column = (int(c) for c in cine.corner((SIDE, SIDE)))
    times = np.arange(len(cine.frames) // 2 * 2)[: 2 * phases]
    part = cine.frames[times, first : first + slices, row : row + SIDE, column : column + SIDE]
    stored = (part.astype(np.float32) + 1) / 2
    return replace(Scan.blank(stored.shape, cine.spacing, 0.04), stored=stored)


def halved(whole: Scan, axis: str) -> tuple[Scan, Bools, Floats]:
    """Return every second plane on the finer grid of `--refine`, what of it is known, and the truth (t, z, y, x)."""
    step = {axis: 2}
    part = whole.stored[:: step.get("t", 1), :: step.get("z", 1)]
    spacing = (whole.spacing[0] * step.get("z", 1), *whole.spacing[1:])
    kept = replace(Scan.blank(part.shape, spacing, 0.04), stored=part)
    known = np.ones(kept.shape, dtype=bool)
    made, seen = Finer(**step).refined(kept, known, axis == "t" and is_cycle(kept.planes, known))
    return made, seen, whole.stored[: made.shape[0], : made.shape[1]]


def linear(scan: Scan, known: Bools, axis: str) -> Floats:
    """Return linear interpolation along the axis; the phases of a full cycle come round."""
    ring = axis == "t" and len(known) % 2 == 0
    return along(scan.voxels, known, "tz".index(axis), ring)


def filled(model: Model, scan: Scan, known: Bools) -> Floats:
    """Return the continuation that models of blocks start from, in the scan's intensities."""
    scale = Scale.fit(scan.voxels, known)
    grid = Grid.of(scan, scan.voxels, known, model.extent, model.patch)
    x, seen, _ = grid.to_model(scale.to_unit(scan.voxels), known)
    return scale.from_unit(grid.to_scan(whole_fill(model, grid, x, seen)[0]))


def figures(result: Floats, std: Floats | None, truth: Floats, known: Bools, moving: Bools) -> list[str]:
    """Return the cells of a row."""
    new = ~known
    cells = [f"{-10 * np.log10(np.square(result - truth)[where].mean()):.2f}" for where in (new, new & moving)]
    inside = "" if std is None else f"{(np.abs(truth - result) <= CENTRAL * std)[new & moving].mean():.2f}"
    return [*cells, inside]


def rows(
    whole: Scan, axis: str, models: Sequence[tuple[str, Model, dict[str, object]]], draws: int
) -> Iterator[list[str]]:
    """Yield the rows of a cine: method and figures. Intensities are 0 .. 1 on the scale of what is given."""
    scan, known, truth = halved(whole, axis)
    scale = Scale.fit(scan.voxels, known)

    def unit(values: NDArray[np.float32]) -> Floats:
        return (scale.to_unit(values) + 1) / 2

    true = unit(truth)
    change = gaussian_filter(true.std(0), (0, 2, 2))
    moving = np.broadcast_to(change > np.percentile(change, 85), true.shape)
    yield ["linear", *figures(unit(linear(scan, known, axis)), None, true, known, moving)]
    yield ["adaptive fill", *figures(unit(filled(models[0][1], scan, known)), None, true, known, moving)]
    for name, model, given in models:
        drawn = tasks.inpaint(model, scan, known, tasks.Setting(seed=0, samples=draws, options=given))
        samples = unit(drawn.samples)
        std = samples.std(0, ddof=1) if draws > 1 else None
        yield [name, *figures(samples.mean(0), std, true, known, moving)]


def main() -> None:
    """Draw, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scans", nargs="*", help="cines, and folders of them")
    parser.add_argument("--phantoms", type=int, default=0, help="so many rendered ones")
    parser.add_argument("--axes", nargs="*", default=["z", "t"], choices=["z", "t"])
    parser.add_argument("--models", nargs="*", default=["ldm-unet"])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="sampling options of all models")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--phases", type=int, default=10, help="given ones of a phantom, at most")
    parser.add_argument("--slices", type=int, default=5, help="given ones of a phantom, at most of a scan in all")
    told = parser.parse_args()
    models = []
    for name in told.models:
        model, _ = checkpoint.open_model(name)
        models.append((name, model, options.parse(told.set, registry.sample_schema(model), "--set")))
    print("| refined | scan | method | new planes, dB | moving, dB | within 80 % |\n" + "|---" * 6 + "|")
    scans = [case for path in told.scans for case in cases.find(path)]
    for axis in told.axes:
        found: dict[str, list[list[float]]] = {}
        made = [
            (f"phantom {SEED + i}", phantom(SEED + i, axis, told.phases, told.slices)) for i in range(told.phantoms)
        ]
        made += [(case.subject, scan_of(case, told.phases, told.slices)) for case in scans]
        for subject, whole in made:
            for name, *cells in rows(whole, axis, models, told.draws):
                print("| " + " | ".join([f"`{axis}=2`", subject, name, *cells]) + " |", flush=True)
                found.setdefault(name, []).append([float(cell or "nan") for cell in cells])
        for name, values in found.items() if len(made) > 1 else ():
            cells = [f"{mean:.2f}" if np.isfinite(mean) else "" for mean in np.mean(values, axis=0)]
            print("| " + " | ".join([f"`{axis}=2`", f"mean of {len(made)}", name, *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
