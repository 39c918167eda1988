"""An exact tokenizer: a grey value is a symbol, a symbol is codes, and nothing is lost."""

import torch
from torch import Tensor
from torch.nn import functional as F

from cmrgz.model import CodeTokenizer, Condition
from cmrgz.rng import Streams


class SymbolTokenizer(CodeTokenizer):
    """An exact tokenizer of one-pixel patches: grey value <-> symbol <-> codes, a vector is their one-hot codes."""

    def __init__(self, vocab: int, levels: int) -> None:
        super().__init__()
        self.patch, self.vocab, self.levels, self.channels = 1, vocab, levels, vocab * levels

    def pixels(self, symbols: Tensor) -> Tensor:
        """Return the grey values (...) in [-1, 1] of symbols (...)."""
        return symbols.float() / (self.vocab**self.levels - 1) * 2 - 1

    def symbols(self, pixels: Tensor) -> Tensor:
        """Return the symbols (...) of grey values (...)."""
        return ((pixels + 1) / 2 * (self.vocab**self.levels - 1)).round().long()

    def encode(self, x: Tensor) -> Tensor:
        """Return the one-hot codes (b, levels * vocab, h, w) of items (b, 1, h, w)."""
        codes = symbol_codes(self.symbols(x[:, 0]), self.vocab, self.levels)
        return F.one_hot(codes, self.vocab).flatten(-2).movedim(-1, 1).float()

    def decode(self, vectors: Tensor) -> Tensor:
        """Return items (b, 1, h, w) of vectors (b, channels, h, w)."""
        codes = self.quantise(vectors)
        # A symbol is a number, and its codes are the digits of it, the leading one first.
        place = self.vocab ** torch.arange(self.levels - 1, -1, -1, device=vectors.device)
        return self.pixels((codes * place).sum(-1))[:, None]

    def quantise(self, vectors: Tensor) -> Tensor:
        """Return the codes (b, h, w, levels) of vectors (b, channels, h, w)."""
        return vectors.movedim(1, -1).unflatten(-1, (self.levels, self.vocab)).argmax(-1)

    def embed(self, codes: Tensor, level: int) -> Tensor:
        """Return the part of a level of the vectors (..., channels) of codes (...)."""
        # Each level has channels of its own, so that the sum of its parts tells all codes of a position.
        return F.one_hot(codes + level * self.vocab, self.channels).float()

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Return 0: there is nothing to train."""
        del condition, rng
        return x.new_zeros(())


def symbol_codes(symbols: Tensor, vocab: int, levels: int) -> Tensor:
    """Return the codes (..., levels) of symbols (...)."""
    place = vocab ** torch.arange(levels - 1, -1, -1, device=symbols.device)
    return symbols[..., None] // place % vocab


def vector_symbols(vectors: Tensor, vocab: int, levels: int) -> Tensor:
    """Return the symbols (...) of vectors (..., levels * vocab), -1 for one that is no one-hot code."""
    hot = vectors.unflatten(-1, (levels, vocab))
    place = vocab ** torch.arange(levels - 1, -1, -1, device=vectors.device)
    valid = ((hot == 0) | (hot == 1)).all(-1).all(-1) & (hot.sum(-1) == 1).all(-1)
    return torch.where(valid, (hot.argmax(-1) * place).sum(-1), -1)
