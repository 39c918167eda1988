"""Whether the intervals of `cmrgz measure --mask` hold what they say: volumes of cines whose truth is known.

    python examples/coverage_table.py phantoms-test --models ar-vq ldm-unet --masks slices:every=2 0.7

Of each cine with labels every so many phases are taken, 128 x 128 pixels about the heart; a mask hides a part, K draws
of it are measured, and the interval of each quantity should hold the truth as often as it says (80 % for 9 draws).
One row a model, mask and quantity, in Markdown: bias and mean absolute error of the median, mean width of the interval,
and how often it holds what the segmenter finds in the whole cine, which is what draws can know, and what the labels
say, which has the segmenter's error on top; and how far these two are apart in the mean. Fractions in per cent.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cmrgz import checkpoint, options, registry
from cmrgz.anatomy.function import Floats, areas, function_of
from cmrgz.anatomy.measure import draws_of, interval, segmented, share_of
from cmrgz.anatomy.segmenter import Segmenter
from cmrgz.data import cases, masks
from cmrgz.data.cines import read_cine
from cmrgz.data.scan import Scan
from cmrgz.model import Model
from cmrgz.tasks import Setting

SIDE = 128
QUANTITIES = ("LVEDV", "LVESV", "LVEF", "LVM_ED", "RVEDV", "RVESV", "RVEF")
HEADS = ("model", "mask", "quantity", "bias", "MAE", "width", "holds the segmenter's", "holds the labels'", "apart")


def cine_of(case: cases.Case, stride: int) -> tuple[Scan, Floats]:
    """Return every so many phases of a cine about the heart, and the areas (t, z, 3) of its labels in mm^2."""
    cine = read_cine(case, labels=True)
    row, column = (int(c) for c in cine.corner((SIDE, SIDE)))
    rows, columns = slice(row, row + SIDE), slice(column, column + SIDE)
    stored = (cine.frames[::stride, :, rows, columns].astype(np.float32) + 1) / 2
    if cine.labels is None:
        raise SystemExit(f"{case.image} has no labels")
    labels = cine.labels[::stride, :, rows, columns]
    scan = replace(Scan.blank(stored.shape, cine.spacing, 0.04), stored=stored)
    return scan, areas(labels, cine.spacing[1] * cine.spacing[2])


def rows(name: str, mask: str, found: dict[str, list[tuple[Floats, float, float]]]) -> Iterator[str]:
    """Yield the rows of a model and a mask; `found` has of each cine the draws, the segmenter's and the labels'."""
    for quantity in QUANTITIES:
        known = [triple for triple in found[quantity] if np.isfinite([*triple[0], *triple[1:]]).all()]
        if not known:
            continue
        scale = 100 if quantity.endswith("EF") else 1
        middle = np.array([np.median(draws) for draws, _, _ in known]) * scale
        ends = np.array([interval(draws) for draws, _, _ in known]) * scale
        seen, true = (np.array([triple[i] for triple in known]) * scale for i in (1, 2))
        error = middle - seen
        held = [f"{((ends[:, 0] <= value) & (value <= ends[:, 1])).sum()} of {len(known)}" for value in (seen, true)]
        figures = [f"{v:.1f}" for v in (error.mean(), np.abs(error).mean(), (ends[:, 1] - ends[:, 0]).mean())]
        apart = f"{np.abs(seen - true).mean():.1f}"
        yield "| " + " | ".join([name, f"`{mask}`", quantity, *figures, *held, apart]) + " |"


def measured(model: Model, mask: str, told: argparse.Namespace) -> dict[str, list[tuple[Floats, float, float]]]:
    """Return of each quantity, for each cine, its draws, what the segmenter finds and what the labels say."""
    segmenter, found = Segmenter.open(), {name: list[tuple[Floats, float, float]]() for name in QUANTITIES}
    given = options.parse(told.set, registry.sample_schema(model), "--set")
    for case in [case for path in told.scans for case in cases.find(path)][: told.cases]:
        scan, labels = cine_of(case, told.stride)
        known = masks.parse(mask).draw(scan.shape, seed=0, case=case.id)
        setting = Setting(seed=0, samples=told.draws, options=given)
        step = scan.spacing[0]
        maps, pixel = draws_of(model, scan, known, setting, segmenter)
        draws = [function_of(areas(draw, pixel), step)[0] for draw in maps]
        seen, true = (function_of(cine, step)[0] for cine in (areas(*segmented(scan, segmenter)), labels))
        for name, values in found.items():
            values.append((np.array([draw[name] for draw in draws]), seen[name], true[name]))
    return found


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scans", nargs="+", help="labelled cines, and folders of them")
    parser.add_argument("--models", nargs="*", default=["ar-vq"], help="names and checkpoints")
    parser.add_argument("--masks", nargs="*", default=["slices:every=2"])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="sampling options of all models")
    parser.add_argument("--draws", type=int, default=9)
    parser.add_argument("--stride", type=int, default=2, help="take every so many phases")
    parser.add_argument("--cases", type=int, default=1000, help="at most so many")
    told = parser.parse_args()
    print(f"Intervals of {100 * share_of(told.draws):.0f} %.\n")
    print("| " + " | ".join(HEADS) + " |\n" + "|---" * len(HEADS) + "|")
    for name in told.models:
        model, _ = checkpoint.open_model(name)
        for mask in told.masks:
            for row in rows(name, mask, measured(model, mask, told)):
                print(row, flush=True)


if __name__ == "__main__":
    main()
