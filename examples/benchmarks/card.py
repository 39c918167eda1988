"""Print what a draw and a training step ask of a GPU, without one: kernels, waits and copies, at full size.

    python examples/benchmarks/card.py [NAME ...] [--lines] [--json FILE] [--mask patch:0.7]
    python examples/benchmarks/card.py --tiny --json tests/testing/card.json

Counted on a card that computes on the CPU, see `cmrgz.testing.card`: one kernel for each operation that is no view, a
wait for each number that the host asks for and for each copy that is not asynchronous. Draws have the default options;
of blocks the continuation of the scan is given, as `cmrgz inpaint` gives it. `--lines` prints the lines that cost most.
The second command stores what tests compare the tiny builds with.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from cmrgz import checkpoint, registry
from cmrgz.data.masks import parse
from cmrgz.hints import Hints
from cmrgz.model import Condition, Model
from cmrgz.pieces import Pieces
from cmrgz.testing.card import CardTensor, Costs, on_card
from cmrgz.testing.elsewhere import moved, priced
from cmrgz.testing.subject import AXES, items, streams

FAMILIES = ("ar-vq", "ar-maskgit", "ar-mar", "ar-var", "ldm-unet", "ldm-dit", "flow-dit", "ldm-uvit")
FRAME, BLOCK = (128, 128), (3, 3, 128, 128)


def models(name: str) -> Iterator[tuple[str, Model, tuple[int, ...]]]:
    """Yield the models of a family on frames and on blocks, with their items: bundled ones, else untrained ones."""
    spec = registry.get_model(name)
    own = checkpoint.open_model(name)[0] if spec.checkpoint else None
    for axes, size in (("yx", FRAME), ("tzyx", BLOCK)):
        if own is not None and "".join(own.extent.axes) == axes:
            yield "frames" if axes == "yx" else "blocks", own, tuple(own.extent.item)
        elif AXES in registry.build_schema(spec):
            tokenizer = checkpoint.open_tokenizer(spec.tokenizer)[0] if spec.tokenizer else None
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = registry.build_model(spec, tokenizer, {AXES: axes}).eval()
            yield "frames" if axes == "yx" else "blocks", model, size


def case(size: tuple[int, ...], mask: str, n: int) -> tuple[Tensor, Tensor]:
    """Return given values (n, 1, *size), 0 where hidden, and what is known."""
    scan = (1,) * (4 - len(size)) + size
    known = torch.stack([torch.from_numpy(parse(mask).draw(scan, seed=i)).view(size) for i in range(n)])[:, None]
    return torch.where(known, items(n, size), 0.0), known


def told(model: Model, x: Tensor, known: Tensor) -> Condition:
    """Return the condition of items: of blocks the continuation of what is known."""
    hints = next((part for part in model.modules() if isinstance(part, Hints)), None)
    if hints is None:
        return {}
    with torch.inference_mode():
        fill = hints.fill(x, known, None)
        return {"fill": torch.cat([fill, hints.reach(x, fill, known, None)], 1).clone()}


def drawing(model: Model, x: Tensor, known: Tensor) -> Costs:
    """Return what a draw costs."""
    condition = {name: CardTensor(value) for name, value in told(model, x, known).items()}
    there, a, b = moved(model), CardTensor(x), CardTensor(known)
    with on_card() as costs, torch.inference_mode():
        there.sample(a, b, condition=condition, rng=streams(len(x)))
    return costs


def learning(model: Model, x: Tensor) -> tuple[Costs, Costs]:
    """Return what loss and gradients of a training step cost, of the first, and of later ones in recorded pieces."""
    there, a, pieces, found = moved(model).train(), CardTensor(x), Pieces(), list[Costs]()
    for _ in range(3):
        there.zero_grad(set_to_none=True)
        with on_card() as costs, pieces.in_use():
            there.loss(a, rng=streams(len(x))).backward()
        found.append(costs)
    return found[0], found[-1]


def main() -> None:
    """Measure each family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=FAMILIES, metavar="NAME")
    parser.add_argument("--mask", default="patch:0.7")
    parser.add_argument("--items", type=int, default=2)
    parser.add_argument("--lines", action="store_true", help="print the lines that cost most")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--tiny", action="store_true", help="of the builds that tests have")
    given = parser.parse_args()
    rows = {name: priced(name) for name in given.names} if given.tiny else measured(given)
    if given.tiny:
        print(json.dumps(rows, indent=1))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


def measured(given: argparse.Namespace) -> dict[str, dict[str, dict[str, int]]]:
    """Print and return what each family costs at full size."""
    titles = ("family", "of", "a draw: kernels", "waits", "a first step: kernels", "a later one", "waits")
    print("|", " | ".join(titles), "|\n" + "|---" * len(titles) + "|")
    rows = {}
    for name in given.names:
        for kind, model, size in models(name):
            x, known = case(size, given.mask, given.items)
            draw, (step, later) = drawing(model, x, known), learning(model, items(given.items, size))
            a, b, c = (costs.totals() for costs in (draw, step, later))
            rows[f"{name} {kind}"] = {"draw": a, "step": b, "later step": c}
            row = (name, kind, f"{a['launches']:,}", a["waits"], f"{b['launches']:,}", f"{c['launches']:,}", c["waits"])
            print("|", " | ".join(map(str, row)), "|", flush=True)
            if given.lines:
                print(f"draw: {draw}\nstep: {step}\nlater step: {later}")
    return rows


if __name__ == "__main__":
    main()
