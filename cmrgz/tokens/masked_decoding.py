"""The loop of masked decoding: look at what is shown, draw some of what is hidden, show it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cmrgz.graphs import Replayed
from cmrgz.model import Progress
from cmrgz.rng import Streams
from cmrgz.sending import sent
from cmrgz.tokens.causal_decoding import Draw, take
from cmrgz.tokens.drawer import Drawer, Proposal
from cmrgz.tokens.orders import WALKS
from cmrgz.tokens.schedule import Schedule, best, block_counts, counts_over_grid, reveal_counts, turns, within_entropy

CHUNK = 32
"""Positions of a frame per call of a draw, of one shape: its bits do not depend on its neighbours' counts."""
REDRAWN, REDRAW_STEPS = 0.25, 4
"""Share of the hidden positions that a corrector sweep draws again, and in how many steps."""

Look = Callable[[Tensor, Tensor], Tensor]
"""(vectors (b, n, c), shown (b, n)) -> features (b, n, d)."""
Tick = Callable[[int], None]
"""Told how many positions were drawn."""
MaskedOrder = Literal["halton", "confidence", "random"]


@dataclass(frozen=True)
class Pace:
    """Which hidden positions a step reveals, and how many.

    Attributes:
        order: Along a Halton sequence, at random, or those drawn with the highest probability first.
        schedule: Of the counts; None is that of the order: `cosine` for confidence, else `arccos`.
        steps: 0 is `automatic_steps`, of blocks `block_counts`.
        gumbel: Scale of the noise on the log-probability of a code, which falls to 0: `confidence` alone.
        entropy_bound: In nats; above 0 the counts follow `within_entropy`, not the schedule.
        over_grid: The schedule runs over the grid: a fault kept on purpose.
    """

    order: MaskedOrder = "halton"
    schedule: Schedule | None = None
    steps: int = 0
    gumbel: float = 0.0
    entropy_bound: float = 0.0
    over_grid: bool = False

    def counts(self, shown: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Return the counts (steps + 1, b) of items of which the positions `shown` (b, n) are not hidden."""
        schedule: Schedule = self.schedule or ("cosine" if self.order == "confidence" else "arccos")
        hidden = (~shown).sum(1)
        if self.over_grid:
            return counts_over_grid(hidden, shown.shape[1], schedule, self.steps)
        if len(grid) > 2 and not self.steps:
            return block_counts(~shown.unflatten(1, grid).flatten(1, -3).flatten(2), schedule)
        return reveal_counts(hidden, schedule, self.steps)

    @property
    def weighs(self) -> bool:
        """Whether a step needs a draw of every position to choose from."""
        return self.order == "confidence" or self.entropy_bound > 0

    def key(self, proposal: Proposal, turn: Tensor, calm: Tensor, noise: Streams) -> Tensor:
        """Return by what positions (b, n) are chosen, the highest first."""
        if self.order != "confidence":
            return turn
        if self.entropy_bound:
            return -proposal.entropy
        # Standard Gumbel noise; 1e-9 keeps the logarithm of 0 away.
        gumbel = -(-noise.uniform(turn.shape[1], alike=True).clamp(min=1e-9).log()).log()
        return proposal.score + self.gumbel * calm * sent(gumbel, turn.device).to(turn.dtype)

    def count(self, key: Tensor, proposal: Proposal, hidden: Tensor, counts: Tensor, step: int) -> Tensor:
        """Return how many hidden positions (b,) this step reveals."""
        if self.entropy_bound:
            return within_entropy(key, proposal.entropy, hidden, self.entropy_bound)
        return counts[step]


@dataclass(frozen=True)
class Unmasking:
    """Draws hidden positions, a few a step, by looking at what is shown.

    Attributes:
        look: The network.
        grid: Rows and columns, of blocks after phases and slices.
        tick: Told what is drawn.
        chunk: Positions of a frame per call of a draw; None is `CHUNK`.
        network: Whose calls are counted.
    """

    look: Look
    grid: tuple[int, ...]
    tick: Tick
    chunk: int | None = None
    network: nn.Module | None = None

    def reveal(self, vectors: Tensor, shown: Tensor, pace: Pace, draw: Draw, rng: Streams) -> Tensor:
        """Draw what is not shown.

        Args:
            vectors: (b, n, c) by position; used where shown.
            shown: (b, n) bool.
            pace: Which positions are drawn when.
            draw: Draws vectors; a `Drawer` of codes where the pace weighs them.
            rng: For the order.

        Returns:
            The vectors (b, n, c), shown ones as given.
        """
        n, step, chunk = shown.shape[1], 0, (self.chunk or CHUNK) * math.prod(self.grid[:-2])
        seen = shown.cpu()
        told = pace.counts(seen, self.grid).diff(dim=0)  # known in advance: no step waits for the device
        counts, left = sent(told, shown.device), int((~seen).sum())
        # By confidence none is followed, and any serves.
        walk = WALKS["random" if pace.order == "confidence" else pace.order](shown, self.grid, rng)
        turn, noise = -turns(walk, shown).float(), rng.child("gumbel")
        # The network and the draw have one shape in all steps; what is between them depends on counts.
        look, drawing = Replayed(self.look, self.network), Replayed(draw)
        while left > 0:
            states = look(torch.where(shown[..., None], vectors, 0.0), shown)
            assert states is not None
            if pace.weighs:
                assert isinstance(draw, Drawer)
                proposal = draw.propose(states, torch.arange(n, device=shown.device).expand_as(shown))
                key = pace.key(proposal, turn, _calm(counts, step), noise)
                chosen = best(key, ~shown, pace.count(key, proposal, ~shown, counts, step))
                drawn = proposal.vectors
            else:
                chosen = best(turn, ~shown, counts[step])
                drawn = _draw_chosen(drawing, states, chosen, vectors, chunk, int(told[step].max()))
            vectors, shown = torch.where(chosen[..., None], drawn, vectors), shown | chosen
            # Only an entropy bound is not known in advance: then the host has to ask the device.
            many = int(chosen.sum() if pace.entropy_bound else told[step].sum())
            left, step = left - many, step + 1
            self.tick(many)
        return vectors

    def redraw(self, vectors: Tensor, known: Tensor, pace: Pace, draw: Drawer, rng: Streams) -> Tensor:
        """Hide a random quarter of what is not known and draw it again, given all else; as `reveal`.

        A move that leaves a distribution alone whose conditionals the network knows, and repairs draws that were made
        apart (in the spirit of the corrector of Wang et al. 2025, arXiv 2503.00307).
        """
        u = sent(rng.child("again").uniform(known.shape[1], alike=True), vectors.device).to(vectors.dtype)
        again = best(u, ~known, redrawn((~known).sum(1)))
        order: MaskedOrder = "random" if pace.order == "confidence" else pace.order
        # With an exact network as many further steps of the draw itself gain more; a sweep mends what a network gets
        # wrong.
        return self.reveal(vectors, ~again, Pace(order, pace.schedule, REDRAW_STEPS), draw, rng)


def redrawn(hidden: Tensor) -> Tensor:
    """Return how many of `hidden` (b,) positions a sweep draws again."""
    return (REDRAWN * hidden).ceil().long()


def counter(progress: Progress | None, total: int) -> Tick:
    """Return what adds up positions and tells `progress` of them."""
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    return tick


def _calm(counts: Tensor, step: int) -> Tensor:
    """Return the share (b, 1) of an item's steps that is left after this one."""
    # Of the steps in which this item reveals something: others of its batch may need more.
    own = (counts > 0).sum(0).clamp(min=1)
    return (1 - (step + 1) / own).clamp(min=0)[:, None]


def _draw_chosen(draw: Replayed, states: Tensor, chosen: Tensor, vectors: Tensor, chunk: int, most: int) -> Tensor:
    """Return vectors (b, n, c) with those of the chosen positions (b, n), at most so many, drawn from features."""
    # Stable, so that equal entries keep the order of their positions on every device.
    ranked = chosen.long().argsort(dim=1, descending=True, stable=True)
    n, drawn = chosen.shape[1], torch.cat([vectors, vectors[:, :1]], 1)  # row n takes what is not chosen
    places = torch.arange(-(-most // chunk) * chunk, device=chosen.device)
    positions = ranked[:, places.clamp(max=n - 1)]
    targets = torch.where(chosen.gather(1, positions) & (places < n), positions, n)
    for at, target in zip(positions.split(chunk, 1), targets.split(chunk, 1), strict=True):
        new = draw(take(states, at), at)
        assert new is not None
        drawn = drawn.scatter(1, target[..., None].expand_as(new), new)
    return drawn[:, :n]
