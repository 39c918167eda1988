"""What a doctor reads from a cine: volumes, ejection fractions, mass, wall thickness, and how the heart moves.

Volumes are sums of discs over label maps (0 background, 1 right ventricle, 2 myocardium, 3 left ventricle), over the
same slices for truth and result: a perfect result has no error, whatever the slices miss of the heart. ED is the frame
with the largest left ventricle of the truth, ES that with the smallest. What is not defined is NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
from scipy.stats import wasserstein_distance

from cmrgz.errors import DataError

DENSITY = 1.05
"""Of myocardium, g/ml."""
RV, WALL, LV = 0, 1, 2
"""Where the right ventricle, the myocardium and the left ventricle stand in areas."""
SECTORS = 6
"""Of a short-axis slice."""
UNITS = {
    **dict.fromkeys(("LVEDV", "LVESV", "LVSV", "RVEDV", "RVESV", "RVSV"), "ml"),
    **dict.fromkeys(("LVEF", "RVEF"), ""),
    **dict.fromkeys(("LVM_ED", "LVM_ES"), "g"),
}
"""The biomarkers and their units."""

Floats = NDArray[np.float64]
Labels = NDArray[np.uint8]
Bools = NDArray[np.bool_]


# ---------------------------------------------------------------------- volumes
def areas(labels: Labels, pixel: float) -> Floats:
    """Return the areas (..., 3) in mm^2 of right ventricle, myocardium and left ventricle.

    Args:
        labels: (..., h, w).
        pixel: Area of a pixel, mm^2.
    """
    return np.stack([(labels == c).sum(axis=(-2, -1)) for c in (1, 2, 3)], -1) * float(pixel)


def biomarkers(truth: Floats, result: Floats, step: float) -> tuple[dict[str, float], dict[str, float]]:
    """Return the biomarkers of a subject, of the truth and of the result: `UNITS` names them.

    Args:
        truth: Areas (t, z, 3) in mm^2, NaN for a slice of a frame that was not evaluated.
        result: The same of the result. What is missing on one side is not used on the other.
        step: Distance between slices, mm.

    Returns:
        Volumes in ml, masses in g, ejection fractions as fractions, of the slices that are there in both frames; both
        measured in ED and ES of the truth. All NaN with fewer than two frames, or without a slice that all have.

    Raises:
        DataError: `shape-mismatch`.
    """
    _check(truth, result)
    there: Bools = np.asarray(np.isfinite(truth + result).all(-1))
    frames = np.flatnonzero(there.any(1))
    common: Bools = np.asarray(there[frames].all(0))
    if len(frames) < 2 or not common.any():
        return dict.fromkeys(UNITS, np.nan), dict.fromkeys(UNITS, np.nan)
    size = truth[frames][:, common, LV].sum(1)
    ends = frames[[size.argmax(), size.argmin()]]
    slices: Bools = np.asarray(there[ends].all(0))
    of_truth, of_result = (_measured(a[ends][:, slices].sum(1) * step * 1e-3) for a in (truth, result))
    return of_truth, of_result


def function_of(cine: Floats, step: float) -> tuple[dict[str, float], tuple[int, int]]:
    """Return the biomarkers of one cine, and its frames ED and ES, from 0.

    Args:
        cine: Areas (t, z, 3) in mm^2, NaN for a frame that was not looked at; at least one was.
        step: Distance between slices, mm.

    Returns:
        `UNITS`; of a single frame those of ED alone, the others NaN; NaN of what no frame has.
    """
    frames = np.flatnonzero(np.isfinite(cine).all((1, 2)))
    size = cine[frames][..., LV].sum(1)
    ends = int(frames[size.argmax()]), int(frames[size.argmin()])
    there = np.nansum(cine, axis=(0, 1)) > 0
    found = _measured(np.where(there, cine[list(ends)].sum(1) * step * 1e-3, np.nan))
    if len(frames) == 1:
        found = {name: value if name.endswith(("EDV", "_ED")) else np.nan for name, value in found.items()}
    return found, ends


def _measured(ml: Floats) -> dict[str, float]:
    """Return the biomarkers of volumes (ED and ES, 3)."""
    found: dict[str, float] = {}
    for name, c in (("LV", LV), ("RV", RV)):
        end_diastole, end_systole = (float(v) for v in ml[:, c])
        found |= {f"{name}EDV": end_diastole, f"{name}ESV": end_systole, f"{name}SV": end_diastole - end_systole}
        found[f"{name}EF"] = 1 - end_systole / end_diastole if end_diastole else np.nan
    return found | {f"LVM_{end}": float(v * DENSITY) for end, v in zip(("ED", "ES"), ml[:, WALL], strict=True)}


def wall_thickness(labels: Labels, spacing: float, sectors: int = 6) -> Floats:
    """Return the mean thickness of the myocardium of one frame in mm: (sectors,), as equal areas about the cavity.

    Each sector is taken for one of a ring about the left ventricle's centroid, with the same areas of cavity and wall:
    the thickness is the difference of its radii. The middle of the first sector points to the right ventricle, the
    others follow clockwise on the screen.

    Args:
        labels: (h, w).
        spacing: Pixel size, mm.
        sectors: 1 for the mean thickness, which needs no right ventricle.

    Returns:
        NaN where there is no left ventricle, or no right one to begin at.
    """
    if not (labels == 3).any() or (sectors > 1 and not (labels == 1).any()):
        return np.full(sectors, np.nan)
    row, column = _centroid(labels == 3)
    start = 0.0
    if sectors > 1:
        there = _centroid(labels == 1)
        start = float(np.arctan2(there[0] - row, there[1] - column))
    rows, columns = np.indices(labels.shape)
    angle: Floats = np.arctan2(rows - row, columns - column) - start
    sector: NDArray[np.intp] = np.floor(angle / (2 * np.pi) * sectors + 0.5).astype(np.intp) % sectors
    cavity, wall = (np.bincount(sector[labels == c], minlength=sectors) for c in (3, 2))
    inner, outer = (np.sqrt(n * sectors / np.pi) * spacing for n in (cavity, cavity + wall))
    return np.asarray(outer - inner)


def cavity_radii(labels: Labels, spacing: float, sectors: int = SECTORS) -> Floats:
    """Return the radius of the left ventricle's cavity about its centroid in mm: (sectors,), NaN where there is none.

    The radius of the circle that has the same area in each sector; the first begins 15 degrees clockwise from the
    right of the image, so that no edge of one runs along a row of pixels, the others follow clockwise. The wall moves
    by the difference of two phases: no strain, which no picture of a wall shows, but how far its inner edge goes.
    """
    if not (labels == 3).any():
        return np.full(sectors, np.nan)
    rows, columns = np.nonzero(labels == 3)
    row, column = _centroid(labels == 3)
    angle = (np.arctan2(rows - row, columns - column) / (2 * np.pi) - 1 / 24) % 1
    area = np.bincount((angle * sectors).astype(np.intp) % sectors, minlength=sectors)
    return np.asarray(np.sqrt(area * sectors / np.pi) * spacing)


def _centroid(region: Bools) -> tuple[float, float]:
    rows, columns = np.nonzero(region)
    return float(rows.mean()), float(columns.mean())


# ---------------------------------------------------------------------- motion
def motion_ratio(result: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the mean of |x(t+1) - x(t)| of the result over that of the truth: 1 is right, more flickers, less smears.

    Args:
        result: (t, ...) in [0, 1], consecutive frames.
        truth: The same.

    Raises:
        DataError: `shape-mismatch`.
    """
    _check(truth, result)
    return _over(np.abs(np.diff(result, axis=0)).sum(), np.abs(np.diff(truth, axis=0)).sum())


