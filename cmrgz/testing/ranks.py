"""The rank test: is what a model draws given a part a draw from a posterior, or a heuristic's answer?

A truth and K draws of p(truth | known) are K + 1 draws of one distribution, so the rank of any number taken from the
truth among those of the draws is uniform on 0 .. K (simulation-based calibration: Talts et al. 2018, arXiv 1804.06788).
Where truths are drawn from the model itself, given nothing, no data are needed and no training: the test then asks
whether `sample` given a part is the conditional of `sample` given nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2
from torch import Tensor

from cmrgz.rng import Streams

LEVEL = 1e-3
"""Probability at which a sampler of the posterior is called a heuristic."""

ONE_ANSWER = "heuristic: one answer, whatever the seed"
Verdict = Literal["posterior sampler", "heuristic", "undecided"]
Draw = Callable[[Tensor, Tensor, Streams], Tensor]
"""(given values (b, 1, *item), 0 where hidden; known; streams) -> draws (b, 1, *item)."""


@dataclass(frozen=True)
class Ranks:
    """Ranks of numbers taken from truths among those of their draws.

    Attributes:
        ranks: (n,) int64 in 0 .. `draws` for each number, by its name.
        draws: K, how many draws each truth has.
        same: Whether all draws of a truth are one and the same.
        mixed: The same for truths whose hidden part is that of the next one: uniform only where what is known hardly
            matters.
    """

    ranks: dict[str, NDArray[np.int64]]
    mixed: dict[str, NDArray[np.int64]]
    draws: int
    same: bool

    @property
    def verdict(self) -> Verdict:
        """What is found; by chance it is wrong about a posterior sampler once in a thousand times (Bonferroni)."""
        if self.same or _least(self.ranks, self.draws)[1] <= LEVEL:
            return "heuristic"
        return "posterior sampler" if _least(self.mixed, self.draws)[1] <= LEVEL else "undecided"

    @property
    def line(self) -> str:
        """The verdict with its reason."""
        if self.same:
            return ONE_ANSWER
        name, p = _least(self.ranks, self.draws)
        count = len(self.ranks[name])
        facts = f"ranks of '{name}' of {count} truths among {self.draws} draws: p = {p:.2g}"
        return f"{self.verdict}: {'what is known hardly matters; ' if self.verdict == 'undecided' else ''}{facts}"


def _least(ranks: dict[str, NDArray[np.int64]], draws: int) -> tuple[str, float]:
    """Return the number whose ranks are least likely, and how likely that is for the least of so many."""
    p = {name: uniform_p(own, draws) for name, own in ranks.items()}
    name = min(p, key=lambda name: p[name])
    # The least of several p-values is small by chance more often: Bonferroni multiplies by their number.
    return name, min(1.0, p[name] * len(p))


def uniform_p(ranks: NDArray[np.int64], draws: int) -> float:
    """Return the p-value of Pearson's chi-squared test that ranks (n,) are uniform on 0 .. draws."""
    counts = np.bincount(ranks, minlength=draws + 1)
    expected = len(ranks) / (draws + 1)
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), draws))


def numbers(x: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Return numbers (b,) of items (b, 1, *item) whose known part is given: of what is hidden, and of its edge."""
    hidden = (~known).double()
    value, count = x.double(), _total(hidden).clamp(min=1)
    mean = _total(value * hidden) / count
    off = (value - mean.view(-1, *(1 for _ in x.shape[1:]))) * hidden
    rows = torch.linspace(-1, 1, x.shape[-2], dtype=torch.float64)[:, None]
    return {
        "mean": mean,
        "spread": _total(off.square()),
        "slope": _total(off * rows),
        "roughness": _jumps(value, hidden.bool()),
        "seam": _jumps(value, hidden.bool(), known),
    }


def _total(x: Tensor) -> Tensor:
    """Return the sum (b,) over all but the first axis."""
    return x.sum(tuple(range(1, x.ndim)))


def _jumps(x: Tensor, one: Tensor, other: Tensor | None = None) -> Tensor:
    """Return the summed squares of differences of neighbours of which one is in `one` and the other in `other`."""
    other = one if other is None else other
    total = x.new_zeros(len(x))
    for axis in range(2, x.ndim):
        n = x.shape[axis]
        (a, b), (c, d) = ((m.narrow(axis, 0, n - 1), m.narrow(axis, 1, n - 1)) for m in (one, other))
        pairs = (a & d) | (b & c)
        total = total + _total(x.diff(dim=axis).square() * pairs)
    return total


def rank(draw: Draw, truth: Tensor, known: Tensor, draws: int = 7, seed: int = 0) -> Ranks:
    """Return the ranks of truths (n, 1, *item) among draws given their known pixels.

    Equal numbers are put in a random order.

    Args:
        draw: Of the model under test.
        truth: Independent draws of the distribution whose posterior is asked for.
        known: (n, 1, *item) bool, True = given.
        draws: K.
        seed: Of the draws.
    """
    keys = [[("rank", k, i) for i in range(len(truth))] for k in range(draws)]
    given = torch.where(known, truth, 0.0)
    # The known part as given, as the core pastes it: a rank is to be of what is hidden alone.
    drawn = torch.stack([torch.where(known, truth, draw(given, known, Streams(seed, key))) for key in keys])
    # Truths whose parts do not belong together: a test that cannot tell them from others has no power here.
    mixed = torch.where(known, truth, truth.roll(1, 0))
    found = [numbers(part, known) for part in drawn]
    own, other = (_ranks(numbers(x, known), found, seed) for x in (truth, mixed))
    return Ranks(own, other, draws, same=bool((drawn == drawn[0]).all()))


def _ranks(truth: dict[str, Tensor], drawn: list[dict[str, Tensor]], seed: int) -> dict[str, NDArray[np.int64]]:
    """Return the ranks (n,) of numbers among those of K draws; equal ones in a random order."""
    rng, ranks = np.random.default_rng(seed), {}
    for name, value in truth.items():
        others = torch.stack([part[name] for part in drawn])
        below, level = ((others < value).sum(0).numpy(), (others == value).sum(0).numpy())
        # Otherwise a number that takes few values, or one answer, would pile up at one rank.
        ranks[name] = below + rng.integers(0, level + 1)
    return ranks
