"""What every decoding of token models draws, held against a posterior that is known exactly.

    python examples/decoding_table.py [--items 24] [--draws 16] [--skip 0] [--rows 3]

The model is a mixture of Gaussians over pictures of 8 x 8, each pixel a position of two codes, with networks that
predict without error: what differs from 1 is the decoding's. A cell is variance / bias / energy score, each relative to
exact draws: 1.00 / 0.00 / 1.00 is a sampler of the posterior, more energy is worse. The energy score hardly sees if
neighbours fit each other, which is what few steps cost. `calls` is the number of network calls for a draw, fewest to
most over the holes.
"""

import argparse
from typing import Any

from cmrgz.model import Model
from cmrgz.testing.binned import causal_model, masked_model
from cmrgz.testing.mixtures import Mixture, hole, score

SIDE = 8
HOLES = (("scattered", 0.25), ("scattered", 0.75), ("box", 0.25), ("bottom", 0.5), ("top", 0.5))
MASKED: dict[str, dict[str, Any]] = {
    "masked, halton (default)": {},
    "masked, halton, steps=4": {"steps": 4},
    "masked, halton, steps=1": {"steps": 1},
    "masked, steps=1, remask=8": {"steps": 1, "remask": 8},
    "masked, order=random": {"order": "random"},
    "masked, order=confidence": {"order": "confidence"},
    "masked, order=confidence, gumbel=0": {"order": "confidence", "gumbel": 0.0},
    "masked, entropy_bound=4": {"entropy_bound": 4.0},
    "masked, preset=paper_like": {"preset": "paper_like"},
}
CAUSAL: dict[str, dict[str, Any]] = {
    "causal, known first, parallel=1": {"parallel": 1},
    "causal, known first (default)": {},
    "causal, order=forced": {"order": "forced", "parallel": 1},
    "causal, order=orient": {"order": "orient", "parallel": 1},
    "causal, order=smc, 8 particles": {"order": "smc"},
    "causal, order=smc, 32 particles": {"order": "smc", "particles": 32},
    "causal, output=mean": {"output": "mean"},
}


def main() -> None:
    """Print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--rows", type=int, default=None, help="so many rows only")
    parser.add_argument("--skip", type=int, default=0, help="leave out the first rows")
    given = parser.parse_args()
    mixture = Mixture.rings(SIDE)
    rows: list[tuple[Model, str, dict[str, Any]]] = [
        *((masked_model(mixture), *row) for row in MASKED.items()),
        *((causal_model(mixture), *row) for row in CAUSAL.items()),
    ]
    print(f"{given.items} items, {given.draws} draws of each\n")
    print("| decoding | calls | " + " | ".join(f"{kind} {share}" for kind, share in HOLES) + " |")
    print("|---" * (len(HOLES) + 2) + "|")
    for model, name, options in rows[given.skip :][: given.rows]:
        scores = [score(model, mixture, hole(*h, side=SIDE), given.items, given.draws, **options) for h in HOLES]
        cells = [f"{s.variance:.2f} / {s.bias:.2f} / **{s.energy:.2f}**" for s in scores]
        calls = sorted({s.calls for s in scores})
        print(
            f"| {name} | {'-'.join(map(str, calls[:: max(len(calls) - 1, 1)]))} | " + " | ".join(cells) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
