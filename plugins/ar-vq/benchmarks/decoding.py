"""What decoding costs, beside x-transformers' own cached decoder, and what several positions a step cost in quality.

    python plugins/ar-vq/benchmarks/decoding.py [--parts ours library flat curve share] [--threads 2] [--batch 16]
    python plugins/ar-vq/benchmarks/decoding.py --quality CHECKPOINT DATA [--mask patch:0.7] [--frames 16] [--samples 4]

Both sides run in one process, in turn, with random weights, which cost what trained ones cost. A time is the best of
`--repeats`, in ms a frame: wall-clock, and CPU time of all threads, which other work on the machine disturbs less.

ours      frames of 128 x 128 with `--mask` hidden: 256 positions of 6 codes, known ones prefilled, the rest drawn
library   `AutoregressiveWrapper.generate` with its cache, as wide and deep: 256 positions of one code, nothing given
flat      the same over the 1536 codes of a frame in a row, run to the end with `--flat-batch` frames
curve     ours over the hidden share
share     where our time goes
blocks    one block of 5 phases by 3 slices: training it, and drawing it with `--mask` and with everything hidden
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

from cmrgz import checkpoint, registry
from cmrgz.data import masks
from cmrgz.evaluation import regions
from cmrgz.rng import Streams
from cmrgz.tokens.causal import TokenModel

sys.path.append(str(Path(__file__).resolve().parents[3] / "examples"))
from inpainting_table import draws, items, unit  # noqa: E402  # how the tables of the examples are made

PARALLEL = (1, 2, 4, 8, 16)
PARTS = ("ours", "library", "flat", "curve", "share", "blocks")
Time = tuple[float, float]
"""Wall-clock and CPU time in ms a frame."""


def best(call: Callable[[], Any], frames: int, repeats: int) -> Time:
    """Return the best times of a call that makes `frames` frames, after one call to warm up."""
    if repeats > 1:
        call()
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    walls, cpus = zip(*times, strict=True)
    return min(walls) / frames * 1e3, min(cpus) / frames * 1e3


def row(name: str, own: Time, reference: Time | None = None) -> None:
    """Print one row, with how many times faster or slower than the reference it is."""
    ratio = f"   {own[0] / reference[0]:6.1f} x   {own[1] / reference[1]:6.1f} x" if reference else ""
    print(f"{name:44s} {own[0]:9.1f} ms {own[1]:9.1f} ms CPU{ratio}", flush=True)


class Ours:
    """A model with random weights, and frames or blocks for it."""

    def __init__(self, batch: int, axes: str = "yx", item: tuple[int, ...] = (128, 128)) -> None:
        tokenizer = registry.build_tokenizer(registry.tokenizers()["vq"].require(), {"lloyd": 1})
        model = registry.build_model(registry.models()["ar-vq"].require(), tokenizer, {"axes": axes})
        assert isinstance(model, TokenModel)
        self.x = torch.rand(batch, 1, *item, generator=torch.Generator().manual_seed(0)) * 2 - 1
        tokenizer.fit(self.x.reshape(-1, 1, 128, 128), rng=Streams(0, [("fit",)]))
        model.fit(self.x, rng=Streams(0, [("fit",)]))
        self.model, self.batch = model.eval(), batch

    def known(self, mask: str) -> torch.Tensor:
        """Return the known pixels of the frames."""
        return torch.from_numpy(masks.parse(mask).draw((1, self.batch, 128, 128), seed=0)[0][:, None])

    def call(self, mask: str, parallel: int) -> Callable[[], Any]:
        """Return what draws all frames once."""
        known, rng = self.known(mask), [(i,) for i in range(self.batch)]

        def run() -> None:
            with torch.inference_mode():
                self.model.sample(self.x * known, known, rng=Streams(0, rng), parallel=parallel)

        return run


def library(length: int, batch: int, flash: bool) -> Callable[[], Any]:
    """Return what generates `length` codes with x-transformers' own cache, everything sampled."""
    layers = Decoder(
        dim=192,
        depth=6,
        heads=6,
        attn_dim_head=32,
        ff_glu=True,
        ff_swish=True,
        ff_no_bias=True,
        ff_mult=2,
        use_rmsnorm=True,
        rotary_pos_emb=True,
        rotary_emb_dim=32,
        attn_flash=flash,
    )
    net = TransformerWrapper(num_tokens=1024, max_seq_len=length + 1, use_abs_pos_emb=False, attn_layers=layers)
    wrapped = AutoregressiveWrapper(net.eval()).eval()
    start = torch.zeros(batch, 1, dtype=torch.long)

    def run() -> None:
        with torch.inference_mode():
            wrapped.generate(start, length, cache_kv=True, filter_logits_fn=lambda logits: logits)

    return run


