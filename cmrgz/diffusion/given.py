"""Items of which a part is given: what their states are measured from, and what a network is told beside them.

The states of frames are their latents. Those of blocks are what is left over when the hints of the known part are taken
away, in units of how far the truth usually lies from them (`cmrgz.hints`): standard normal, as far as is known without
learning. All solvers and algorithms work on such states alike, on a grid of any shape.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cmrgz.adaptive import ITERATIONS
from cmrgz.diffusion.objectives import Factor, Objective
from cmrgz.features import SHARES
from cmrgz.hints import LEAST, Hint, Hints, block_hint, exactly, with_detail
from cmrgz.latents import framewise, known_positions, smooth_fill
from cmrgz.model import Condition, Tokenizer
from cmrgz.pieces import piece

QUICK = 8
"""Iterations of the fill in training, where one is made for every item: within a tenth of its error of converged."""


def across(values: Tensor, like: Tensor) -> Tensor:
    """Return values (b,), one an item, so that they broadcast over (b, ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True)
class Origin:
    """What the states of frames are: the latents themselves.

    Attributes:
        context: (b, k, *grid) what the network is told beside the state.
    """

    context: Tensor

    def to_units(self, latents: Tensor) -> Tensor:
        """Return the states (b, c, *grid) of latents."""
        return latents

    def from_units(self, states: Tensor) -> Tensor:
        """Return the latents (b, c, *grid) of states."""
        return states

    def predicted(self, output: Tensor, objective: Objective, z: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return the prediction that a network's output (b, c, *grid) for a state z = a x + s e stands for."""
        del objective, z, a, s
        return output

    def mean_error(self, error: Tensor, weight: Tensor, hidden: Tensor) -> Tensor:
        """Return the mean (b,) over hidden positions of squared errors (b, c, *grid), weighed by channel (c,)."""
        dims = tuple(range(1, error.ndim))
        error = error * weight.view(-1, *[1] * (error.ndim - 2))
        return (error * hidden).sum(dims) / (hidden.sum(dims) * error.shape[1]).clamp(min=1)

    def level_weight(self, objective: Objective, snr: Tensor, min_snr: float) -> Tensor:
        """Return the weights (b,) of the errors at signal-to-noise ratios (b,)."""
        return objective.weight(snr, min_snr)

    def repeated(self, k: int) -> "Origin":
        """Return the same with every item k times in a row."""
        return Origin(self.context.repeat_interleave(k, 0))


@dataclass(frozen=True)
class BlockOrigin(Origin):
    """What the states of blocks are: (latents - mean) / scale.

    A network adds to what is best where a state is standard normal: without training it already is the denoiser of a
    Gaussian about the mean, whatever its objective.

    Attributes:
        mean: (b, c, *grid).
        scale: (b, c, *grid).
        relative: (b, c, *grid) the scale over the spread of the data.
    """

    mean: Tensor
    scale: Tensor
    relative: Tensor

    @classmethod
    def of(cls, mean: Tensor, scale: Tensor, spread: Tensor, shares: Tensor, known: Tensor) -> "BlockOrigin":
        """Return an origin that the network is told; `known` (b, 1, *grid), all (b, ?, *grid) but `spread` (c,)."""
        relative = scale / spread.view(-1, 1, 1, 1, 1)
        # A known position is certain; the least scale stands for 0, which has no logarithm.
        told = torch.where(known, LEAST, relative).log()
        return cls(torch.cat([mean, told, shares, known.to(mean)], 1), mean, scale, relative)

    def to_units(self, latents: Tensor) -> Tensor:
        """Return the states (b, c, *grid) of latents."""
        return (latents - self.mean) / self.scale

    def from_units(self, states: Tensor) -> Tensor:
        """Return the latents (b, c, *grid) of states."""
        return self.mean + self.scale * states

    def predicted(self, output: Tensor, objective: Objective, z: Tensor, a: Factor, s: Factor) -> Tensor:
        """Return the output and what is best for standard normal data, of which E[x | z] = a z and E[e | z] = s z."""
        # The network has only to learn what the best linear denoiser leaves over, as with c_skip of Karras et al. 2022
        # (arXiv 2206.00364, eq. 7).
        return output + objective.target(a * z, s * z, a, s)

    def mean_error(self, error: Tensor, weight: Tensor, hidden: Tensor) -> Tensor:
        """Return the mean (b,) of squared errors; where little is certain counts most, and items count alike."""
        # By the scale, not by its square, as equal errors of latents would be: the few positions that are farthest from
        # all that is known would then be all that counts.
        weights = self.relative * weight.view(-1, 1, 1, 1, 1) * hidden
        return (error * weights).flatten(1).sum(1) / weights.flatten(1).sum(1).clamp(min=1e-6)

    def level_weight(self, objective: Objective, snr: Tensor, min_snr: float) -> Tensor:
        """Return weights (b,) that are even: of what is left over the mean counts as much as detail does."""
        del min_snr
        return objective.even_weight(snr)

    def repeated(self, k: int) -> "Origin":
        """Return the same with every item k times in a row."""
        parts = (self.context, self.mean, self.scale, self.relative)
        return BlockOrigin(*(part.repeat_interleave(k, 0) for part in parts))


class Given(ABC):
    """Items x of which `known` is given (b, 1, ...), and nothing else of them is used.

    Attributes:
        positions: (b, 1, *grid) bool, those that are known.
        latents: (b, c, *grid) of known positions, 0 where hidden.
    """

    def __init__(self, tokenizer: Tokenizer, x: Tensor, known: Tensor, condition: Condition | None) -> None:
        self.tokenizer, self.x, self.known, self.condition = tokenizer, x, known, condition
        self.positions = known_positions(known, tokenizer.patch)[:, None]

    @cached_property
    def latents(self) -> Tensor:
        """Vectors of known positions; see the class."""
        # Patches that are hidden, in part or as a whole, are encoded as well: what comes of them must not get any
        # further.
        return torch.where(self.positions, self.encode(self.x), 0.0)

    def encode(self, x: Tensor) -> Tensor:
        """Return the vectors (b, c, *grid) of items."""
        return framewise(self.tokenizer.encode, x)

    @property
    @abstractmethod
    def empty(self) -> Tensor:
        """Which items (b,) nothing is known of."""

    @cached_property
    def blank(self) -> tuple[bool, bool]:
        """Whether nothing is known of any of the items, and of some of them."""
        # One question to the device: each makes the host wait for all that was launched before.
        none, some = torch.stack([self.empty.all(), self.empty.any()]).cpu()
        return bool(none), bool(some)

    @property
    @abstractmethod
    def told(self) -> Origin:
        """The origin for a network that is told of the known part."""

    @property
    @abstractmethod
    def untold(self) -> Origin:
        """The origin for a network that is told of nothing, whatever is known."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Return the items (b, 1, *item) of latents that were drawn given the known part."""


class FrameGiven(Given):
    """Frames: the network is told the vectors of a smooth continuation in the plane, and which positions are known."""

    @property
    def empty(self) -> Tensor:
        """Which frames no position is known of."""
        return ~self.positions.flatten(1).any(1)

    @property
    def told(self) -> Origin:
        """The vectors of the continuation, at known positions those of the pixels; all 0 where nothing is known."""
        vectors = self.tokenizer.encode(piece(smooth_fill)(self.x, self.known))
        known = self.positions.to(vectors)
        # An item of which nothing is known gets zeros, as in training, and not vectors of a continuation of nothing.
        return Origin(torch.cat([vectors * known.amax((2, 3), keepdim=True), known], 1))

    @property
    def untold(self) -> Origin:
        """Zeros."""
        b, c, *grid = self.latents.shape
        # What the network was shown with the items of training that know nothing: so it is a plain denoiser.
        return Origin(self.latents.new_zeros(b, c + 1, *grid))

    def decode(self, latents: Tensor) -> Tensor:
        """Return the frames of latents."""
        return self.tokenizer.decode(latents)


class BlockGiven(Given):
    """Blocks: states and context are those of the hints of what is known; detail of the fill is carried over.

    Computed in full precision: what is left over is a small difference of large numbers.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        hints: Hints,
        x: Tensor,
        known: Tensor,
        condition: Condition | None,
        iterations: int = ITERATIONS,
    ) -> None:
        super().__init__(tokenizer, x, known, condition)
        self.hints, self.iterations = hints, iterations

    @cached_property
    def hint(self) -> Hint:
        """What is known of the positions without learning."""
        return block_hint(self.hints, self.tokenizer, self.x, self.known, self.condition, self.iterations)

    def encode(self, x: Tensor) -> Tensor:
        """Return the vectors (b, c, t, z, h, w) of blocks."""
        return exactly(self.tokenizer.encode, x)

    @property
    def empty(self) -> Tensor:
        """Which blocks no pixel is known of: one that lies in a patch with hidden ones tells something, too."""
        return ~self.known.flatten(1).any(1)

    @property
    def told(self) -> Origin:
        """That of the hints; a state is 0 at known positions."""
        hint = self.hint
        mean = torch.where(self.positions, self.latents, hint.mean)
        return BlockOrigin.of(mean, hint.scale, self.hints.spread, hint.shares, self.positions)

    @property
    def untold(self) -> Origin:
        """Mean and spread of the data, and that nothing is known."""
        like, nothing = self.latents, torch.zeros_like(self.positions)
        mean, scale = (part.view(-1, 1, 1, 1, 1).expand_as(like) for part in (self.hints.mean, self.hints.spread))
        shares = like.new_zeros(len(like), SHARES, *like.shape[2:])
        return BlockOrigin.of(mean, scale, self.hints.spread, shares, nothing)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the blocks of latents, with what the tokenizer loses of the fill, where anything is known."""
        if self.blank[0]:
            return framewise(self.tokenizer.decode, latents)
        return with_detail(self.tokenizer, latents, self.hint, self.known)
