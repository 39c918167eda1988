"""A permutation test of numbers of whole sets of images: labels change sides by subject."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.errors import DataError

SetContrast = Callable[[NDArray[Any], NDArray[Any]], float]
"""From the features of two sets, (n, d) and (m, d), to how much more the first has of something than the second."""


@dataclass(frozen=True)
class Permutation:
    """The outcome of a permutation test.

    Attributes:
        observed: The contrast of the sets as they are.
        p: Two-sided.
        n: Subjects.
    """

    observed: float
    p: float
    n: int


def permutation_test(
    contrast: SetContrast,
    first: Sequence[NDArray[Any]],
    second: Sequence[NDArray[Any]],
    permutations: int = 999,
    seed: int = 0,
) -> Permutation:
    """Test that two methods could be exchanged subject by subject.

    Each permutation swaps all that was drawn of a subject between the two sets, for about half of the subjects; the
    observed labelling is one of the permutations. Exact for any contrast, also a biased one. Phipson and Smyth 2010,
    doi:10.2202/1544-6115.1585.

    Args:
        contrast: For example `lambda a, b: kid(a, real) - kid(b, real)`.
        first: Features of the first method, (k, d) for each subject.
        second: Of the second, for the same subjects in the same order.
        permutations: How many.
        seed: Of the permutations.

    Raises:
        DataError: `shape-mismatch` when the two have not the same subjects, or `empty-dataset` without any.
    """
    if len(first) != len(second):
        facts = f"{len(first)} and {len(second)} subjects"
        raise DataError("shape-mismatch", "permutation test", "the two methods have not the same subjects", facts)
    if not first:
        raise DataError("empty-dataset", "permutation test", "there is no subject")
    swaps = np.random.default_rng(seed).random((permutations, len(first))) < 0.5
    observed = contrast(np.concatenate(first), np.concatenate(second))
    others = np.array([_swapped(contrast, first, second, swap) for swap in swaps])
    as_large = np.abs(others) >= abs(observed) * (1 - 1e-9)
    return Permutation(observed, float((1 + as_large.sum()) / (1 + permutations)), len(first))


def _swapped(
    contrast: SetContrast, first: Sequence[NDArray[Any]], second: Sequence[NDArray[Any]], swap: NDArray[np.bool_]
) -> float:
    sides = [(b, a) if s else (a, b) for a, b, s in zip(first, second, swap, strict=True)]
    return contrast(np.concatenate([a for a, _ in sides]), np.concatenate([b for _, b in sides]))
