"""What the models of residual codes share: statistics, hints, the loss and the draw of the codes of a position."""

import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.adaptive import ITERATIONS
from cmrgz.latents import framewise, lift, position_hints
from cmrgz.model import CodeTokenizer, Condition, Model
from cmrgz.pieces import piece
from cmrgz.rng import Streams, derive
from cmrgz.sending import device_of, sent
from cmrgz.tokens.blocks import QUICK, moments
from cmrgz.tokens.candidates import Candidates, mistaken
from cmrgz.tokens.drawer import Drawer, Truncation
from cmrgz.tokens.network import CodeNetwork, Logits
from cmrgz.tokens.prior import (
    BLOCK_FRAMES,
    CodePrior,
    Evidence,
    Leaning,
    PriorLogits,
    flat,
    frames_of,
)

CANDIDATES_HELP = (
    "draws of the hints of blocks that the network weighs; 0 draws its codes, automatic: 1 where nothing is cut"
)
"""Of the option `candidates`."""
SAID = 256
"""Positions of a training step from which the say of the network is learned."""


def framewise_codes(tokenizer: CodeTokenizer, vectors: Tensor) -> Tensor:
    """Return the codes (b, n, levels) of vectors (b, c, *grid)."""
    return tokenizer.quantise(frames_of(vectors)).reshape(len(vectors), -1, tokenizer.levels)


@torch.no_grad()
def decoded(
    tokenizer: CodeTokenizer, vectors: Tensor, grid: tuple[int, ...], evidence: Evidence | None, even: bool = False
) -> Tensor:
    """Return the items of vectors (b, n, c) on a grid.

    A fill has detail that the tokenizer cannot hold: blocks of which something is known get it back. Draws that lie
    evenly about the fill do so within the range of intensities: where one of them were cut off at an end of it, and
    not its opposite, their mean would move away from the fill (0.2 dB where much is dark).

    Args:
        tokenizer: Of the vectors.
        vectors: What is drawn.
        grid: Positions of an item.
        evidence: What is known of the items.
        even: The vectors are drawn evenly about the fill, by no network.
    """

    def items(rows: Tensor) -> Tensor:
        x = rows.transpose(1, 2).unflatten(2, grid)
        return framewise(tokenizer.decode, x.contiguous() if len(grid) == 4 else x)  # bits may depend on the strides

    x = items(vectors)
    if evidence is None or evidence.fill is None or evidence.some is None:
        return x
    # What is drawn beyond the round trip of the fill is put on the fill itself, which keeps its detail.
    off = x - items(evidence.features[..., : tokenizer.channels])
    room = (1 - evidence.fill.abs()).clamp(min=0)
    off = off.clamp(-room, room) if even else off
    return torch.where(evidence.some.view(-1, 1, 1, 1, 1, 1), evidence.fill + off, x)


def level_loss(
    logits: Logits,
    states: Tensor,
    codes: Tensor,
    decay: float,
    training: bool,
    rng: Streams,
    prior: PriorLogits | None = None,
) -> Tensor:
    """Weighted mean over levels of the cross-entropy of codes (n, levels) given states (n, d).

    A level after the second is seen by half of the positions: fine levels cost as much as coarse ones, but the picture
    hangs on the coarse. Each level weighs `decay` times the one before. All positions count where nothing is trained.
    A prior, one row for each of the codes, is added to the logits.
    """
    total, weight = states.new_zeros(()), 0.0
    generator = torch.Generator().manual_seed(derive(rng.seed, *rng.keys[0], "half"))
    half = torch.rand(len(codes), generator=generator) < 0.5
    every = not (training and bool(half.any()))  # of one or two positions, half may be none
    some = sent((half | every).nonzero()[:, 0], codes.device)
    for level in range(codes.shape[-1]):
        at, own = (states, codes) if level < 2 else (states[some], codes[some])
        given = logits(at, own, level).float()
        if prior is not None:
            given = given + (prior if level < 2 else prior.of(some))(own, level)
        total = total + decay**level * F.cross_entropy(given, own[:, level])
        weight += decay**level
    return total / weight


