"""What a token plugin supplies: a network that gives logits for any position from the vectors of any others.

Shapes: b items, n positions, m new ones, c channels of a vector, h numbers of a hint, d features.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor, nn

from cmrgz.model import Condition

Cache = TypeVar("Cache")
Logits = Callable[[Tensor, Tensor, int], Tensor]
"""(features (..., d), codes (..., >= level), level) -> logits (..., vocab)."""


class CodeNetwork(nn.Module, ABC):
    """Gives logits of the codes of a position, level after level, from features of it."""

    @abstractmethod
    def logits(self, features: Tensor, codes: Tensor, level: int) -> Tensor:
        """Return logits (..., vocab) of the code at `level`.

        Given are the features (..., d) of a position and its codes (..., >= level); those before `level` count.
        """

    def frozen_logits(self) -> Logits:
        """Return `logits` for many calls between which no weight changes; may hold what depends on weights alone."""
        return self.logits

    def fit(self, vectors: Tensor, codes: Tensor, features: Tensor) -> None:
        """Set input statistics from a training sample; called once.

        Args:
            vectors: (n, c) vectors.
            codes: (n, levels) their codes.
            features: (levels, vocab, c) what each code adds to a vector.
        """
        del vectors, codes, features


class CausalNetwork(CodeNetwork, Generic[Cache]):
    """A causal network over positions in any order, with a static cache.

    Content (the vectors that are known or already drawn) and targets (the positions asked for) are apart, so that
    several targets can be asked at once, and a cached vector does not depend on what was asked after it.
    """

    @abstractmethod
    def train_states(
        self,
        vectors: Tensor,
        order: Tensor,
        condition: Condition | None,
        hints: Tensor | None = None,
        slots: Tensor | None = None,
    ) -> Tensor:
        """Return features (b, m, d) that predict position `order[:, i]` from `vectors[:, :i]`, for i in `slots`.

        Args:
            vectors: (b, n, c), in the order of prediction.
            order: (b, n) their positions.
            condition: As in `Model.sample`.
            hints: (b, n, h) by position: what the known pixels alone say of it, see `CodeModel.hints`.
            slots: (b, m) which places of the order to predict; None is all, m = n.
        """

    @abstractmethod
    def start(self, batch: int, n: int, condition: Condition | None, hints: Tensor | None = None) -> Cache:
        """Return an empty cache for `n` positions; `hints` (b, n, h) as in `train_states`."""

    @abstractmethod
    def extend(self, cache: Cache, vectors: Tensor, positions: Tensor, slots: Tensor) -> None:
        """Write content (b, m, c) of `positions` (b, m) into `slots` (b, m) of the cache; slot n is dropped.

        The content of a slot sees the slots before it, and those of this call up to itself.
        """

    @abstractmethod
    def select(self, cache: Cache, rows: Tensor) -> None:
        """Put what the cache holds of the items `rows` (b,) in the place of its items; particles need it."""

    @abstractmethod
    def forward(self, cache: Cache, targets: Tensor, length: Tensor) -> Tensor:
        """Return features (b, m, d) of the `targets` (b, m), which see the first `length` (b,) slots."""


class MaskedNetwork(CodeNetwork):
    """A bidirectional network: what is shown of an item at any positions, in; features of every position, out."""

    @abstractmethod
    def forward(self, vectors: Tensor, shown: Tensor, condition: Condition | None, hints: Tensor | None) -> Tensor:
        """Return features (b, n, d) of all positions, by position.

        Args:
            vectors: (b, n, c); what is not shown must not be used.
            shown: (b, n) bool: known or already drawn.
            condition: As in `Model.sample`.
            hints: (b, n, h) what the known pixels alone say of each position, see `CodeModel.hints`.
        """
