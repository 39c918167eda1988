"""What drawing costs over the hidden share, and what each scale of the tokenizer adds to the round trip.

    python plugins/ar-var/benchmarks/scales.py [--threads 2] [--batch 16] [--repeats 3]
    python plugins/ar-var/benchmarks/scales.py --layouts DATA... --test TEST... [--items 1000]

The first draws frames of 128 x 128 with random weights, which cost what trained ones cost: the best of `--repeats`, in
ms a frame, wall-clock and CPU time of all threads. The second fits the closed form of tokenizers with other scales to
frames of DATA and prints the PSNR of frames of each TEST after each scale, without any trained decoder.
"""

import argparse
import time

import torch
from torch import Tensor

from cmrgz import registry
from cmrgz.data import cases
from cmrgz.data.cines import read_cine
from cmrgz.data.masks import parse
from cmrgz.plugin import Extent
from cmrgz.rng import Streams
from cmrgz.tokens.scales import ScaleTokenizer
from cmrgz.training.frames import Frames, held_out

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
LAYOUTS = (
    {"strides": "1", "levels": "6", "vocab": "1024"},
    {"strides": "16,8,4,2,1", "levels": "1,1,1,1,5", "vocab": "256,512,1024,1024,1024"},
    {"strides": "16,8,4,2,1", "levels": "2,2,2,2,4", "vocab": "256,512,1024,1024,1024"},
    {"strides": "16,8,4,2,1", "levels": "2,2,2,4,5", "vocab": "256,512,1024,1024,1024"},
    {"strides": "8,4,2,1", "levels": "2,2,4,5", "vocab": "512,1024,1024,1024"},
    {"strides": "16,4,1", "levels": "2,4,5", "vocab": "256,1024,1024"},
)


def curve(batch: int, repeats: int) -> None:
    """Print the cost of a draw over the hidden share."""
    tokenizer = registry.build_tokenizer(registry.get_tokenizer("vq-ms"), {"lloyd": 1})
    model = registry.build_model(registry.get_model("ar-var"), tokenizer, {}).eval()
    x = torch.rand(batch, 1, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for part in (tokenizer, model):
        part.fit(x, rng=Streams(0, [("fit",)]))
    for share in SHARES:
        pattern = parse(f"patch:{share}").draw((1, batch, 128, 128), seed=0)[0]
        known = torch.from_numpy(pattern)[:, None]
        times = []
        for _ in range(repeats + 1):
            wall, cpu = time.perf_counter(), time.process_time()
            with torch.inference_mode():
                model.sample(x, known, rng=Streams(0, [(i,) for i in range(batch)]))
            times.append((time.perf_counter() - wall, time.process_time() - cpu))
        walls, cpus = zip(*times[1:], strict=True)
        print(
            f"hidden {share:.1f}   {min(walls) / batch * 1e3:6.1f} ms   {min(cpus) / batch * 1e3:6.1f} ms CPU",
            flush=True,
        )


def psnr(y: Tensor, x: Tensor) -> float:
    """Return the mean PSNR in dB of items y against x in [-1, 1]."""
    error = ((y.clamp(-1, 1) - x) / 2).square().flatten(1).mean(1)
    return float((-10 * error.clamp(min=1e-8).log10()).mean())


def layouts(data: list[str], tests: list[str], items: int) -> None:
    """Print the closed-form PSNR after each scale, for several tokenizers."""
    x = Frames([cases.find(path) for path in data], Extent()).batch(0, 0, items).x
    unseen = [torch.cat([held_out(read_cine(case), Extent(), 12).x for case in cases.find(test)]) for test in tests]
    for layout in LAYOUTS:
        options = {name: tuple(map(int, value.split(","))) for name, value in layout.items()}
        tokenizer = registry.build_tokenizer(registry.get_tokenizer("vq-ms"), {**options, "lloyd": 6}).eval()
        assert isinstance(tokenizer, ScaleTokenizer)
        tokenizer.fit(x, rng=Streams(0, [("fit",)]))
        print(f"strides {layout['strides']}   levels {layout['levels']}   vocab {layout['vocab']}")
        for test, frames in zip(tests, unseen, strict=True):
            with torch.inference_mode():
                sums = tokenizer.code(tokenizer.encode(frames)).sums
                found = [psnr(tokenizer.decode(part), frames) for part in sums]
            print(f"    {test[-30:]:30s} dB " + "  ".join(f"{value:.2f}" for value in found), flush=True)


def main() -> None:
    """Parse and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layouts", nargs="+")
    parser.add_argument("--test", nargs="+")
    parser.add_argument("--items", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.layouts:
        layouts(given.layouts, given.test, given.items)
    else:
        curve(given.batch, given.repeats)


if __name__ == "__main__":
    main()
