"""What a GPU does with every model: agreement with the CPU, repeats, and speed beside what the card can do.

    python examples/benchmarks/gpu.py OUT [--seconds 330] [--device cuda:0] [--only SECTION]
    python examples/benchmarks/gpu.py OUT --device cpu --tiny --seconds 60

Sections run in order of worth, each in its share of the time, and one that fails does not stop the others. Every line
of OUT/gpu.jsonl is written when it is known. The second command runs every line of this script without a GPU.
"""

import argparse
import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from book import Book, Case, apart, synchronised, timed
from torch import Tensor, nn

from cmrgz.arithmetic import autocast, exact, repeatable
from cmrgz.calls import COMPUTE_BATCH, Caller, Items, Setting
from cmrgz.model import Model
from cmrgz.pieces import Pieces, require_compiler
from cmrgz.rng import Streams
from cmrgz.sending import device_of
from cmrgz.testing.subject import items

SHARES = {"ceilings": 0.05, "agreement": 0.25, "slots": 0.10, "sampling": 0.25, "training": 0.25, "compiling": 0.10}
FAMILIES = ("ar-vq", "ldm-unet", "ldm-dit", "ar-maskgit", "ar-var", "ar-mar", "flow-dit")
TRAINED, COMPILED = FAMILIES[:4], ("ldm-dit",)
FEW = 4
"""Items of a comparison."""


def streams(n: int, first: int = 0) -> Streams:
    """Return the streams of n items."""
    return Streams(0, [("item", first + i) for i in range(n)])


def draw(model: Model, x: Tensor, known: Tensor, keys: Streams | None = None) -> Tensor:
    """Return what a model draws by its default options, on its device."""
    device = device_of(model)
    with torch.inference_mode(), exact():
        return model.sample(x.to(device), known.to(device), rng=keys or streams(len(x)))


def gradient(model: Model, x: Tensor, precision: str = "fp32", pieces: Pieces | None = None) -> Tensor:
    """Return all gradients, and the loss, one after another; of a step in pieces where they are given."""
    device = device_of(model)
    model.train().zero_grad(set_to_none=True)
    with pieces.in_use() if pieces else nullcontext():
        with autocast(device, precision):
            loss = model.loss(x.to(device), rng=streams(len(x)))
        loss.backward()
    model.eval()
    parts = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat([*parts, loss.detach().reshape(1)])


def ceilings(book: Book) -> None:
    """What the card can do: products of matrices, copies, launches."""
    device, n = book.device, 512 if book.tiny else 8192
    for name, dtype, cut in (("bf16", torch.bfloat16, 0), ("tf32", torch.float32, 1), ("fp32", torch.float32, 0)):
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        torch.backends.cuda.matmul.allow_tf32 = bool(cut)
        seconds = timed(lambda a=a, b=b: a @ b, device, 0.5)[0]
        book.write(ceiling=name, tflops=2 * n**3 / seconds / 1e12)
    torch.backends.cuda.matmul.allow_tf32 = False
    a = torch.empty((1 << 20) if book.tiny else (1 << 30), device=device)
    book.write(ceiling="copy", gbytes=2 * a.nbytes / timed(a.clone, device, 0.5)[0] / 1e9)
    small = torch.ones(8, device=device)
    seconds = timed(lambda: [small.add_(1) for _ in range(1000)], device, 0.5)[0]
    book.write(ceiling="launch", us=seconds * 1e3)


def agreement(book: Book) -> None:
    """The CPU against the card: losses, gradients and draws; and whether the same step gives the same bits."""

    def compare(case: Case) -> None:
        x, known = case.items(FEW)
        real = items(FEW, case.size)
        with torch.random.fork_rng():
            want, drawn = gradient(case.model, real), draw(case.model, x, known)
            there = case.there(book.device)
            row: dict[str, Any] = {"model": case.name}
            with exact():
                row["gradient"] = apart(gradient(there, real), want)
            row["gradient_bf16"] = apart(gradient(there, real, "bf16"), want)
            with repeatable(book.device):
                plain, pieces = gradient(there, real), Pieces()
                row["gradient_repeats"] = torch.equal(gradient(there, real), plain)
                row["pieces_repeat"] = [torch.equal(gradient(there, real, pieces=pieces), plain) for _ in range(4)]
            got = draw(there, x, known)
        near = (got.cpu() - drawn).abs().flatten(1).amax(1) < 1e-3  # a code flips, or it does not
        book.write(**row, draw=apart(got, drawn), items_alike=int(near.sum()), of=FEW)

    book.each(FAMILIES, compare)


