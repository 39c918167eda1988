"""One random stream per item.

What is drawn for an item depends on (seed, item key, purpose) alone: never on the batch it is in, the order of arrival
or the number of devices. Draws are made on the CPU, so that CPU and GPU runs see the same numbers.

Antithetic streams come in pairs, the second of which has the opposite numbers of the first: what is drawn with either
has the same law, and where it rises with one draw it mostly falls with the other, so that their mean errs less
(Hammersley and Morton 1956, doi:10.1017/S0305004100031455).
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b

import torch
from torch import Tensor

Key = tuple[int | str, ...]

LAST = 1 - 2**-24
"""The largest of the numbers 0, 2^-24, ... that a uniform float32 takes: taken from it, each gives another of them."""
VECTOR = 16
"""torch makes so many normal numbers at a time: draws of a multiple of them are the same at once as one by one."""
MUCH = 1 << 21
"""From so many normal numbers on several threads make them."""


def derive(seed: int, *key: int | str) -> int:
    """Return a 63-bit seed, a function of `seed` and `key` alone."""
    # Python's own `hash` of a text differs from process to process. `repr` tells 1 from "1", and (1, 2) from (12,).
    digest = blake2b(repr((seed, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def opposes(key: Key) -> bool:
    """Return whether a key is that of the second of a pair: its sample, the first part, has an odd number."""
    return isinstance(key[0], int) and key[0] % 2 == 1


def _first_of_pair(key: Key) -> Key:
    return (int(key[0]) - 1, *key[1:]) if opposes(key) else key


class Streams:
    """The random streams of a batch: item i draws from a generator keyed by (seed, keys[i]).

    Args:
        seed: The seed of the run.
        keys: One key per item, for example (sample, frame, slice, tile).
        antithetic: Sample 2j + 1 takes the numbers of sample 2j, normal ones negated and uniform ones mirrored. What is
            made from `keys` by hand is opposed to nothing.
        around: Keys of what the blocks around a cycle have in common, one per item; none share nothing.
    """

    def __init__(self, seed: int, keys: Sequence[Key], antithetic: bool = False, around: Sequence[Key] = ()) -> None:
        self.seed, self.keys, self.antithetic = seed, tuple(keys), antithetic
        self._around = tuple(around) or self.keys
        sources = [_first_of_pair(key) for key in self.keys] if antithetic else self.keys
        # A call is padded by repeating its last item, and pairs share their numbers: each key is drawn once.
        distinct = {key: number for number, key in enumerate(dict.fromkeys(sources))}
        # One generator for the batch would make its size a part of the result: other items, other numbers.
        self._generators = [torch.Generator().manual_seed(derive(seed, *key)) for key in distinct]
        self._own = None if len(distinct) == len(sources) else torch.tensor([distinct[key] for key in sources])
        self._opposed = torch.tensor([antithetic and opposes(key) for key in self.keys], dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.keys)

    def child(self, purpose: str) -> "Streams":
        """Return streams of their own for a purpose, untouched by what is drawn from these; antithetic as these."""
        # The purpose stands at the end: the number of the sample, which says who opposes whom, stays the first.
        own, around = ([(*key, purpose) for key in keys] for keys in (self.keys, self._around))
        return Streams(self.seed, own, self.antithetic, around)

    def around(self, purpose: str) -> "Streams":
        """Return streams for a purpose that all blocks around a cycle draw alike; the item's own where it has none."""
        return Streams(self.seed, [(*key, purpose) for key in self._around], self.antithetic)

    def uniform(self, *shape: int, alike: bool = False) -> Tensor:
        """Return (b, *shape) float32 in [0, 1), on the CPU.

        `alike` ones are the same for both of an antithetic pair: for what says where or in which order is drawn, since
        two draws can only be opposite where they are made in the same way.
        """
        u = self._each(lambda generator: torch.rand(shape, generator=generator))
        if not alike:
            u[self._opposed] = LAST - u[self._opposed]
        return u

    def normal(self, *shape: int) -> Tensor:
        """Return (b, *shape) standard normal float32, on the CPU."""
        z = self._each(lambda generator: torch.randn(shape, generator=generator), math.prod(shape))
        # The law is symmetric about 0, so that the negative of a draw is one, too.
        z[self._opposed] = -z[self._opposed]
        return z

    def normals(self, count: int, *shape: int) -> Tensor:
        """Return (count, b, *shape): what so many calls of `normal` would, to the bit."""
        # torch fills whole vectors and a rest by different code, so that only multiples of a vector can be drawn in
        # one go.
        if math.prod(shape) % VECTOR or count == 1:
            return torch.stack([self.normal(*shape) for _ in range(count)])
        return self.normal(count, *shape).transpose(0, 1)

    def permutation(self, n: int) -> Tensor:
        """Return (b, n) int64: a random order of 0 .. n-1 per item, on the CPU; alike for an antithetic pair."""
        return self._each(lambda generator: torch.randperm(n, generator=generator))

    def _each(self, draw: Callable[[torch.Generator], Tensor], size: int = 0) -> Tensor:
        """Return what each item draws, (b, ...): once for those of one key, and side by side where it is much."""
        if size * len(self._generators) > MUCH and (threads := min(torch.get_num_threads(), len(self._generators))) > 1:
            # Each item has a generator of its own, so that no order of threads changes a number.
            with ThreadPoolExecutor(threads) as pool:
                drawn = torch.stack(list(pool.map(draw, self._generators)))
        else:
            drawn = torch.stack([draw(generator) for generator in self._generators])
        return drawn if self._own is None else drawn[self._own]


def systematic(weights: Tensor, u: Tensor) -> Tensor:
    """Return the parents (b, k) of a systematic resampling by weights (b, k), given one uniform number (b, 1) each."""
    k = weights.shape[1]
    at = (torch.arange(k, device=u.device) + u) / k
    # The sum of the weights may end a little off 1.
    return torch.searchsorted(weights.cumsum(1).clamp(max=1.0), at.contiguous(), right=True).clamp(max=k - 1)
