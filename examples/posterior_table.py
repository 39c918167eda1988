"""What every inpainting algorithm draws, held against a posterior that is known exactly.

    python examples/posterior_table.py [--objective v|eps|x0|flow] [--items 24] [--draws 16] [--skip 0] [--rows 3]

The model is a mixture of Gaussians over pictures of 16 x 16, whose network predicts without error: what differs from 1
is the algorithm's. The last rows are masked autoregression, with a head that is as exact. A cell is variance / bias /
energy score, each relative to exact draws: 1.00 / 0.00 / 1.00 is a sampler of the posterior, more energy is worse.
`calls` is the number of network calls for a draw.
"""

import argparse
from typing import Any

from cmrgz.model import Model
from cmrgz.testing.masked import masked_mixture_model
from cmrgz.testing.mixtures import Mixture, hole, mixture_model, score

HOLES = (("scattered", 0.25), ("scattered", 0.75), ("box", 0.25), ("box", 0.5), ("bottom", 0.5), ("top", 0.5))
ROWS: dict[str, dict[str, Any]] = {
    "lanpaint (default)": {},
    "lanpaint, steps=15, moves=9": {"steps": 15, "moves": 9},
    "lanpaint, steps=20, moves=19": {"steps": 20, "moves": 19},
    "replace": {"algorithm": "replace"},
    "replace, steps=250": {"algorithm": "replace", "steps": 250},
    "replace, eta=0": {"algorithm": "replace", "eta": 0.0},
    "paper_like": {"preset": "paper_like"},
    "repaint": {"algorithm": "repaint"},
    "dps": {"algorithm": "dps"},
    "smc, 8 particles": {"algorithm": "smc"},
}
FLOW_ROWS: dict[str, dict[str, Any]] = {"pnpflow": {"algorithm": "pnpflow"}}

MASKED_ROWS: dict[str, dict[str, Any]] = {
    "masked (default)": {},
    "masked, order=random": {"order": "random"},
    "masked, steps=4": {"steps": 4},
    "masked, solver=ddpm, head_steps=50": {"solver": "ddpm", "head_steps": 50},
    "masked, paper_like": {"preset": "paper_like"},
}


def main() -> None:
    """Print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--objective", choices=("v", "eps", "x0", "flow"), default="v")
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--rows", type=int, default=None, help="so many rows only")
    parser.add_argument("--skip", type=int, default=0, help="leave out the first rows")
    given = parser.parse_args()
    mixture = Mixture.rings()
    rows = ROWS | (FLOW_ROWS if given.objective == "flow" else {})
    perfect: list[tuple[Model, str, dict[str, Any]]] = [
        *((mixture_model(mixture, given.objective), *row) for row in rows.items()),
        *((masked_mixture_model(mixture), *row) for row in MASKED_ROWS.items()),
    ]
    print(f"objective {given.objective}, {given.items} items, {given.draws} draws of each\n")
    print("| algorithm | calls | " + " | ".join(f"{kind} {share}" for kind, share in HOLES) + " |")
    print("|---" * (len(HOLES) + 2) + "|")
    for model, name, options in perfect[given.skip :][: given.rows]:
        scores = [score(model, mixture, hole(*h), given.items, given.draws, **options) for h in HOLES]
        cells = [f"{s.variance:.2f} / {s.bias:.2f} / **{s.energy:.2f}**" for s in scores]
        least, most = (pick(s.calls for s in scores) for pick in (min, max))
        calls = str(least) if least == most else f"{least}-{most}"
        print(f"| {name} | {calls} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