def slots(book: Book) -> None:
    """Whether an item has the same bits again, in another slot of a full call, and in a smaller call."""

    def compare(case: Case) -> None:
        full = full_call(book, case)
        there, (x, known) = case.there(book.device), case.items(full)
        base, again = draw(there, x, known), draw(there, x, known)
        turn = torch.arange(full).roll(3)
        moved = draw(there, x[turn], known[turn], Streams(0, [("item", int(i)) for i in turn]))
        half = draw(there, x[: full // 2], known[: full // 2])
        book.write(
            model=case.name,
            call=full,
            repeats=torch.equal(base, again),
            other_slot=torch.equal(moved, base[turn.to(base.device)]),
            half_call=torch.equal(half, base[: full // 2]),
            half_call_apart=apart(half, base[: full // 2]),
        )

    book.each(FAMILIES, compare)


def full_call(book: Book, case: Case) -> int:
    """Return how many items a full call has."""
    frames = 1
    for length in case.size[:-2]:
        frames *= length
    return 8 if book.tiny else max(2, COMPUTE_BATCH.get(book.device.type, 16) // frames)


def sampling(book: Book) -> None:
    """Items a second in full calls, as `cmrgz inpaint` makes them, and how busy the card is."""

    def measure(case: Case) -> None:
        full = full_call(book, case)
        there, (x, known) = case.there(book.device), case.items(full)
        given = Items(x[:, 0].numpy(), known[:, 0].numpy(), [(0, i) for i in range(full)], {})
        for precision in ("fp32", "bf16"):
            caller = Caller(there, Setting(precision=precision))  # type: ignore[arg-type]
            caller.size = full
            call = lambda caller=caller: caller.draw(given)  # noqa: E731
            whole, host = timed(call, book.device, 0.1 if book.tiny else 3, 1 if book.tiny else 2)
            row = {"model": case.name, "precision": precision, "call": full, "seconds": whole, "items_s": full / whole}
            book.write(**row, host=host, **busy(call, book.device, whole))

    book.each(FAMILIES, measure)


def busy(call: Callable[[], object], device: torch.device, whole: float) -> dict[str, Any]:
    """Return the kernels of a call, the share of the time in which they run, and the memory."""
    if device.type != "cuda":
        return {}
    torch.cuda.reset_peak_memory_stats(device)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        synchronised(device)
    events = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    seconds = sum(e.device_time_total for e in events) / 1e6
    memory = torch.cuda.max_memory_allocated(device) / 2**30
    return {"kernels": len(events), "busy": seconds, "share_busy": seconds / whole, "memory_gb": memory}


def steps(book: Book, case: Case, batch: int, precision: str, pieces: Pieces | None, kind: str) -> None:
    """Write how many items a second are trained with, repeatable as it is in use."""
    there, x = case.there(book.device), items(batch, case.size).to(book.device)
    weights = [p for p in there.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-5, fused=book.device.type == "cuda")

    def step() -> None:
        gradient(there, x, precision, pieces)
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()

    with repeatable(book.device):
        start = time.monotonic()
        for _ in range(2):  # the second is recorded
            step()
        first = time.monotonic() - start
        whole, host = timed(step, book.device, 0.1 if book.tiny else 1.5, 1 if book.tiny else 3)
    row = {"model": case.name, "batch": batch, "precision": precision, "kind": kind, "seconds": whole}
    book.write(**row, host=host, items_s=batch / whole, first_two=first, **memory(book.device))


def memory(device: torch.device) -> dict[str, float]:
    """Return the most memory of a GPU since it was asked before."""
    if device.type != "cuda":
        return {}
    most = torch.cuda.max_memory_reserved(device) / 2**30
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return {"memory_gb": most}


def training(book: Book) -> None:
    """Items a second in training steps, small and large, in both precisions, kernel by kernel and in pieces."""

    def measure(case: Case) -> None:
        few = 2 if book.tiny else 16 if len(case.size) == 2 else 4
        for batch in (few, few if book.tiny else 8 * few):
            for precision in ("fp32", "bf16"):
                steps(book, case, batch, precision, None, "kernels")
                steps(book, case, batch, precision, Pieces(), "pieces")
                if case.name.split()[0] == "ldm-unet":  # of the convolutions that cuDNN has for it
                    case.model.network.to(memory_format=torch.channels_last)  # type: ignore[operator,union-attr]
                    steps(book, case, batch, precision, Pieces(), "channels_last")
                    case.model.network.to(memory_format=torch.contiguous_format)  # type: ignore[operator,union-attr]

    book.each(TRAINED, measure)


def compiling(book: Book) -> None:
    """Items a second in training steps that are compiled, as by `--set compile=true`."""

    def measure(case: Case) -> None:
        for precision in ("fp32",) if book.tiny else ("fp32", "bf16"):
            steps(book, case, 2 if book.tiny else 16, precision, Pieces(compiled=True), "compiled")

    require_compiler(book.device)
    book.each(COMPILED, measure)


SECTIONS = {section.__name__: section for section in (ceilings, agreement, slots, sampling, training, compiling)}


def main() -> None:
    """Run all sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=330)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--tiny", action="store_true", help="tiny builds, to see that everything runs")
    parser.add_argument("--only", action="append", choices=list(SECTIONS), help="this section alone")
    given = parser.parse_args()
    book = Book(given.out, given.seconds, torch.device(given.device), given.tiny)
    card = torch.cuda.get_device_name(book.device) if book.device.type == "cuda" else platform.processor()
    book.write(device=str(book.device), card=card, torch=torch.__version__, cuda=torch.version.cuda)
    for name in given.only or SECTIONS:
        book.begin(name, SHARES[name])
        try:
            SECTIONS[name](book)
        except Exception as error:  # noqa: BLE001
            book.write(failed=f"{type(error).__name__}: {error}"[:300])


if __name__ == "__main__":
    main()
