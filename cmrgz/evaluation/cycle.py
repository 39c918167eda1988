"""How a cycle of a result moves beside that of the truth."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def motion_ratio(result: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the mean of |x(t+1) - x(t)| of the result over that of the truth: 1 is right, more flickers, less smears.

    Of consecutive frames (t, ...) in [0, 1].
    """
    return _over(np.abs(np.diff(result, axis=0)).sum(), np.abs(np.diff(truth, axis=0)).sum())


def roughness_ratio(result: Floats, truth: Floats) -> float:
    """Return the energy of the second differences of a cyclic curve over that of the truth: 1 is right, more is jitter.

    Of (t,) numbers each, for example the areas of the left ventricle in the frames of a whole cycle.
    """
    return _over(_roughness(result), _roughness(truth))


def _roughness(curve: Floats) -> float:
    return float(np.square(np.roll(curve, 1) - 2 * curve + np.roll(curve, -1)).sum())


def closure(curve: Floats) -> float:
    """Return the step from the last to the first value of a cyclic curve (t,) over the mean of the other steps.

    About 1, or less where a cycle ends in diastole; a cine that does not come back to where it began has more. It is
    compared with that of the truth.
    """
    # The last step is not in the mean: it is what is asked about.
    return _over(abs(curve[0] - curve[-1]), np.abs(np.diff(curve)).mean() if len(curve) > 1 else 0.0)


def _over(a: float, b: float) -> float:
    return float(a / b) if b else float("nan")  # nothing moves: a ratio says nothing
