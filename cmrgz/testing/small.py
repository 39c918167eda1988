"""Small stand-ins for tests of token models: a tokenizer that trains nothing, items, and weights that all matter."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from cmrgz.latents import patches, unpatch
from cmrgz.model import CodeTokenizer, Condition, Model
from cmrgz.rng import Streams

M = TypeVar("M", bound=Model)


class SmallTokenizer(CodeTokenizer):
    """Residual codes of 2x2 patches with random codebooks; decodes to the patches themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.channels, self.vocab, self.levels = 2, 4, 12, 3
        books = torch.randn(3, 12, 4, generator=torch.Generator().manual_seed(0))
        # Each level is about half as large as the one before, as residual codes are.
        self.books = torch.nn.Parameter(books * torch.tensor([0.6, 0.3, 0.15])[:, None, None])

    def encode(self, x: Tensor) -> Tensor:
        """Return the patches (b, 4, h, w) of items (b, 1, H, W)."""
        return patches(x, 2)

    def decode(self, vectors: Tensor) -> Tensor:
        """Return items (b, 1, H, W) of patches (b, 4, h, w)."""
        return unpatch(vectors, 2)

    def quantise(self, vectors: Tensor) -> Tensor:
        """Return the nearest codes, level after level: (b, h, w, 3)."""
        rest, codes = vectors.movedim(1, -1), []
        for book in self.books:
            codes.append((rest[..., None, :] - book).square().sum(-1).argmin(-1))
            rest = rest - book[codes[-1]]
        return torch.stack(codes, -1)

    def embed(self, codes: Tensor, level: int) -> Tensor:
        """Return the entries (..., 4) of a level's book."""
        return self.books[level][codes]

    def loss(self, x: Tensor, *, condition: Condition | None = None, rng: Streams) -> Tensor:
        """Return 0: nothing is trained."""
        return x.new_zeros(())


def small_items(count: int, grid: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return items of noise in [-1, 1] for a grid of 2x2 patches.

    They are (count, 1, 2 h, 2 w) for (h, w), and (count, 1, t, z, 2 h, 2 w) for (t, z, h, w).
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, *grid[:-2], 2 * grid[-2], 2 * grid[-1], generator=generator) * 2 - 1


def fitted(build: Callable[[], M], network: Callable[[M], torch.nn.Module], items: Tensor, seed: int = 0) -> M:
    """Return a fitted model whose weights are random also where training starts at zero.

    Args:
        build: Makes the model.
        network: Returns the part of it whose weights are changed.
        items: (n, 1, *item) to fit it to.
        seed: Of its weights.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build()
        for parameter in network(model).parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape)
    model.fit(items, rng=Streams(0, [("fit",)]))
    return model.eval()
