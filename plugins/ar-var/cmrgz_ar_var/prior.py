"""What the hints of blocks say of the codes of each scale, in closed form; the logits of a network are added to it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmrgz.adaptive import ITERATIONS
from cmrgz.hints import LEAST, Hints
from cmrgz.latents import position_pixels, training_known
from cmrgz.rng import Streams
from cmrgz.tokens.network import Logits
from cmrgz.tokens.prior import flat, frames_of
from cmrgz.tokens.scales import ScaleTokenizer, known_cells
from cmrgz_ar_var.evidence import Evidence, block_evidence

FITTED, ROWS = 16, 4096
"""Blocks, and cells of each scale, that the closed form is fitted to."""
FACTORS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4)
"""Factors of the logits that are tried."""
ROUNDS = 6
"""Rounds of the fit of shifts."""


@dataclass(frozen=True)
class Leaning:
    """Logits of a scale that those of a network are added to, by features that hold what is expected of a cell.

    With the cell expected to be m, the code k of vector e, after codes that add up to s, gets

        shift(k) + factor (w (m - s) . e - 1/2 w . e^2),    w = trust / (1 + trust q^2),

    the ratio of a normal law about m to that of the data, in cells of width q: see `cmrgz.tokens.prior`. Features are
    (..., d + 2 c): those of the network, m, and trust, in the basis of the scale.

    Attributes:
        logits: Of the network.
        books: (levels, vocab, c) what codes add, in the basis of the scale.
        rest: (levels,) root mean square of what the codes leave.
        factor: (levels,)
        shift: (levels, vocab)
    """

    logits: Logits
    books: Tensor
    rest: Tensor
    factor: Tensor
    shift: Tensor

    def __call__(self, features: Tensor, codes: Tensor, level: int) -> Tensor:
        """Return logits (..., vocab) of a level, given features and the codes (..., >= level)."""
        c = self.books.shape[-1]
        own = features[..., : -2 * c]
        return self.logits(own, codes, level).float() + self.alone(features[..., -2 * c :], codes, level)

    def alone(self, expected: Tensor, codes: Tensor, level: int) -> Tensor:
        """Return what is added, given what is expected (..., 2 c)."""
        # Differences of large squares: bfloat16 would lose what tells codes apart.
        with torch.no_grad(), torch.autocast(codes.device.type, enabled=False):
            left, trust = expected.float().chunk(2, -1)
            for earlier in range(level):
                left = left - self.books[earlier][codes[..., earlier]]
            weight, book = trust / (1 + trust * self.rest[level].square()), self.books[level]
            logits = (weight * left) @ book.T - (weight / 2) @ book.square().T
        return self.shift[level] + self.factor[level] * logits


class ScalePrior(nn.Module):
    """The hints of blocks, and what they say of cells: what is left of them when coarser scales are taken away.

    It is expected to be pool(fill - drawn), but for what the coarser scale already settled: of its difference to the
    fill a share v / (v + q) is taken as settled, v being the variance of the fill there and q that of what its codes
    leave. A variance is that of the hints, pooled, times a number for each principal axis of the errors of a scale.

    Args:
        tokenizer: First stage.
    """

    basis: Tensor
    gain: Tensor
    spread: Tensor
    rest: Tensor

    def __init__(self, tokenizer: ScaleTokenizer) -> None:
        super().__init__()
        count, channels = len(tokenizer.strides), tokenizer.channels
        self.hints = Hints(channels, rotate=True)
        self.register_buffer("basis", torch.eye(channels).repeat(count, 1, 1))
        self.register_buffer("gain", torch.ones(count, channels))
        self.register_buffer("spread", torch.ones(count, channels))
        self.register_buffer("rest", torch.ones(count, max(tokenizer.levels)))
        self.log_factor = nn.ParameterList([nn.Parameter(torch.zeros(depth)) for depth in tokenizer.levels])
        for scale, shape in enumerate(zip(tokenizer.levels, tokenizer.vocab, strict=True)):
            self.register_buffer(f"shift_{scale}", torch.zeros(shape))

    @torch.no_grad()
    def fit(self, tokenizer: ScaleTokenizer, x: Tensor, rng: Streams) -> None:
        """Fit hints and scales to blocks (n, 1, t, z, H, W), hidden as in training."""
        self.hints.fit(tokenizer, x, rng)
        x = x[:FITTED]
        grid = (*x.shape[2:4], x.shape[-2] // tokenizer.patch, x.shape[-1] // tokenizer.patch)
        known = training_known(grid, Streams(rng.seed, [("scales", i) for i in range(len(x))])).to(x.device)
        evidence = block_evidence(self.hints, tokenizer, x, position_pixels(known, tokenizer.patch), None, ITERATIONS)
        exact = tokenizer.encode(frames_of(x))
        coded, drawn = tokenizer.code(exact), torch.zeros_like(exact)
        for scale, codes in enumerate(coded.codes):
            left = flat(tokenizer.pool(exact - drawn, scale))
            hidden = ~known_cells(evidence.given, tokenizer.strides[scale]).flatten(1)
            if bool(hidden.any()):
                self._fit_law(tokenizer, left, hidden, drawn, evidence, scale)
            for level in range(tokenizer.levels[scale]):
                left = left - tokenizer.embed(codes[..., level].flatten(1), scale, level)
                self.rest[scale, level] = left.square().mean().sqrt()
            if bool(hidden.any()):
                own = self.expected(tokenizer, drawn, evidence, scale)[hidden]
                every = -(-len(own) // ROWS)
                self._fit_strength(tokenizer, own[::every], codes.flatten(1, 2)[hidden][::every], scale)
            # The true codes of a scale stand for what would have been drawn.
            drawn = coded.sums[scale]

    def _fit_law(
        self, tokenizer: ScaleTokenizer, left: Tensor, hidden: Tensor, drawn: Tensor, evidence: Evidence, scale: int
    ) -> None:
        """Set basis, gain and spread of a scale from what is left of its cells (f, n, c), of which some are hidden."""
        error = (left - self._left(tokenizer, drawn, evidence, scale))[hidden]
        # Ascending by eigenvalue, so that it is turned around: codes are run through along the first axis.
        basis = torch.linalg.eigh((error.T @ error).double())[1].flip(1).to(error)
        own = self._pooled(tokenizer, evidence, scale)[hidden].mean().clamp(min=1e-8)
        self.basis[scale] = basis
        self.gain[scale] = (error @ basis).square().mean(0) / own
        self.spread[scale] = (left.flatten(0, 1) @ basis).square().mean(0).sqrt().clamp(min=1e-3)

    def _fit_strength(self, tokenizer: ScaleTokenizer, expected: Tensor, codes: Tensor, scale: int) -> None:
        """Start factors and shifts of a scale where they explain the codes (n, levels) of cells best."""
        shifts = self.get_buffer(f"shift_{scale}").zero_()
        self.log_factor[scale].data.zero_()
        law = self.leaning(tokenizer, lambda states, codes, level: states, scale)
        for level in range(codes.shape[1]):
            plain, own = law.alone(expected, codes, level), codes[:, level]
            count = torch.bincount(own, minlength=plain.shape[1]) + 1.0
            usual = (count / count.sum()).log()
            tried = []
            for factor in FACTORS:
                shift = _shift(factor * plain, usual)
                tried.append((float(F.cross_entropy(factor * plain + usual + shift, own)), factor, shift))
            _, factor, shifts[level] = min(tried, key=lambda entry: entry[0])
            self.log_factor[scale].data[level] = math.log(factor)

    def leaning(self, tokenizer: ScaleTokenizer, logits: Logits, scale: int) -> Leaning:
        """Return the logits of a scale, given those of a network."""
        with torch.no_grad(), torch.autocast(self.rest.device.type, enabled=False):
            books = tokenizer.features(scale, self.rest.device).float() @ self.basis[scale]
        factor, shift = self.log_factor[scale].exp(), self.get_buffer(f"shift_{scale}")
        return Leaning(logits, books, self.rest[scale], factor, shift)

    @torch.no_grad()
    def expected(self, tokenizer: ScaleTokenizer, drawn: Tensor, evidence: Evidence, scale: int) -> Tensor:
        """Return what is expected (f, n, 2 c) of the cells of a scale; drawn are vectors (f, c, h, w): see `Leaning`.

        Blocks of which nothing is known lean nowhere.
        """
        with torch.autocast(drawn.device.type, enabled=False):
            spread = self.spread[scale].square()
            # A hint never says less than the data do, so that trust cannot be negative.
            variance = torch.minimum(self._variance(tokenizer, evidence, scale), spread)
            left = self._left(tokenizer, drawn, evidence, scale) @ self.basis[scale]
            return torch.cat([left, (1 / variance - 1 / spread) * self._some(evidence)[:, None, None]], -1)

    @torch.no_grad()
    def refined(self, tokenizer: ScaleTokenizer, drawn: Tensor, evidence: Evidence) -> Tensor:
        """Return vectors (f, c, h, w) that the codes of all scales stand for, where in their cells the fill has them.

        What codes leave has a variance q, the truth about the fill one of v: its mean given both lies between them.
        Where a neighbour in time is known, codes are what is coarse. Blocks of which nothing is known stay as drawn.
        """
        with torch.autocast(drawn.device.type, enabled=False):
            off = self._unsettled(tokenizer, evidence.fill - drawn, evidence, len(tokenizer.strides) - 1)
            return drawn + off * self._some(evidence)[:, None, None, None]

    def _some(self, evidence: Evidence) -> Tensor:
        """Return which frames (f,) are of blocks of which something is known."""
        assert evidence.hint is not None
        near = evidence.hint.shares
        return (near[:, 0].flatten(1).amax(1) > 0).repeat_interleave(near.shape[2] * near.shape[3])

    def _pooled(self, tokenizer: ScaleTokenizer, evidence: Evidence, scale: int) -> Tensor:
        """Return the variance of the hints (f, n, 1) as a scale sees it."""
        assert evidence.variance is not None
        return flat(F.avg_pool2d(evidence.variance[:, None], tokenizer.strides[scale]))

    def _variance(self, tokenizer: ScaleTokenizer, evidence: Evidence, scale: int) -> Tensor:
        """Return the variance (f, n, c) of what is left of cells about what is expected, along the basis."""
        # No hint is certain of what is hidden: a variance of 0 would leave one code and no draw.
        least = (LEAST * self.spread[scale]).square()
        return self.gain[scale] * self._pooled(tokenizer, evidence, scale) + least

    def _left(self, tokenizer: ScaleTokenizer, drawn: Tensor, evidence: Evidence, scale: int) -> Tensor:
        """Return what is expected to be left of cells (f, n, c), not turned to the basis."""
        off = evidence.fill - drawn
        return flat(tokenizer.pool(self._unsettled(tokenizer, off, evidence, scale - 1) if scale else off, scale))

    def _unsettled(self, tokenizer: ScaleTokenizer, off: Tensor, evidence: Evidence, scale: int) -> Tensor:
        """Return a difference (f, c, h, w) of the fill to what is drawn, less what a scale has settled of it."""
        left, basis = self.rest[scale, tokenizer.levels[scale] - 1].square(), self.basis[scale]
        variance, cells = self._variance(tokenizer, evidence, scale), tokenizer.pool(off, scale)
        settled = ((flat(cells) @ basis) * (variance / (variance + left))) @ basis.T
        return off - tokenizer.spread(settled.transpose(1, 2).unflatten(2, cells.shape[2:]), scale)


def _shift(logits: Tensor, usual: Tensor) -> Tensor:
    """Return what (vocab,) to add to logits (n, vocab) + usual so that codes are as frequent as usual says."""
    shift = torch.zeros_like(usual)
    for _ in range(ROUNDS):
        share = (logits + usual + shift).softmax(-1).mean(0).clamp(min=1e-8).log()
        shift = shift + (usual - share).clamp(-2, 2)
    return shift
