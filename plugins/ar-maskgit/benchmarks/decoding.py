"""What drawing many positions a step costs, beside one at a time and beside a causal model, and over the hidden share.

    python plugins/ar-maskgit/benchmarks/decoding.py [--mask patch:0.7] [--threads 2] [--batch 16] [--repeats 3]

Both models run in one process, in turn, on the same frames and masks, with random weights, which cost what trained ones
cost. A time is the best of `--repeats`, in ms a frame: wall-clock, and CPU time of all threads, which other work on the
machine disturbs less. What the steps cost in quality is for trained weights to say:

    python examples/inpainting_table.py TEST --models ar-maskgit:steps=4 ar-maskgit ar-vq:parallel=1 ar-vq
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from cmrgz import registry
from cmrgz.calls import CallCounter
from cmrgz.data import masks
from cmrgz.model import Model
from cmrgz.rng import Streams

ROWS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ar-maskgit", {"steps": 256}),
    ("ar-maskgit", {"steps": 32}),
    ("ar-maskgit", {}),
    ("ar-maskgit", {"steps": 4}),
    ("ar-maskgit", {"order": "confidence"}),
    ("ar-maskgit", {"remask": 2}),
    ("ar-maskgit", {"output": "mean"}),
    ("ar-vq", {"parallel": 1}),
    ("ar-vq", {"parallel": 4}),
    ("ar-vq", {}),
    ("ar-vq", {"parallel": 16}),
    ("ar-vq", {"output": "mean"}),
)
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


def build(name: str, x: torch.Tensor) -> Model:
    """Return a registered model with random weights, fitted to items."""
    tokenizer = registry.build_tokenizer(registry.tokenizers()["vq"].require(), {"lloyd": 1})
    model = registry.build_model(registry.models()[name].require(), tokenizer, {})
    for part in (tokenizer, model):
        part.fit(x, rng=Streams(0, [("fit",)]))
    return model.eval()


def best(call: Callable[[], Any], frames: int, repeats: int) -> tuple[float, float]:
    """Return the best wall-clock and CPU times of a call in ms a frame."""
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    walls, cpus = zip(*times, strict=True)
    return min(walls) / frames * 1e3, min(cpus) / frames * 1e3


def measure(
    model: Model, x: torch.Tensor, mask: str, repeats: int, options: dict[str, Any]
) -> tuple[int, float, float]:
    """Return network calls, and times in ms a frame, of filling what a mask hides."""
    known = torch.from_numpy(masks.parse(mask).draw((1, len(x), *x.shape[2:]), seed=0)[0][:, None])

    def run() -> None:
        with torch.inference_mode():
            model.sample(x * known, known, rng=Streams(0, [(i,) for i in range(len(x))]), **options)

    with CallCounter(model) as calls:
        run()
    return calls.count, *best(run, len(x), repeats)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mask", default="patch:0.7")
    parser.add_argument("--batch", type=int, default=16, help="frames at once")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    x = torch.rand(given.batch, 1, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    models = {name: build(name, x) for name in ("ar-maskgit", "ar-vq")}
    print(f"{given.batch} frames at once, {given.mask}, {given.threads} threads")
    for name, options in ROWS:
        calls, wall, cpu = measure(models[name], x, given.mask, given.repeats, options)
        label = ", ".join([name, *(f"{key}={value}" for key, value in options.items())])
        print(f"{label:32s} {calls:5d} calls {wall:8.1f} ms {cpu:8.1f} ms CPU", flush=True)
    print("\nhidden share, defaults")
    for share in SHARES:
        for name, model in models.items():
            calls, wall, cpu = measure(model, x, f"patch:{share}", given.repeats, {})
            print(f"{share:4.2f} {name:12s} {calls:5d} calls {wall:8.1f} ms {cpu:8.1f} ms CPU", flush=True)


if __name__ == "__main__":
    main()
