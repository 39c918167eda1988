"""One random stream per item.

What is drawn for an item depends on (seed, item key, purpose) alone: never on the batch it is in, the order of arrival
or the number of devices. Draws are made on the CPU, so that CPU and GPU runs see the same numbers.
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

Key = tuple[int | str, ...]


def derive(seed: int, *key: int | str) -> int:
    """Return a 63-bit seed, a function of `seed` and `key` alone."""
    digest = blake2b(repr((seed, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Streams:
    """The random streams of a batch: item i draws from a generator keyed by (seed, keys[i]).

    Args:
        seed: The seed of the run.
        keys: One key per item, for example (sample, frame, slice, tile).
    """

    def __init__(self, seed: int, keys: Sequence[Key]) -> None:
        self.seed, self.keys = seed, tuple(keys)
        self._generators = [torch.Generator().manual_seed(derive(seed, *key)) for key in self.keys]

    def __len__(self) -> int:
        return len(self.keys)

    def child(self, purpose: str) -> "Streams":
        """Return streams of their own for a purpose, untouched by what is drawn from these."""
        return Streams(self.seed, [(*key, purpose) for key in self.keys])

    def uniform(self, *shape: int) -> Tensor:
        """Return (b, *shape) float32 in [0, 1), on the CPU."""
        return torch.stack([torch.rand(shape, generator=g) for g in self._generators])

    def normal(self, *shape: int) -> Tensor:
        """Return (b, *shape) standard normal float32, on the CPU."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._generators])

    def permutation(self, n: int) -> Tensor:
        """Return (b, n) int64: a random order of 0 .. n-1 per item, on the CPU."""
        return torch.stack([torch.randperm(n, generator=g) for g in self._generators])


def systematic(weights: Tensor, u: Tensor) -> Tensor:
    """Return the parents (b, k) of a systematic resampling by weights (b, k), given one uniform number (b, 1) each."""
    k = weights.shape[1]
    at = (torch.arange(k, device=u.device) + u) / k
    return torch.searchsorted(weights.cumsum(1).clamp(max=1.0), at.contiguous(), right=True).clamp(max=k - 1)
