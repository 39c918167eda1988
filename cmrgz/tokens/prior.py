"""What the hints of a block say of its codes, in closed form: the logits that a network of blocks adds to.

A hint says that the vector v of a position is about normal, with mean m and deviations S in the basis of the hints; the
data are so with deviations sigma, and what is left of v after the code of a level is so with deviations q. After codes
that add up to s, the code k of which the codebook has the vector e, in that basis, gets

    shift(k) + w (m - s) . e - 1/2 w . e^2    with    w = factor trust / (1 + 0.4 trust q^2),
                                                      trust = 1 / S^2 - base,

up to what is the same for all codes: the logarithm of a normal law about m, in cells of width q. `base`, 0 at the first
level, is 1.5 / sigma^2 at the others: where a hint knows little, the code before says more of what is left. Shifts
stand for the sizes of cells; the frequencies, which the depth head has, are not in them. Shifts, and factors of
channels and levels, are fitted to the codes of training items; the constants suit real cines. Factors are learned
further. Residual codes: Lee et al. 2022, arXiv 2203.01941.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.adaptive import ITERATIONS
from cmrgz.features import SHARES
from cmrgz.hints import Hint, Hints, block_hint
from cmrgz.holes import training_known
from cmrgz.latents import framewise, known_positions, position_pixels
from cmrgz.model import CodeTokenizer, Condition
from cmrgz.rng import Streams, derive
from cmrgz.tokens.neighbours import correlations, neighbour_sums

# On an unseen patient the picks of a network gained nothing in energy score, and cost 0.1 to 0.7 dB in the mean of
# four.
CANDIDATES = 1
"""Draws of the hints of a position that a network weighs, see `candidates.py`."""
BLOCK_FRAMES = 1024
"""Frames of blocks from which statistics of vectors and codes are taken."""
BLOCKS, ROWS = 48, 12288
"""Blocks and hidden positions to which shifts are fitted."""
ROUNDS, STEPS, BATCH, RATE = 8, 60, 512, 0.05
"""Rounds of the scaling that shifts start from, and steps, rows a step and rate of the fit of shifts and factors."""
CELL, BASE, FACTORS = 0.4, 1.5, (0.5, 1.5)
"""Constants of the closed form, and the factors of the first level and of the others that the fit starts from."""


def flat(grid: Tensor) -> Tensor:
    """Return positions in a row (b, n, c) of a grid (b, c, *grid)."""
    return grid.flatten(2).transpose(1, 2)


def frames_of(x: Tensor) -> Tensor:
    """Return the frames (n, c, h, w) of frames, or of blocks (b, c, t, z, h, w) one after another."""
    return x if x.ndim == 4 else x.movedim(1, 3).flatten(0, 2)


def hint_features(channels: int, blocks: bool, shares: int) -> int:
    """Return how many numbers a hint tells a network: `shares` is that of frames, blocks have their own."""
    return 2 * channels + SHARES if blocks else channels + shares


class Leaning(NamedTuple):
    """Means and reciprocal variances (..., c) of the vectors of positions, in the basis of the hints."""

    mean: Tensor
    precision: Tensor

    def at(self, positions: Tensor) -> "Leaning":
        """Return those of positions (b, m), from (b, n, c)."""
        index = positions[..., None].expand(-1, -1, self.mean.shape[-1])
        return Leaning(self.mean.gather(1, index), self.precision.gather(1, index))

    def flat(self, rows: Tensor) -> "Leaning":
        """Return those of rows (m,) among all positions of all items, from (b, n, c)."""
        return Leaning(*(part.flatten(0, 1)[rows] for part in self))

    def of(self, rows: Tensor) -> "Leaning":
        """Return those of rows, by a mask or by indices of the first axes."""
        return Leaning(self.mean[rows], self.precision[rows])

    def spread(self, copies: int) -> "Leaning":
        """Return every item several times in a row."""
        return Leaning(*(part.repeat_interleave(copies, 0) for part in self))


@dataclass(frozen=True)
class Evidence:
    """What the known pixels alone say of the n positions of items; no hidden pixel is used.

    Attributes:
        features: (b, n, h) for the network. Of frames the vector of `position_hints` and its shares, h = c + 4; of
            blocks the vector of the fill, the logarithm of scale over spread, and the shares of `Hint`, h = 2 c + 9.
        leaning: For the logits; frames have none.
        fill: (b, 1, t, z, H, W) the smoothest continuation; frames have none.
        some: (b,) bool, of which blocks anything is known; frames have none.
    """

    features: Tensor
    leaning: Leaning | None = None
    fill: Tensor | None = None
    some: Tensor | None = None


class CodePrior(nn.Module):
    """The hints of blocks and what they say of codes, scaled by a learned factor of each level and channel.

    Args:
        channels: Of the vectors of the tokenizer.
        levels: Residual codes of a position.
        vocab: Values of a code.
    """

    rest: Tensor
    shift: Tensor
    common: Tensor
    alike: Tensor

    def __init__(self, channels: int, levels: int, vocab: int) -> None:
        super().__init__()
        self.candidates = CANDIDATES
        self.hints = Hints(channels, rotate=True)
        self.register_buffer("rest", torch.ones(levels, channels))
        self.register_buffer("shift", torch.zeros(levels, vocab))
        self.register_buffer("common", torch.zeros(levels, vocab))
        self.register_buffer("alike", torch.zeros(4, channels))
        start = torch.tensor([FACTORS[0], *[FACTORS[1]] * (levels - 1)]).log()
        self.log_factor = nn.Parameter(start[:, None].repeat(1, channels))
        self.say = nn.Parameter(torch.tensor(0.5))

    def fit(self, tokenizer: CodeTokenizer, x: Tensor, codes: Tensor, rng: Streams) -> None:
        """Fit all to blocks (n, 1, t, z, H, W), hidden as in training, and to the frequencies of codes (m, levels)."""
        for level, own in enumerate(codes.T):
            # One more of each: the logarithm of a code that the sample lacks must be finite.
            count = torch.bincount(own, minlength=self.common.shape[1]) + 1.0
            self.common[level] = (count / count.sum()).log()
        self.hints.fit(tokenizer, x, rng)
        leaning, left, codes = self._hidden(tokenizer, x[:BLOCKS], rng)
        if not len(codes):
            return
        for level, book in enumerate(self._books(tokenizer)):
            left = left - book[codes[:, level]]
            self.rest[level] = left.square().mean(0).sqrt()
        self.shift.zero_()
        generator = torch.Generator().manual_seed(derive(rng.seed, "prior"))
        for level in range(len(self.rest)):
            self._fit_level(self.bind(tokenizer, leaning), codes, level, generator)

    @torch.enable_grad()
    def _fit_level(self, logits: "PriorLogits", codes: Tensor, level: int, generator: torch.Generator) -> None:
        """Fit shifts and factors of a level by the cross-entropy of codes (n, levels), beside their frequencies."""
        own, wanted = codes[:, level], self.common[level]
        with torch.no_grad():
            start = _scaled(logits(codes, level), wanted)
        shift = start.requires_grad_()
        optimiser = torch.optim.Adam([shift, self.log_factor], lr=RATE)
        for _ in range(STEPS):
            rows = torch.randint(len(codes), (BATCH,), generator=generator).to(codes.device)
            loss = F.cross_entropy(logits.of(rows)(codes[rows], level) + wanted + shift, own[rows])
            # Not `backward`, which would leave gradients at whatever else the logits are made of.
            shift.grad, self.log_factor.grad = torch.autograd.grad(loss, [shift, self.log_factor])
            optimiser.step()
        self.log_factor.grad = None
        self.shift[level] = shift.detach()

    @torch.no_grad()
    def _hidden(self, tokenizer: CodeTokenizer, x: Tensor, rng: Streams) -> tuple[Leaning, Tensor, Tensor]:
        """Return leanings, vectors in the basis (n, c) and codes (n, levels) of hidden positions; fit `alike`."""
        grid = (*x.shape[2:4], x.shape[-2] // tokenizer.patch, x.shape[-1] // tokenizer.patch)
        positions = training_known(grid, Streams(rng.seed, [("prior", i) for i in range(len(x))])).to(x.device)
        parts, many, sums = [], -(-ROWS // len(x)), x.new_zeros(4, 2, tokenizer.channels)
        # Parts of larger blocks with the fill of the whole, since that is how a model sees the blocks of a scan.
        for _, part in self.hints.inner_parts(x, position_pixels(positions, tokenizer.patch), rng):
            hint = self.hints(tokenizer, part.x, part.known, {"fill": torch.cat([part.fill, part.near], 1)})
            hidden, vectors = ~known_positions(part.known, tokenizer.patch), framewise(tokenizer.encode, part.x)
            units = ((vectors - hint.mean).movedim(1, -1) @ self.hints.basis) / hint.scale.movedim(1, -1)
            sums = sums + neighbour_sums(units, hidden)
            rows = hidden.flatten().nonzero()[:, 0]
            rows = rows[:: max(1, -(-len(rows) // many))]
            true = flat(vectors).flatten(0, 1)[rows]
            codes = tokenizer.quantise(true[:, :, None, None]).flatten(0, 2)
            parts.append((*(values.flatten(0, 1)[rows] for values in self.leaning(hint)), true, codes))
        self.alike.copy_(correlations(sums))
        mean, precision, true, codes = (torch.cat(values) for values in zip(*parts, strict=True))
        return Leaning(mean, precision), true @ self.hints.basis, codes

    def leaning(self, hint: Hint) -> Leaning:
        """Return what a hint says of the positions of blocks."""
        return Leaning(flat(hint.mean) @ self.hints.basis, flat(hint.scale).square().reciprocal())

    @torch.no_grad()
    def evidence(
        self,
        tokenizer: CodeTokenizer,
        x: Tensor,
        known: Tensor,
        condition: Condition | None,
        iterations: int = ITERATIONS,
    ) -> Evidence:
        """Return what is known of blocks x (b, 1, t, z, H, W); hidden voxels are not used."""
        hint = block_hint(self.hints, tokenizer, x, known, condition, iterations)
        features = [flat(hint.mean), (flat(hint.scale) / self.hints.spread).log(), flat(hint.shares)]
        return Evidence(torch.cat(features, -1), self.leaning(hint), hint.fill, known.flatten(1).any(1))

    @torch.no_grad()
    def within_cells(self, drawn: Tensor, evidence: Evidence, noise: Tensor) -> Tensor:
        """Return vectors (b, n, c) of blocks drawn given the codes, of which `drawn` (b, n, c) are the vectors.

        A code leaves a normal law of the deviations q about its vector, the hint says one of S about the mean: a vector
        is drawn from their product, less what the code has of the data already. Where a neighbour in time is known,
        codes are what is coarse. Vectors of blocks of which nothing is known stay those of their codes.

        Args:
            drawn: Of positions.
            evidence: Of these.
            noise: (b, n, c) standard normal, 0 for the mean.
        """
        if evidence.leaning is None or evidence.some is None:
            return drawn
        with torch.autocast(drawn.device.type, enabled=False):
            cell, basis = self.rest[-1].square(), self.hints.basis
            told = (evidence.leaning.precision - self.hints.spread.square().reciprocal()).clamp(min=0)
            # Two normal laws multiplied: precisions add, and the mean is drawn towards the hint by what it adds.
            free = (1 + cell * told).reciprocal()
            off = (1 - free) * (evidence.leaning.mean - drawn @ basis) + (cell * free).sqrt() * noise
            return drawn + evidence.some[:, None, None] * (off @ basis.T)

    def bind(self, tokenizer: CodeTokenizer, leaning: Leaning) -> "PriorLogits":
        """Return the logits that a leaning adds."""
        base = BASE / self.hints.spread.square()
        return PriorLogits(leaning, self._books(tokenizer), CELL * self.rest.square(), base, self)

    @torch.no_grad()
    def _books(self, tokenizer: CodeTokenizer) -> Tensor:
        """Return what each code adds (levels, vocab, c), in the basis of the hints."""
        every = torch.arange(tokenizer.vocab, device=self.rest.device)
        books = torch.stack([tokenizer.embed(every, level) for level in range(len(self.rest))])
        with torch.autocast(books.device.type, enabled=False):
            return books.float() @ self.hints.basis


def _scaled(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return what (vocab,) to add to logits (n, vocab), beside log-frequencies, for codes to be as frequent as wanted.

    The maximum likelihood of a bias, by iterated scaling.
    """
    bias = wanted
    for _ in range(ROUNDS):
        share = (logits + bias).softmax(-1).mean(0).clamp(min=1e-8).log()
        # Bounded, since a code that hardly ever comes out would leap, and overshoot in the next round.
        bias = bias + (wanted - share).clamp(-2, 2)
    return bias - wanted