class CodeModel(Model):
    """A model of the codes of a tokenizer, by a network that predicts those of a position level after level.

    Residual codes of a position are drawn one after another (Lee et al. 2022, arXiv 2203.01941).

    Args:
        network: Gives the logits.
        tokenizer: Frozen first stage.
        level_decay: Weight of a level's loss relative to the level before.
        axes: Of its items. Those of other axes than `yx` are blocks: their hints see all axes, and the logits of the
            network are added to what the hints say of the codes, see `prior.py`.
    """

    def __init__(self, network: CodeNetwork, tokenizer: CodeTokenizer, level_decay: float, axes: str = "yx") -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer.requires_grad_(False)
        self.level_decay, self.axes = level_decay, axes
        self.prior = None if axes == "yx" else CodePrior(tokenizer.channels, tokenizer.levels, tokenizer.vocab)

    @torch.no_grad()
    def fit(self, x: Tensor, *, rng: Streams) -> None:
        """Give the network the statistics of the vectors and codes of items (n, 1, *item)."""
        blocks = lift(x, self.axes)
        x = blocks if self.prior is None else frames_of(blocks)
        # Evenly taken, since frames of one block follow one another and are alike.
        x = x if self.prior is None else x[:: -(-len(x) // BLOCK_FRAMES)]
        vectors = self.tokenizer.encode(x)
        codes = self.tokenizer.quantise(vectors).flatten(0, 2)
        if self.prior is not None:
            self.prior.fit(self.tokenizer, blocks, codes, rng)
        every = torch.arange(self.tokenizer.vocab, device=x.device)
        features = torch.stack([self.tokenizer.embed(every, level) for level in range(self.tokenizer.levels)])
        self.network.fit(flat(vectors).flatten(0, 1), codes, features)

    @torch.no_grad()
    def evidence(self, x: Tensor, known: Tensor, condition: Condition | None = None) -> Evidence:
        """Return what the known pixels alone say of each position; in training, of blocks, by a quick fill.

        Args:
            x: Frames (b, 1, H, W) or blocks (b, 1, t, z, H, W); hidden pixels are not used.
            known: As x, bool.
            condition: Of blocks `time`, `height` and `fill` count.
        """
        if self.prior is None:
            return Evidence(flat(position_hints(self.tokenizer, x, known)))
        iterations = QUICK if self.training else ITERATIONS
        return self.prior.evidence(self.tokenizer, x, known, condition, iterations)

    def hints(self, x: Tensor, known: Tensor, condition: Condition | None = None) -> Tensor:
        """Return what a network is told of the `evidence`: (b, n, h)."""
        return self.evidence(x, known, condition).features

    def level_loss(self, states: Tensor, codes: Tensor, rng: Streams, leaning: Leaning | None = None) -> Tensor:
        """Return `level_loss` of codes (n, levels) given states (n, d) and, in blocks, the leaning of the n rows.

        It is 0 where n is: of a block all may be known.
        """
        if not len(codes):
            # The sum of no states is 0, and is bound to the network, so that a backward pass finds its way.
            return states.sum()
        prior = self._prior(leaning)
        loss = level_loss(self.network.logits, states, codes, self.level_decay, self.training, rng, prior)
        return loss if prior is None or not self.training else loss + self._say(prior, states, codes, rng)

    def _say(self, prior: PriorLogits, states: Tensor, codes: Tensor, rng: Streams) -> Tensor:
        """Return 0, with the gradient by which the say of the network beside candidates is learned."""
        n = min(len(codes), SAID)
        generator = torch.Generator().manual_seed(derive(rng.seed, *rng.keys[0], "say"))
        noise = sent(torch.randn(n, self.tokenizer.channels, generator=generator), states.device)
        some = torch.arange(n, device=states.device)
        lost = mistaken(prior.of(some), self.network.logits, self.tokenizer, states[:n], codes[:n], noise)
        return lost - lost.detach()

    def _prior(self, leaning: Leaning | None) -> PriorLogits | None:
        """Return what a leaning adds to logits."""
        return None if self.prior is None or leaning is None else self.prior.bind(self.tokenizer, leaning)

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors (b, n, c) and codes (b, n, levels) of frames or blocks, n in the order of their grid."""
        vectors = piece(framewise)(self.tokenizer.encode, x)
        return flat(vectors), piece(framewise_codes)(self.tokenizer, vectors)

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors (..., c) that codes (..., levels) stand for."""
        parts = [self.tokenizer.embed(codes[..., level], level) for level in range(codes.shape[-1])]
        return torch.stack(parts).sum(0)

    def grid(self, x: Tensor) -> tuple[int, ...]:
        """Return the positions of frames, (h, w), or of blocks, (t, z, h, w)."""
        patch = self.tokenizer.patch
        return (*x.shape[2:-2], x.shape[-2] // patch, x.shape[-1] // patch)

    def items(
        self, vectors: Tensor, grid: tuple[int, ...], evidence: Evidence | None = None, even: bool = False
    ) -> Tensor:
        """Return the frames or blocks of vectors (b, n, c); blocks with the detail that their evidence has.

        `even` ones are drawn about the fill by no network, see `decoded`.
        """
        return decoded(self.tokenizer, vectors, grid, evidence, even)

    def within_cells(self, vectors: Tensor, known: Tensor, evidence: Evidence, rng: Streams, noise: float) -> Tensor:
        """Return what the vectors (b, n, c) of codes of hidden positions stand for, of which `known` (b, n) are given.

        Of frames that is themselves, of blocks a draw from what a code leaves open, with `noise` times its deviation.
        """
        if self.prior is None:
            return vectors
        drawn = noise * sent(rng.child("cells").normal(*vectors.shape[1:]), vectors.device).to(vectors.dtype)
        return torch.where(known[..., None], vectors, self.prior.within_cells(vectors, evidence, drawn))

    def drawer(
        self,
        n: int,
        levels: int,
        how: Truncation,
        rng: Streams,
        copies: int = 1,
        evidence: Evidence | None = None,
        candidates: int = 0,
        condition: Condition | None = None,
    ) -> "Drawer":
        """Return what draws codes of n positions, with one number of `rng` for each code.

        Args:
            n: Positions.
            levels: Drawn are the first ones, 0 being all.
            how: The codes are drawn.
            rng: One stream per item.
            copies: Draws of an item, side by side.
            evidence: Of the n positions.
            candidates: Draws of the hints of a position that the network weighs, see `candidates.py`; 0 are codes.
            condition: Of blocks `time` and `start` count.
        """
        # Numbers for all that may be drawn are taken at once: which code takes which does not depend on the decoding.
        asked = min(levels, self.tokenizer.levels) or self.tokenizer.levels
        u = sent(rng.uniform(copies * n, asked), device_of(self.network))
        leaning = evidence.leaning if evidence else None
        prior = self._prior(leaning.spread(copies) if leaning and copies > 1 else leaning)
        logits, of_hints = self.network.frozen_logits(), None
        if prior is not None and evidence is not None and evidence.some is not None and candidates:
            grid = self.grid(evidence.fill) if evidence.fill is not None else (1, 1, 1, n)
            own = Candidates.of(prior, evidence.some, grid, candidates, rng, moments(condition, len(u)))
            of_hints = own.scaled(how.temperature)
        return Drawer(logits, self.tokenizer, u.view(-1, n, asked), how, prior, of_hints)

    def candidates(self, asked: int | None, plain: bool) -> int:
        """Return how many draws of hints are weighed: as asked, or the usual number where codes are drawn plainly."""
        usual = self.prior.candidates if self.prior is not None and plain else 0
        return usual if asked is None else asked
