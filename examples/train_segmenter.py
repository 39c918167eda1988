"""Train the segmenter on labelled cines, and say how well it labels others.

    python examples/train_segmenter.py DATA... --test DATA... --out segmenter.safetensors

Each DATA is a data set with label maps (1 right ventricle, 2 myocardium, 3 left ventricle); those that lack a class are
used for what they have. Prints the Dice of each class over the labelled heart-centred frames of each test subject, and
how volumes agree where all classes are labelled in all frames. Without DATA the segmenter of `--out`, or else the
bundled one, is tested as it is.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmrgz.anatomy.agreement import agreement
from cmrgz.anatomy.function import UNITS, areas, biomarkers
from cmrgz.anatomy.segmenter import Segmenter
from cmrgz.anatomy.segmenter.labelled import HEART, SIDE, labelled
from cmrgz.anatomy.segmenter.stored import save
from cmrgz.anatomy.segmenter.training import train
from cmrgz.data import cases
from cmrgz.data.cines import Cine, crop, read_cine


def read(path: str, most: int | None) -> list[Cine]:
    """Return the cines of a data set."""
    return [read_cine(case, labels=True) for case in cases.find(path)[:most]]


def dice(segmenter: Segmenter, cine: Cine) -> list[float]:
    """Return the Dice of each class over the labelled frames of a subject, NaN for a class that is not drawn."""
    frames, corner = labelled(cine), cine.corner((SIDE, SIDE))
    images = np.stack([crop(f.image, corner, (SIDE, SIDE), 0).astype(np.float32) for f in frames])
    bits = np.stack([crop(f.bits, corner, (SIDE, SIDE), 1) for f in frames])
    found = segmenter.segment(images)
    scores = []
    for c in HEART:
        true, unsure = bits == 1 << c, (bits >> c & 1 == 1) & (bits != 1 << c)
        seen = true.any((1, 2)) | ~unsure.any((1, 2))  # a frame in which the class was looked for
        a, b = true[seen] & ~unsure[seen], (found[seen] == c) & ~unsure[seen]
        scores.append(float(2 * (a & b).sum() / (a.sum() + b.sum())) if a.any() else float("nan"))
    return scores


def functions(segmenter: Segmenter, cine: Cine) -> tuple[dict[str, float], dict[str, float]] | None:
    """Return the biomarkers of a subject by its labels and by the segmenter, None where a frame lacks a class."""
    maps = cine.labels
    if maps is None or not all(set(HEART) <= set(np.unique(frame)) for frame in maps):
        return None
    (step, height, width), corner = cine.spacing, cine.corner((SIDE, SIDE))
    labels = np.stack([[crop(plane, corner, (SIDE, SIDE), 0) for plane in frame] for frame in maps])
    images = np.stack([crop(plane, corner, (SIDE, SIDE), -1.0) for frame in cine.frames for plane in frame])
    found = segmenter.segment((images.astype(np.float32) + 1) / 2).reshape(labels.shape)
    truth, result = (areas(m, height * width) for m in (labels, found))
    return biomarkers(truth, result, step)


def table(segmenter: Segmenter, paths: Sequence[str], most: int | None) -> None:
    """Print the Dice of each test subject, and of all subjects of a data set."""
    print(f"{'subject':20s}     RV  myocardium     LV")
    for path in paths:
        cines = read(path, most)
        scores = np.array([dice(segmenter, cine) for cine in cines])
        rows = [(cine.subject, row) for cine, row in zip(cines, scores, strict=True)]
        rows += [(f"mean of {len(cines)}", scores.mean(0))] if len(cines) > 1 else []
        for subject, (right, wall, left) in rows:
            print(f"{subject:20s}  {right:.3f}       {wall:.3f}  {left:.3f}")
        pairs = [pair for cine in cines if (pair := functions(segmenter, cine)) is not None]
        for name, unit in UNITS.items() if len(pairs) > 1 else ():
            found = agreement([b[name] for _, b in pairs], [a[name] for a, _ in pairs])
            scale, unit = (1, unit) if unit else (100, "points")
            bias, low, high = (scale * value for value in (found.bias, *found.limits))
            print(f"{name:7s} bias {bias:+6.2f}, limits of agreement {low:+6.2f} .. {high:+6.2f} {unit}, n = {found.n}")


def main() -> None:
    """Parse, train, test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", nargs="*")
    parser.add_argument("--shares", nargs="*", type=float, default=[], help="weight of each data set")
    parser.add_argument("--test", nargs="*", default=[])
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=None, help="subjects of a data set")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    if given.data:
        if given.out is None:
            parser.error("training needs --out")
        sources = [[frame for cine in read(path, given.most) for frame in labelled(cine)] for path in given.data]
        network = train(sources, given.steps, given.shares, given.seed, report=print_loss)
        save(given.out, network)
    table(Segmenter.open(given.out), given.test, given.most)


def print_loss(step: int, loss: float) -> None:
    """Print every hundredth loss."""
    if step % 100 == 0:
        print(f"step {step}: loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    main()