@dataclass(frozen=True)
class PriorLogits:
    """What is added to the logits of codes at the positions of a leaning: see the head of this file.

    Attributes:
        leaning: Of the positions.
        books: (levels, vocab, c) what codes add, in the basis of the hints.
        cells: (levels, c) variances in a cell.
        base: (c,) precision of the data, which the first level does not take off.
        prior: Where factors and shifts are.
    """

    leaning: Leaning
    books: Tensor
    cells: Tensor
    base: Tensor
    prior: CodePrior

    def at(self, positions: Tensor) -> "PriorLogits":
        """Return the same for positions (b, m), from (b, n, c)."""
        return replace(self, leaning=self.leaning.at(positions))

    def alike(self) -> "PriorLogits":
        """Return the same for several draws (b, m, k) of each position (b, m)."""
        return replace(self, leaning=Leaning(*(part[:, :, None] for part in self.leaning)))

    def of(self, rows: Tensor) -> "PriorLogits":
        """Return the same for rows, by a mask or by indices."""
        return replace(self, leaning=self.leaning.of(rows))

    def __call__(self, codes: Tensor, level: int) -> Tensor:
        """Return (..., vocab) for `level`, given the codes (..., >= level); in full precision."""
        with torch.autocast(codes.device.type, enabled=False):
            left, trust = self.leaning.mean, self.leaning.precision
            for earlier in range(level):
                left = left - self.books[earlier][codes[..., earlier]]
            trust = (trust - self.base).clamp(min=0) if level else trust
            weight = self.prior.log_factor[level].exp() * (trust / (1 + trust * self.cells[level]))
            book = self.books[level]
            return self.prior.shift[level] + (weight * left) @ book.T - (weight / 2) @ book.square().T
