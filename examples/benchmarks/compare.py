"""What a change of the code costs or saves on a CPU: drawing, a training step and reading items, before and after.

    python examples/benchmarks/compare.py OLD [NAME ...] [--rounds 5] [--threads 1] [--phases 1] [--slices 2]

OLD is a checkout of another version; it is compared with this one, or with that of `--new`. Both are at work in one
run: a process of each does the same in turns, A B A B, so that what slows the machine slows both. All is done once
before it is timed. Drawn are some frames of the bundled phantom, all others being given, as `cmrgz inpaint` draws them:
a model of frames is called with 16 at least, which takes a minute for some. `--set steps=4 moves=1` shortens that for
models that have such options. A step is loss, gradients and AdamW. Items are read from NIfTI, held in memory, and from
a bank.

A row is the medians, their ratio (over 1: the new one is faster), the least and the largest ratio of a round, and
whether results are the same to the bit. Run it on a machine that does nothing else.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from inspect import signature
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PHANTOM = ROOT / "examples" / "phantom.nii.gz"
FAMILIES = ("ar-vq", "ar-maskgit", "ar-mar", "ar-var", "ldm-unet", "ldm-dit", "flow-dit")
EXTENTS = {"frames": ("yx", (128, 128)), "blocks": ("tzyx", (5, 3, 128, 128))}
Request = dict[str, Any]


# --------------------------------------------------------------------------------- what a process of a checkout does
def drawing(ask: Request) -> Callable[[], bytes]:
    """Return what inpaints some frames of the phantom, all others being given."""
    from cmrgz import checkpoint, tasks
    from cmrgz.data import masks, scan

    image, (model, _) = scan.load(PHANTOM), checkpoint.open_model(ask["name"])
    known = masks.parse(ask["mask"]).draw(image.shape, seed=0)
    known[ask["phases"] :] = known[:, ask["slices"] :] = True
    options = {name: value for name, value in ask["set"].items() if name in signature(model.sample).parameters}
    return lambda: tasks.inpaint(model, image, known, tasks.Setting(seed=0, options=options)).mean.tobytes()


def learning(ask: Request) -> Callable[[], bytes]:
    """Return what takes a training step with a bundled model."""
    import torch

    from cmrgz import checkpoint
    from cmrgz.data import cases
    from cmrgz.rng import Streams
    from cmrgz.training.frames import Frames

    model, _ = checkpoint.open_model(ask["name"])
    x = Frames([cases.find(PHANTOM)], model.extent).batch(0, 0, ask["batch"]).x
    trained = [p for p in model.train().parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.0)  # each step is the first: the weights stay

    def step() -> bytes:
        torch.manual_seed(0)
        optimizer.zero_grad()
        loss = model.loss(x, rng=Streams(0, [("loss", i) for i in range(len(x))]))
        loss.backward()
        gradients = [p.grad.numpy().tobytes() for p in trained if p.grad is not None]
        optimizer.step()
        return b"".join(gradients)

    return step


@cache
def found(source: str) -> Any:
    """Return the cases of the phantom, as it is or of a bank of it."""
    from cmrgz.data import cases
    from cmrgz.training.banking import make_bank

    files = cases.find(PHANTOM)
    if source == "files":
        return files
    bank = Path.cwd() / f"bank-{os.getpid()}"  # each its own, which may be of another format
    make_bank(files, bank)
    return cases.find(bank, banks=True)


def reading(ask: Request) -> Callable[[], bytes]:
    """Return what makes items of training."""
    from cmrgz.plugin import Extent
    from cmrgz.training.frames import Frames

    axes, item = EXTENTS[ask["name"]]
    frames = Frames([found(ask["source"])], Extent(tuple(axes), item))
    steps = range(-(-ask["items"] // ask["batch"]))
    return lambda: b"".join(frames.batch(0, step, ask["batch"]).x.numpy().tobytes() for step in steps)


WORK = {"draw": drawing, "step": learning, "read": reading}


@cache
def prepared(ask: str) -> Callable[[], bytes]:
    """Return what was asked for as text, made once and done once."""
    request = json.loads(ask)
    work = WORK[request["what"]](request)
    work()
    return work


def answer(ask: Request) -> Request:
    """Return how long what is asked for took, and a hash of its result; or why it failed."""
    try:
        work = prepared(json.dumps(ask))
        start = time.perf_counter()
        made = work()
        return {"seconds": time.perf_counter() - start, "made": hashlib.sha256(made).hexdigest()}
    except Exception as error:  # an older version may lack what is asked for: the other rows are still worth having
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}


def serve(checkout: Path) -> None:
    """Answer requests, one a line, with the code of a checkout."""
    import cmrgz

    if not Path(cmrgz.__file__).is_relative_to(checkout):
        raise SystemExit(f"cmrgz is that of {cmrgz.__file__}, not of {checkout}")
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is no reply
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=replies, flush=True)


# --------------------------------------------------------------------------------------------- what asks both of them
class Side:
    """A process with the code of a checkout.

    Args:
        checkout: With its plugins.
        threads: That torch may use.
        folder: Where it works.
    """

    def __init__(self, checkout: Path, threads: int, folder: Path) -> None:
        paths = [checkout, *sorted(path.parent for path in checkout.glob("plugins/*/pyproject.toml"))]
        told = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(checkout)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **told},
            cwd=folder,
            text=True,
        )

    def ask(self, request: Request) -> Request:
        """Return the reply to a request."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            reply: Request = json.loads(self.process.stdout.readline() or "null")
        except BrokenPipeError:
            reply = None  # type: ignore[assignment]
        if reply is None:
            raise SystemExit(f"a process ended: {self.process.wait()}")
        return reply

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def requests(given: argparse.Namespace) -> Iterator[tuple[str, Request]]:
    """Yield what is measured, with its name."""
    for name in given.names:
        told = {"mask": given.mask, "phases": given.phases, "slices": given.slices, "set": dict(given.set)}
        yield f"{name}: draw", {"what": "draw", "name": name, **told}
        yield f"{name}: training step", {"what": "step", "name": name, "batch": given.batch}
    for name in EXTENTS:
        for source in ("files", "bank"):
            told = {"source": source, "items": given.items, "batch": given.batch}
            yield f"{given.items} {name} from {source}", {"what": "read", "name": name, **told}


