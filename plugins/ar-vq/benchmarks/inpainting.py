"""How well a checkpoint fills holes, beside what needs no model and what no model can pass.

    python plugins/ar-vq/benchmarks/inpainting.py TEST... --bank TRAIN... [--model ar-vq] [--mask patch:0.7]

Prints PSNR and SSIM inside the hole, mean over frames and its standard error, of heart-centred frames: trivial fills,
copies of training frames, one sample, the mean of several, and the tokenizer's round trip (the ceiling).
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cmrgz import checkpoint
from cmrgz.data import cases, masks
from cmrgz.evaluation import baselines, regions
from cmrgz.model import CodeTokenizer, Model
from cmrgz.rng import Streams
from cmrgz.tokens.model import TokenModel
from cmrgz.training.frames import Batch, held_out, read_clip

Floats = NDArray[np.float32]


def items(paths: Sequence[str], most: int) -> Batch:
    """Return heart-centred frames of every case, `most` a case."""
    batches = [held_out(read_clip(case), (128, 128), most) for path in paths for case in cases.find(path)]
    names = batches[0].condition
    return Batch(
        torch.cat([b.x for b in batches]), {name: torch.cat([b.condition[name] for b in batches]) for name in names}
    )


def unit(x: torch.Tensor) -> Floats:
    """Return frames (n, h, w) in [0, 1] of items (n, 1, h, w) in [-1, 1]."""
    return ((x[:, 0].clamp(-1, 1) + 1) / 2).numpy()


def draws(model: Model, batch: Batch, known: torch.Tensor, samples: int, options: dict[str, Any]) -> Floats:
    """Return (samples, n, h, w) draws in [0, 1], known pixels pasted."""
    result = []
    for k in range(samples):
        parts = []
        for start in range(0, len(batch.x), 16):
            part = slice(start, start + 16)
            x, seen = batch.x[part], known[part]
            condition = {name: value[part] for name, value in batch.condition.items()}
            rng = Streams(0, [(k, start + i) for i in range(len(x))])
            with torch.inference_mode():
                y = model.sample(torch.where(seen, x, 0.0), seen, condition=condition, rng=rng, **options)
            parts.append(torch.where(seen, x, y))
        result.append(unit(torch.cat(parts)))
    return np.stack(result)


def round_trip(model: Model, x: torch.Tensor) -> Floats:
    """Return the tokenizer's reconstruction of items."""
    tokenizer = model.tokenizer if isinstance(model, TokenModel) else None
    assert isinstance(tokenizer, CodeTokenizer)
    with torch.inference_mode():
        codes = tokenizer.quantise(tokenizer.encode(x))
        total = torch.stack([tokenizer.embed(codes[..., i], i) for i in range(tokenizer.levels)]).sum(0)
        return unit(tokenizer.decode(total.movedim(-1, 1)))


def report(name: str, filled: NDArray[Any], truth: Floats, known: NDArray[np.bool_]) -> None:
    """Print one row."""
    composite = np.where(known, truth, filled)
    psnr = regions.psnr_frames(composite, truth, ~known)
    ssim = regions.ssim_frames(composite, truth, ~known)
    error = np.nanstd(psnr, ddof=1) / np.sqrt(len(psnr))
    print(f"{name:24s} {np.nanmean(psnr):6.2f} +- {error:4.2f} dB   SSIM {np.nanmean(ssim):.3f}", flush=True)


def main() -> None:
    """Parse, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("test", nargs="+")
    parser.add_argument("--bank", nargs="*", default=[])
    parser.add_argument("--model", default="ar-vq")
    parser.add_argument("--mask", default="patch:0.7")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--frames", type=int, default=16, help="per case")
    parser.add_argument("--set", nargs="*", default=[], help="name=integer options of sample")
    given = parser.parse_args()
    batch = items(given.test, given.frames)
    truth = unit(batch.x)
    seen = masks.parse(given.mask).draw((1, *truth.shape), seed=0)[0]
    known = torch.from_numpy(seen[:, None])
    print(f"{len(truth)} frames, {given.mask}: {1 - seen.mean():.3f} hidden")
    for name in ("mean_fill", "harmonic", "biharmonic"):
        report(name, getattr(baselines, name)(truth, seen), truth, seen)
    if given.bank:
        bank = unit(items(given.bank, 1000).x)
        report("nearest neighbour", baselines.nearest_neighbour(truth, seen, bank), truth, seen)
        report("mean of 8 neighbours", baselines.neighbours_mean(truth, seen, bank), truth, seen)
    model, _ = checkpoint.open_model(given.model)
    options: dict[str, Any] = {name: int(value) for name, value in (pair.split("=") for pair in given.set)}
    drawn = draws(model, batch, known, given.samples, options)
    report("one sample", drawn[0], truth, seen)
    report(f"mean of {given.samples} samples", drawn.mean(0), truth, seen)
    report("tokenizer round trip", round_trip(model, batch.x), truth, seen)
    score = regions.energy_score(drawn, truth, ~seen)
    print(f"energy score {float(np.mean(score)):.4f}")


if __name__ == "__main__":
    main()
