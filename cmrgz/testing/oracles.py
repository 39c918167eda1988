"""Toy distributions of codes with exact conditionals: what a decoder draws from them can be held against the truth.

A `CodeField` is a joint distribution over the codes of a small grid, held as a table. `OracleNetwork` answers as a
perfectly trained network would, so that `oracle_model` is a `TokenModel` whose only errors are those of the decoding.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmrgz.errors import PluginError, UsageError
from cmrgz.model import Condition
from cmrgz.options import Axes
from cmrgz.rng import Streams
from cmrgz.testing.plain_hints import without_prior
from cmrgz.testing.symbols import SymbolTokenizer as SymbolTokenizer
from cmrgz.testing.symbols import symbol_codes as symbol_codes
from cmrgz.testing.symbols import vector_symbols
from cmrgz.tokens.causal import TokenModel
from cmrgz.tokens.codes import CodeModel
from cmrgz.tokens.masked_codes import MaskedTokenModel
from cmrgz.tokens.network import CausalNetwork, CodeNetwork, MaskedNetwork

MOST_ENTRIES = 1 << 22
"""Of the table of all marginals."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class CodeField:
    """A distribution over the symbols of a grid; a symbol is the `levels` codes of a position, the first one leading.

    Args:
        grid: Rows and columns, in blocks after phases and slices; n positions in all.
        vocab: Values of a code.
        levels: Codes of a position; a position has `vocab ** levels` symbols.
        joint: Probabilities of all grids of symbols, (symbols,) * n, each above 0.

    Raises:
        UsageError: `range`: a shape that does not fit, a probability that is not above 0, or too many grids to list.
    """

    def __init__(self, grid: tuple[int, ...], vocab: int, levels: int, joint: Floats) -> None:
        self.grid, self.vocab, self.levels = grid, vocab, levels
        self.n, self.symbols = math.prod(grid), vocab**levels
        if joint.shape != (self.symbols,) * self.n or not (joint > 0).all():
            raise UsageError("range", "joint", "must be positive, one axis a position", f"got shape {joint.shape}")
        _check_size(self.symbols, self.n)
        self.joint = joint / joint.sum()

    @classmethod
    def random(
        cls, grid: tuple[int, ...], vocab: int, levels: int = 1, strength: float = 1.0, seed: int = 0
    ) -> "CodeField":
        """Return a Markov random field: neighbours, also diagonal ones, are coupled with energies of sd `strength`.

        In blocks also those in the next phase and slice.
        """
        n, symbols, rng = math.prod(grid), vocab**levels, np.random.default_rng(seed)
        place = np.stack(np.unravel_index(np.arange(n), grid), 1)
        _check_size(symbols, n)
        energy = np.zeros((symbols,) * n)
        for i in range(n):
            energy += _along(rng.normal(0, 0.5, symbols), (i,), n)
            for j in range(i + 1, n):
                if np.abs(place[i] - place[j]).max() == 1:
                    energy += _along(rng.normal(0, strength, (symbols, symbols)), (i, j), n)
        # The largest is moved to 0, which the normalisation undoes: no exponential overflows.
        return cls(grid, vocab, levels, np.exp(energy - energy.max()))

    def sample(self, count: int, rng: np.random.Generator) -> Ints:
        """Return exact draws (count, n) of symbols."""
        flat = rng.choice(self.joint.size, count, p=self.joint.ravel())
        return np.stack(np.unravel_index(flat, self.joint.shape), 1)

    def posterior(self, symbols: Ints, known: NDArray[np.bool_]) -> Floats:
        """Return p(hidden symbols | known symbols), one axis a hidden position, of a grid (n,) with `known` (n,)."""
        part = self.joint[tuple(int(s) if k else slice(None) for s, k in zip(symbols, known, strict=True))]
        return np.asarray(part / part.sum())

    def marginals(self) -> Floats:
        """Return the sums over all sets of positions, (symbols + 1,) * n: the last index of an axis is its sum."""
        table = self.joint
        for axis in range(self.n):
            table = np.concatenate([table, table.sum(axis, keepdims=True)], axis)
        return table


def _check_size(symbols: int, n: int) -> None:
    if (symbols + 1) ** n > MOST_ENTRIES:
        raise UsageError("range", "grid", "has too many states to list", f"{symbols} symbols at {n} positions")