def compare(given: argparse.Namespace) -> None:
    """Time ours and the library's, and print ratios to ours at `parallel` 1 and at its default."""
    ours = Ours(given.batch)
    own = {p: best(ours.call(given.mask, p), given.batch, given.repeats) for p in given.parallel}
    whole = best(ours.call("patch:1", 8), given.batch, given.repeats)
    reference = own.get(8, next(iter(own.values())))
    print(f"\n{given.batch} frames at once; ratios to ours at parallel 8, {given.mask}")
    for p in given.parallel:
        row(f"ours, parallel {p}", own[p], reference)
    row("ours, everything hidden, parallel 8", whole, reference)
    if "library" in given.parts:
        times = [best(library(256, given.batch, flash), given.batch, given.repeats) for flash in (False, True)]
        row("x-transformers, 256 codes (one a position)", min(times), reference)
    if "flat" in given.parts:
        flat = best(library(1536, given.flat_batch, False), given.flat_batch, 1)
        row(f"x-transformers, 1536 codes, batch {given.flat_batch}", flat, reference)
        small = best(Ours(given.flat_batch).call("patch:1", 8), given.flat_batch, given.repeats)
        row(f"ours, everything hidden, batch {given.flat_batch}", small, reference)


def curve(given: argparse.Namespace) -> None:
    """Print our cost over the hidden share."""
    ours = Ours(given.batch)
    print("\nhidden share, parallel 8")
    for tenth in range(1, 11):
        row(f"{tenth / 10:.1f}", best(ours.call(f"patch:{tenth / 10}", 8), given.batch, given.repeats))


def blocks(given: argparse.Namespace) -> None:
    """Print what a block costs in training, and to draw with the default options."""
    ours = Ours(1, "tzyx", (5, 3, 128, 128))
    model, rng = ours.model, Streams(0, [(0,)])
    for name, mask in ((given.mask, given.mask), ("everything hidden", "patch:1")):
        known = torch.from_numpy(masks.parse(mask).draw((5, 3, 128, 128), seed=0)[None, None])

        def run(known: torch.Tensor = known) -> None:
            with torch.inference_mode():
                model.sample(ours.x * known, known, rng=rng)

        row(f"a block, {name}", best(run, 1, given.repeats))
    model.train()
    steps = iter(range(1000))
    row("training on a block", best(lambda: model.loss(ours.x, rng=Streams(next(steps), [(0,)])).backward(), 1, 6))