def roughness_ratio(result: Floats, truth: Floats) -> float:
    """Return the energy of the second differences of a cyclic curve over that of the truth: 1 is right, more is jitter.

    Args:
        result: (t,), for example the areas of the left ventricle in the frames of a whole cycle.
        truth: The same.

    Raises:
        DataError: `shape-mismatch`.
    """
    _check(truth, result)
    return _over(_roughness(result), _roughness(truth))


def _roughness(curve: Floats) -> float:
    return float(np.square(np.roll(curve, 1) - 2 * curve + np.roll(curve, -1)).sum())


def closure(curve: Floats) -> float:
    """Return the step from the last to the first value of a cyclic curve over the mean of the other steps.

    About 1, or less where a cycle ends in diastole; a cine that does not come back to where it began has more. It is
    compared with that of the truth.

    Args:
        curve: (t,).
    """
    return _over(abs(curve[0] - curve[-1]), np.abs(np.diff(curve)).mean() if len(curve) > 1 else 0.0)


# ---------------------------------------------------------------------- subjects
@dataclass(frozen=True)
class Agreement:
    """How results agree with truths, of Bland and Altman: differences are result - truth.

    Attributes:
        n: Subjects of which both are known.
        bias: Mean difference.
        bias_interval: Its 95 % interval.
        limits: The limits of agreement, bias -+ 1.96 standard deviations.
        limit_error: Half the 95 % interval of each limit.
        mae: Mean absolute difference.
    """

    n: int
    bias: float
    bias_interval: tuple[float, float]
    limits: tuple[float, float]
    limit_error: float
    mae: float