def _along(values: Floats, axes: tuple[int, ...], n: int) -> Floats:
    """Return `values` with their axes at the places `axes` of n, to be broadcast over the others."""
    return np.expand_dims(values, [axis for axis in range(n) if axis not in axes])


def frequencies(symbols: Ints, shape: tuple[int, ...]) -> Floats:
    """Return how often each combination occurs among draws (count, m): an array of `shape`, of m axes, with sum 1."""
    flat = np.ravel_multi_index(tuple(symbols.T), shape)
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape) / len(symbols)


def total_variation(p: Floats, q: Floats) -> float:
    """Return half of the summed difference of two distributions: 0 for equal ones, 1 for disjoint ones."""
    return float(np.abs(p - q).sum() / 2)


def variation_bound(p: Floats, count: int, rng: np.random.Generator, repeats: int = 400) -> float:
    """Return the total variation that `count` exact draws from `p` stay below: the largest of `repeats` such sets."""
    # Even exact draws differ from the table by chance: a bound must know by how much.
    sets = rng.multinomial(count, p.ravel(), repeats) / count
    return max(total_variation(p.ravel(), q) for q in sets)


class _FieldNetwork(CodeNetwork):
    """The conditionals of a `CodeField`."""

    def __init__(self, field: CodeField) -> None:
        super().__init__()
        self.n, self.vocab, self.levels, self.symbols = field.n, field.vocab, field.levels, field.symbols
        self.table = nn.Parameter(torch.from_numpy(field.marginals().ravel()), requires_grad=False)
        self.register_buffer("stride", (field.symbols + 1) ** torch.arange(field.n - 1, -1, -1))

    def law(self, digits: Tensor, targets: Tensor) -> Tensor:
        """Return log p(symbol) (b, m, symbols) of targets (b, m) given digits (b, n); `symbols` is one that is not."""
        stride = self.get_buffer("stride")
        own = torch.arange(self.symbols, device=targets.device) - digits.gather(1, targets)[..., None]
        share = self.table[(digits * stride).sum(1)[:, None, None] + own * stride[targets][..., None]]
        return (share / share.sum(-1, keepdim=True)).log()

    def logits(self, features: Tensor, codes: Tensor, level: int) -> Tensor:
        """Return the log-probabilities (..., vocab) of the code at a level; see `CausalNetwork`."""
        rest = features.unflatten(-1, (self.vocab, -1))
        for earlier in range(level):
            index = codes[..., earlier, None, None].expand(*rest.shape[:-2], 1, rest.shape[-1])
            rest = rest.gather(-2, index).squeeze(-2).unflatten(-1, (self.vocab, -1))
        return rest.logsumexp(-1).log_softmax(-1)


@dataclass
class OracleCache:
    """What an oracle was given: symbols and positions (b, n + 1) by slot. Symbol -1 is a vector that means nothing."""

    symbols: Tensor
    positions: Tensor


