"""How well models fill holes, beside what needs no model and what no model can pass.

    python examples/inpainting_table.py TEST... --bank TRAIN... --models ar-vq ldm-unet --masks patch:0.5 box:0.25

Prints PSNR and SSIM inside the hole, mean over heart-centred frames and its standard error: trivial fills, copies of
training frames, and for each model one sample, the mean of several, their energy score, and its tokenizer's round trip
(the ceiling). All models see the same frames and masks, at 1.4 mm; one of blocks sees blocks of one frame. A model with
options is written NAME:option=value,option=value.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cmrgz import checkpoint, options, registry
from cmrgz.data import cases, masks
from cmrgz.data.cines import read_cine
from cmrgz.evaluation import baselines, regions
from cmrgz.model import Model, Tokenizer
from cmrgz.plugin import Extent
from cmrgz.rng import Streams
from cmrgz.training.frames import Batch, held_out

Floats = NDArray[np.float32]
BATCH = 16


def items(paths: Sequence[str], most: int) -> Batch:
    """Return heart-centred frames of every case, `most` a case."""
    batches = [held_out(read_cine(case), Extent(), most) for path in paths for case in cases.find(path)]
    names = batches[0].condition
    return Batch(
        torch.cat([b.x for b in batches]), {name: torch.cat([b.condition[name] for b in batches]) for name in names}
    )


def unit(x: torch.Tensor) -> Floats:
    """Return frames (n, h, w) in [0, 1] of items (n, 1, h, w) in [-1, 1]."""
    return ((x[:, 0].clamp(-1, 1) + 1) / 2).numpy()


def draws(model: Model, batch: Batch, known: torch.Tensor, samples: int, given: dict[str, Any]) -> Floats:
    """Return (samples, n, h, w) draws in [0, 1], known pixels pasted."""
    result, frames = [], [1 for _ in model.extent.axes[:-2]]
    for k in range(samples):
        parts = []
        for start in range(0, len(batch.x), BATCH):
            part = slice(start, start + BATCH)
            x, seen = batch.x[part], known[part]
            condition = {name: value[part] for name, value in batch.condition.items()}
            rng = Streams(0, [(k, start + i) for i in range(len(x))])
            with torch.inference_mode():
                item = (len(x), 1, *frames, *x.shape[2:])
                shown = torch.where(seen, x, 0.0).view(item), seen.reshape(item)
                y = model.sample(*shown, condition=condition, rng=rng, **given).view_as(x)
            parts.append(torch.where(seen, x, y))
        result.append(unit(torch.cat(parts)))
    return np.stack(result)


def round_trip(tokenizer: Tokenizer, x: torch.Tensor) -> Floats:
    """Return the tokenizer's reconstruction of items."""
    with torch.inference_mode():
        return unit(tokenizer.reconstruct(x))


def report(name: str, filled: NDArray[Any], truth: Floats, known: NDArray[np.bool_], more: str = "") -> None:
    """Print one row."""
    composite = np.where(known, truth, filled)
    psnr = regions.psnr_frames(composite, truth, ~known)
    ssim = regions.ssim_frames(composite, truth, ~known)
    error = np.nanstd(psnr, ddof=1) / np.sqrt(len(psnr))
    print(f"{name:40s} {np.nanmean(psnr):6.2f} +- {error:4.2f} dB   SSIM {np.nanmean(ssim):.3f}{more}", flush=True)


def report_model(text: str, batch: Batch, known: torch.Tensor, samples: int, ceiling: bool) -> None:
    """Print the rows of a model, given as NAME:option=value,..."""
    target, _, assignments = text.partition(":")
    model, _ = checkpoint.open_model(target)
    schema = registry.sample_schema(model)
    given = options.parse([a for a in assignments.split(",") if a], schema, "--models")
    truth, seen = unit(batch.x), known[:, 0].numpy()
    start = time.perf_counter()
    drawn = draws(model, batch, known, samples, given)
    seconds = (time.perf_counter() - start) / (samples * len(truth))
    label = text.removesuffix("/checkpoint")[-28:]
    report(f"{label}, one sample", drawn[0], truth, seen)
    score = float(np.nanmean(regions.energy_score_frames(drawn, truth, ~seen))) if samples > 1 else float("nan")
    more = f"   energy score {score:.4f}   {1000 * seconds:.0f} ms a draw"
    report(f"{label}, mean of {samples}", drawn.mean(0), truth, seen, more)
    if ceiling:
        report(f"{label}, round trip", round_trip(model.tokenizer, batch.x), truth, seen)


def main() -> None:
    """Parse, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("test", nargs="+")
    parser.add_argument("--bank", nargs="*", default=[])
    parser.add_argument("--models", nargs="*", default=["ar-vq"])
    parser.add_argument("--masks", nargs="*", default=["patch:0.7"])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--frames", type=int, default=16, help="per case")
    given = parser.parse_args()
    batch = items(given.test, given.frames)
    truth = unit(batch.x)
    bank = unit(items(given.bank, 1000).x) if given.bank else None
    for number, mask in enumerate(given.masks):
        seen = masks.parse(mask).draw((1, *truth.shape), seed=0)[0]
        print(f"\n{len(truth)} frames, {mask}: {1 - seen.mean():.3f} hidden")
        for name in ("mean_fill", "harmonic", "biharmonic"):
            report(name, getattr(baselines, name)(truth, seen), truth, seen)
        if bank is not None:
            report("nearest neighbour", baselines.nearest_neighbour(truth, seen, bank), truth, seen)
            report("mean of 8 neighbours", baselines.neighbours_mean(truth, seen, bank), truth, seen)
        for text in given.models:
            report_model(text, batch, torch.from_numpy(seen[:, None]), given.samples, ceiling=number == 0)


if __name__ == "__main__":
    main()
