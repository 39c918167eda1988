"""What a doctor reads from a cine: volumes, ejection fractions, mass, and how far the wall of the ventricle moves.

Volumes are sums of discs over label maps (0 background, 1 right ventricle, 2 myocardium, 3 left ventricle), over the
same slices for truth and result: a perfect result has no error, whatever the slices miss of the heart. ED is the frame
with the largest left ventricle of the truth, ES that with the smallest. What is not defined is NaN.
"""

import numpy as np
from numpy.typing import NDArray

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
    if truth.shape != result.shape:
        facts = f"{truth.shape}, {result.shape}"
        raise DataError("shape-mismatch", "biomarkers", "truth and result differ in shape", facts)
    there: Bools = np.asarray(np.isfinite(truth + result).all(-1))
    # Frames that were not evaluated at all do not count; of the others only slices that all of them have, else a volume
    # would change from frame to frame with the slices that it is summed over.
    frames = np.flatnonzero(there.any(1))
    common: Bools = np.asarray(there[frames].all(0))
    if len(frames) < 2 or not common.any():
        return dict.fromkeys(UNITS, np.nan), dict.fromkeys(UNITS, np.nan)
    size = truth[frames][:, common, LV].sum(1)
    ends = frames[[size.argmax(), size.argmin()]]
    slices: Bools = np.asarray(there[ends].all(0))
    # Both in the frames of the truth: each in its own would hide that a result contracts too late.
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
    there = np.nansum(cine, axis=(0, 1)) > 0  # a class that no frame has was not found: its volume is unknown, not 0
    found = _measured(np.where(there, cine[list(ends)].sum(1) * step * 1e-3, np.nan))
    if len(frames) == 1:
        # A single frame stands for ED; taken for ES too it would have a stroke volume and a fraction of 0.
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


def cavity_radii(labels: Labels, spacing: float, sectors: int = SECTORS) -> Floats:
    """Return the radius of the left ventricle's cavity about its centroid in mm: (sectors,), NaN where there is none.

    The radius of the circle that has the same area in each sector; the first begins 15 degrees clockwise from the
    right of the image, so that no edge of one runs along a row of pixels, the others follow clockwise. The wall moves
    by the difference of two phases: no strain, which no picture of a wall shows, but how far its inner edge goes.
    """
    rows, columns = np.nonzero(labels == 3)
    if not len(rows):
        return np.full(sectors, np.nan)
    # About its own centroid: a heart moves as a whole too, with the breath and by its own pull.
    angle = (np.arctan2(rows - rows.mean(), columns - columns.mean()) / (2 * np.pi) - 1 / 24) % 1
    area = np.bincount((angle * sectors).astype(np.intp) % sectors, minlength=sectors)
    return np.asarray(np.sqrt(area * sectors / np.pi) * spacing)