def row(name: str, request: Request, sides: Sequence[Side], rounds: int) -> str:
    """Return the row of a measurement."""
    # Both are asked anew in each round: what slows the machine for a while slows both.
    replies = [[side.ask(request) for side in sides] for _ in range(rounds)]
    failed = [f"{which}: {r['failed']}" for which, r in zip(("old", "new"), replies[0], strict=True) if "failed" in r]
    if failed:
        return f"| {name} | {'; '.join(failed)} | | | | |"
    old, new = (median(pair[i]["seconds"] for pair in replies) for i in (0, 1))
    ratios = sorted(a["seconds"] / b["seconds"] for a, b in replies)
    same = "yes" if len({reply["made"] for pair in replies for reply in pair}) == 1 else "no"
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    return f"| {name} | {1000 * old:,.1f} | {1000 * new:,.1f} | {old / new:.2f} | {spread} | {same} |"


def option(text: str) -> tuple[str, Any]:
    """Return the name and the value of a sampling option."""
    name, _, value = text.partition("=")
    return name, json.loads(value) if value[:1].isdigit() else value


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD", help="checkout to compare with")
    parser.add_argument("names", nargs="*", default=FAMILIES, metavar="NAME", help="models with bundled weights")
    parser.add_argument("--new", type=Path, default=ROOT, help="the other checkout [this one]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mask", default="patch:0.7")
    parser.add_argument("--set", type=option, nargs="+", default=[], metavar="NAME=VALUE", help="sampling options")
    parser.add_argument("--phases", type=int, default=1, help="of the phantom, of which a part is hidden")
    parser.add_argument("--slices", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2, help="items of a training step")
    parser.add_argument("--items", type=int, default=200, help="that are read in a round")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        checkouts = [path.resolve() for path in (given.old, given.new)]
        sides = [stack.enter_context(Side(path, given.threads, folder)) for path in checkouts]
        print("| | old, ms | new, ms | ratio | of rounds | same bits |\n|---|---|---|---|---|---|", flush=True)
        for name, request in requests(given):
            print(row(name, request, sides, given.rounds), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]))
    else:
        main()