class OracleNetwork(_FieldNetwork, CausalNetwork[OracleCache]):
    """Gives the exact conditionals of a `CodeField`; features are log p(symbol of the target | content seen).

    It is strict: to let it see a slot to which no one-hot vector was written is an error, as a decoder must not.
    """

    def start(self, batch: int, n: int, condition: Condition | None, hints: Tensor | None = None) -> OracleCache:
        """Return an empty cache; see `CausalNetwork`. Neither conditions nor hints matter."""
        del condition, hints
        empty = torch.full((batch, n + 1), -1, device=self.table.device)
        return OracleCache(empty, empty.clone())

    def extend(self, cache: OracleCache, vectors: Tensor, positions: Tensor, slots: Tensor) -> None:
        """Write content to slots; see `CausalNetwork`."""
        cache.symbols.scatter_(1, slots, vector_symbols(vectors, self.vocab, self.levels))
        cache.positions.scatter_(1, slots, positions)

    def select(self, cache: OracleCache, rows: Tensor) -> None:
        """Put items of the cache in the place of others; see `CausalNetwork`."""
        cache.symbols, cache.positions = cache.symbols[rows], cache.positions[rows]

    def forward(self, cache: OracleCache, targets: Tensor, length: Tensor) -> Tensor:
        """Return log-probabilities (b, m, symbols) of the targets; see `CausalNetwork`.

        Raises:
            PluginError: `plugin-output`: a slot that is seen has no content.
        """
        seen = torch.arange(cache.symbols.shape[1], device=targets.device) < length[:, None]
        if bool((seen & (cache.symbols < 0)).any()):
            raise PluginError("plugin-output", "oracle", "is shown a slot that holds no content")
        # The digit after the last symbol stands for a position that is not seen, see `CodeField.marginals`.
        digits = targets.new_full((len(targets), self.n + 1), self.symbols)
        digits.scatter_(1, torch.where(seen, cache.positions, self.n), cache.symbols)
        return self.law(digits[:, : self.n], targets)

    def train_states(
        self,
        vectors: Tensor,
        order: Tensor,
        condition: Condition | None,
        hints: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        """Return the features (b, m, symbols) of the positions at `slots` of the order; see `CausalNetwork`."""
        cache = self.start(len(order), order.shape[1], condition, hints)
        every = torch.arange(order.shape[1], device=order.device).expand_as(order)
        self.extend(cache, vectors, order, every)
        slots = every if slots is None else slots
        targets = order.gather(1, slots)
        return torch.cat([self(cache, targets[:, i : i + 1], slots[:, i]) for i in range(slots.shape[1])], 1)


class OracleMaskedNetwork(_FieldNetwork, MaskedNetwork):
    """As `OracleNetwork`, for what is shown at any positions."""

    def forward(self, vectors: Tensor, shown: Tensor, condition: Condition | None, hints: Tensor | None) -> Tensor:
        """Return log-probabilities (b, n, symbols) of all positions; see `MaskedNetwork`.

        Raises:
            PluginError: `plugin-output`: a position that is shown has no content.
        """
        del condition, hints
        symbols = vector_symbols(vectors, self.vocab, self.levels)
        if bool((shown & (symbols < 0)).any()):
            raise PluginError("plugin-output", "oracle", "is shown a position that holds no content")
        every = torch.arange(self.n, device=shown.device).expand_as(shown)
        return self.law(torch.where(shown, symbols, self.symbols), every)


def oracle_model(field: CodeField, raster_share: float = 0.1, level_decay: float = 1.0) -> TokenModel:
    """Return the perfect token model of a field, in eval mode."""
    tokenizer = SymbolTokenizer(field.vocab, field.levels)
    model = TokenModel(OracleNetwork(field), tokenizer, raster_share, level_decay, axes=_axes(field))
    return without_prior(model).eval()


def masked_oracle_model(field: CodeField) -> MaskedTokenModel:
    """Return the perfect bidirectional token model of a field, in eval mode."""
    tokenizer = SymbolTokenizer(field.vocab, field.levels)
    model = MaskedTokenModel(OracleMaskedNetwork(field), tokenizer, level_decay=1.0, axes=_axes(field))
    return without_prior(model).eval()


def _axes(field: CodeField) -> Axes:
    return "yx" if len(field.grid) == 2 else "tzyx"


def draw_hidden(
    model: CodeModel, symbols: Ints, known: NDArray[np.bool_], grid: tuple[int, ...], rng: Streams, **options: Any
) -> Ints:
    """Return draws (len(rng), hidden) of the hidden symbols of one grid, given those `known`, through `sample`.

    Args:
        model: From `oracle_model` or `masked_oracle_model`.
        symbols: A grid (n,); only the known ones are shown to the model.
        known: (n,) bool.
        grid: Of the field.
        rng: One stream a draw.
        options: Of the model's `sample`.
    """
    tokenizer = model.tokenizer
    if not isinstance(tokenizer, SymbolTokenizer):
        raise UsageError("range", "model", "must be an oracle")
    given = torch.from_numpy(known).reshape(1, 1, *grid).expand(len(rng), 1, *grid)
    x = tokenizer.pixels(torch.from_numpy(symbols)).reshape(1, 1, *grid).where(given, 0.0)
    drawn = tokenizer.symbols(model.sample(x, given, rng=rng, **options))
    return drawn.flatten(1)[:, ~torch.from_numpy(known)].numpy()