def agreement(result: Sequence[float] | Floats, truth: Sequence[float] | Floats) -> Agreement:
    """Return bias and limits of agreement over subjects (n,); NaN where fewer than two (bias: one) are known.

    Intervals by Student's t: sd / sqrt(n) for the bias, sd sqrt(1/n + 1.96^2 / (2 (n - 1))) for the limits. Bland and
    Altman 1999, doi:10.1177/096228029900800204.

    Raises:
        DataError: `shape-mismatch`.
    """
    given, true = (np.asarray(values, np.float64) for values in (result, truth))
    _check(true, given)
    d = (given - true)[np.isfinite(given - true)]
    n = len(d)
    if n == 0:
        return Agreement(0, np.nan, (np.nan, np.nan), (np.nan, np.nan), np.nan, np.nan)
    bias, mae = float(d.mean()), float(np.abs(d).mean())
    if n == 1:
        return Agreement(1, bias, (np.nan, np.nan), (np.nan, np.nan), np.nan, mae)
    sd, quantile = float(d.std(ddof=1)), float(student.ppf(0.975, n - 1))
    error, limit_error = quantile * sd * np.sqrt((1 / n, 1 / n + 1.96**2 / (2 * (n - 1))))
    limits = bias - 1.96 * sd, bias + 1.96 * sd
    return Agreement(n, bias, (float(bias - error), float(bias + error)), limits, float(limit_error), mae)


def wasserstein(
    generated: Sequence[Mapping[str, float]], real: Sequence[Mapping[str, float]]
) -> dict[str, tuple[float, int, int]]:
    """Return how far the distribution of each biomarker of generated subjects lies from that of real ones.

    The Wasserstein distance of order 1, in the biomarker's unit, with the number of generated and of real subjects of
    which it is known; NaN where that is 0.
    """
    found = {}
    for name in UNITS:
        a, b = ([s[name] for s in subjects if np.isfinite(s[name])] for subjects in (generated, real))
        found[name] = float(wasserstein_distance(a, b)) if a and b else float("nan"), len(a), len(b)
    return found


def _over(a: float, b: float) -> float:
    return float(a / b) if b else float("nan")


def _check(truth: NDArray[Any], result: NDArray[Any]) -> None:
    if truth.shape != result.shape:
        raise DataError(
            "shape-mismatch", "cardiac", "truth and result differ in shape", f"{truth.shape}, {result.shape}"
        )
