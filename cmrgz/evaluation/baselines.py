"""Baselines: fills without a model. A method that does not beat them has learned nothing.

All take frames (n, h, w) in [0, 1] and `known` (n, h, w) (bool, True = given) and return float64 frames in which the
known pixels are bit-equal to what was given, and the others are in [0, 1]. Hidden values are never read. `mean_fill`,
`harmonic` and `biharmonic` use the frame alone; the others use a `bank` of training frames (m, h, w) in [0, 1], in the
same alignment. They raise `DataError`: `shape-mismatch`, or `empty-dataset` for an empty bank.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, diags_array, identity, kron
from scipy.sparse.linalg import splu

from cmrgz.errors import DataError, UsageError

Frames = NDArray[np.float64]
Bools = NDArray[np.bool_]
UNKNOWN = 0.5
"""What a frame of which nothing is known is filled with: the middle of the range."""


def mean_fill(frames: NDArray[Any], known: Bools) -> Frames:
    """Fill with the mean of the frame's known pixels (0.5 where nothing is known)."""
    given = _given(frames, known)
    count = known.sum(axis=(1, 2))
    mean = np.where(count > 0, given.sum(axis=(1, 2)) / np.maximum(count, 1), UNKNOWN)
    return np.where(known, frames, np.clip(mean, 0, 1)[:, None, None]).astype(np.float64)


def harmonic(frames: NDArray[Any], known: Bools) -> Frames:
    """Fill with the solution of Laplace's equation: every hidden pixel is the mean of its neighbours.

    Solved directly in float64; the image border reflects. 0.5 where nothing is known.
    """
    return _solve(frames, known)


def biharmonic(frames: NDArray[Any], known: Bools) -> Frames:
    """Fill with the smoothest surface: the least squared Laplacian, clipped to [0, 1].

    Goes on with slopes where `harmonic` flattens. Solved directly in float64. 0.5 where nothing is known.
    """
    return _solve(frames, known, squared=True)


def nearest_neighbour(frames: NDArray[Any], known: Bools, bank: NDArray[Any]) -> Frames:
    """Paste the pixels of the training frame that is nearest on the known pixels; the first where nothing is known."""
    return neighbours_mean(frames, known, bank, k=1)


def neighbours_mean(frames: NDArray[Any], known: Bools, bank: NDArray[Any], k: int = 8) -> Frames:
    """Paste the mean of the `k` training frames that are nearest on the known pixels; of all of a smaller bank.

    Raises `UsageError` (`range`) for `k` below 1.
    """
    if k < 1:
        raise UsageError("range", "baseline", "the number of neighbours must be 1 or more", f"is {k}")
    given, bank = _given(frames, known), _bank(frames, bank)
    flat, seen = bank.reshape(len(bank), -1), known.reshape(len(known), -1).astype(np.float64)
    # |x - b|^2 over known pixels, less |x|^2, which is the same for all b
    distance = seen @ (flat**2).T - 2 * given.reshape(len(given), -1) @ flat.T
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :k]  # ties fall as the bank lies, whatever the machine
    fill = np.stack([bank[chosen].mean(axis=0) for chosen in nearest]) if len(frames) else given
    return np.where(known, frames, fill).astype(np.float64)


def atlas(frames: NDArray[Any], known: Bools, bank: NDArray[Any]) -> Frames:
    """Paste the mean of all training frames."""
    _given(frames, known)
    return np.where(known, frames, _bank(frames, bank).mean(axis=0)).astype(np.float64)


FILLS: dict[str, Callable[[NDArray[Any], Bools], Frames]] = {
    "mean": mean_fill,
    "harmonic": harmonic,
    "biharmonic": biharmonic,
}
"""Fills from the frame alone."""

RETRIEVALS: dict[str, Callable[..., Frames]] = {
    "nearest-neighbour": nearest_neighbour,
    "neighbours-mean": neighbours_mean,
    "atlas": atlas,
}
"""Fills from training frames."""


def _given(frames: NDArray[Any], known: Bools) -> Frames:
    """Return the frames with zeros where hidden."""
    if frames.ndim != 3 or frames.shape != known.shape or known.dtype != np.bool_:
        facts = f"{frames.shape}, {known.shape} {known.dtype}"
        raise DataError("shape-mismatch", "baseline", "frames and known must be (n, h, w), known bool", facts)
    return np.where(known, frames, 0).astype(np.float64)


def _bank(frames: NDArray[Any], bank: NDArray[Any]) -> Frames:
    if bank.ndim != 3 or bank.shape[1:] != frames.shape[1:]:
        facts = f"{bank.shape}, {frames.shape}"
        raise DataError("shape-mismatch", "baseline", "training frames and frames differ in size", facts)
    if len(bank) == 0:
        raise DataError("empty-dataset", "baseline", "there is no training frame to fill from")
    return bank.astype(np.float64)


def _laplacian(height: int, width: int) -> csc_array:
    """Return the 5-point Laplacian (positive semi-definite) with reflecting borders, (h w, h w)."""
    rows, cols = _second_difference(height), _second_difference(width)
    return csc_array(kron(rows, identity(width)) + kron(identity(height), cols))


def _second_difference(n: int) -> csc_array:
    middle = np.full(n, 2.0)
    middle[0] -= 1  # one neighbour less: the border reflects
    middle[-1] -= 1  # of a single pixel, which is both ends, for the second time
    beside = np.full(n - 1, -1.0)
    return csc_array(diags_array([beside, middle, beside], offsets=[-1, 0, 1], shape=(n, n)))


def _solve(frames: NDArray[Any], known: Bools, squared: bool = False) -> Frames:
    """Find the least quadratic form of the Laplacian, or of its square, at the hidden pixels, given the known ones."""
    given, laplacian = _given(frames, known), _laplacian(*frames.shape[1:])
    operator = csc_array(laplacian.T @ laplacian) if squared else laplacian
    filled = np.where(known, frames, UNKNOWN).astype(np.float64)
    for i in np.flatnonzero(known.any(axis=(1, 2)) & ~known.all(axis=(1, 2))):
        hidden = np.flatnonzero(~known[i])
        source = -(operator @ given[i].ravel())[hidden]
        # A positive definite matrix needs no pivoting, and its symmetric order keeps it sparse.
        system, symmetric = csc_array(operator[hidden][:, hidden]), {"SymmetricMode": True}
        factor = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=symmetric)
        filled[i][~known[i]] = np.clip(factor.solve(source), 0, 1)
    return filled