class Stopwatch:
    """Adds up the CPU time of functions, by name; one inside another counts for the inner one."""

    def __init__(self) -> None:
        self.total: dict[str, float] = {}
        self._inner = [0.0]

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, timed."""

        def timed(*args: Any, **options: Any) -> Any:
            self._inner.append(0.0)
            start = time.process_time()
            try:
                return function(*args, **options)
            finally:
                spent = time.process_time() - start
                self.total[name] = self.total.get(name, 0.0) + spent - self._inner.pop()
                self._inner[-1] += spent

        return timed


def share(given: argparse.Namespace) -> None:
    """Print which parts of a draw take which share of its CPU time."""
    ours, watch = Ours(given.batch), Stopwatch()
    model, run = ours.model, ours.call(given.mask, 8)
    run()
    network, tokenizer = model.network, model.tokenizer
    frozen = network.frozen_logits
    inside: dict[str, Any] = {"start": network.start, "extend": network.extend, "forward": network.forward}
    for name, function in inside.items():
        setattr(network, name, watch.wrap(f"network: {name}", function))
    network.frozen_logits = lambda: watch.wrap("network: logits", frozen())  # type: ignore[method-assign]
    tokenizer.decode = watch.wrap("tokenizer: decode", tokenizer.decode)  # type: ignore[method-assign]
    model.evidence = watch.wrap("hints", model.evidence)  # type: ignore[method-assign]
    watch.wrap("drawing codes and the loop", run)()
    total = sum(watch.total.values())
    print(f"\nshare of the CPU time, parallel 8, {given.mask}")
    for name, spent in sorted(watch.total.items(), key=lambda part: -part[1]):
        print(f"{name:44s} {spent / total:9.1%} {spent / given.batch * 1e3:9.1f} ms")
    outside = 1 - sum(v for k, v in watch.total.items() if k.startswith("network")) / total
    print(f"{'outside of the network':44s} {outside:9.1%}", flush=True)


def paired(values: np.ndarray, reference: np.ndarray) -> str:
    """Return the mean difference over frames and its standard error, which frames of one patient make optimistic."""
    apart = values - reference
    return f"{np.nanmean(apart):+.4f} +- {np.nanstd(apart, ddof=1) / np.sqrt(np.isfinite(apart).sum()):.4f}"


def quality(given: argparse.Namespace) -> None:
    """Print hole PSNR and energy score of each `parallel`, and the paired differences to the first."""
    model, _ = checkpoint.open_model(given.quality[0])
    batch = items(given.quality[1:], given.frames)
    truth = unit(batch.x)
    seen = masks.parse(given.mask).draw((1, *truth.shape), seed=0)[0]
    first = None
    print(
        f"{len(truth)} frames, {given.mask}, {given.samples} samples each; differences to parallel {given.parallel[0]}"
    )
    for p in given.parallel:
        start = time.process_time()
        drawn = draws(model, batch, torch.from_numpy(seen[:, None]), given.samples, {"parallel": p})
        cpu = (time.process_time() - start) / drawn[:, :, 0, 0].size * 1e3
        one = np.mean([regions.psnr_frames(sample, truth, ~seen) for sample in drawn], 0)
        mean, score = regions.psnr_frames(drawn.mean(0), truth, ~seen), regions.energy_score_frames(drawn, truth, ~seen)
        first = (one, mean, score) if first is None else first
        print(f"parallel {p:2d}   {cpu:7.1f} ms CPU a draw")
        for name, own, reference in zip(
            ("PSNR, a sample", "PSNR, the mean", "energy score"), (one, mean, score), first, strict=True
        ):
            print(f"  {name:16s} {np.nanmean(own):8.4f}   {paired(own, reference)}", flush=True)


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--parallel", nargs="+", type=int, default=list(PARALLEL))
    parser.add_argument("--mask", default="patch:0.7")
    parser.add_argument("--batch", type=int, default=16, help="frames at once")
    parser.add_argument("--flat-batch", type=int, default=4, help="frames at once of the long run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quality", nargs="+", metavar="PATH", help="a checkpoint and data sets; no timing")
    parser.add_argument("--frames", type=int, default=16, help="per case, for --quality")
    parser.add_argument("--samples", type=int, default=4, help="per frame, for --quality")
    given = parser.parse_args()
    if given.quality and len(given.quality) < 2:
        parser.error("--quality needs a checkpoint and data")
    return given


def main() -> None:
    """Parse and run the parts that are asked for."""
    given = parse()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    if given.quality:
        return quality(given)
    print(f"torch {torch.__version__}, {given.threads} threads")
    if {"ours", "library", "flat"} & set(given.parts):
        compare(given)
    if "curve" in given.parts:
        curve(given)
    if "share" in given.parts:
        share(given)
    if "blocks" in given.parts:
        blocks(given)


if __name__ == "__main__":
    main()
