"""One heart is one size to a model, at any pixel size, in training, evaluation and inpainting alike."""

from pathlib import Path

import numpy as np
import pytest

from cmrgz.data.cases import find
from cmrgz.data.cines import read_cine
from cmrgz.data.intensity import Scale
from cmrgz.data.scan import Scan, load, save
from cmrgz.evaluation.frames import read_frames
from cmrgz.grid import Grid
from cmrgz.plugin import Extent

ITEM = (96, 96)


def disc(path: Path, pixels: tuple[int, int], edges: tuple[float, float]) -> Path:
    """Write a disc of 60 mm."""
    y, x = ((np.arange(n) - (n - 1) / 2) * edge for n, edge in zip(pixels, edges, strict=True))
    values = (100 + 400 * (np.hypot(y[:, None], x[None]) < 30)).astype(np.int16)[None, None]
    save(path, Scan.blank(values.shape, (10.0, *edges)), values)
    return path


def extent(plane: np.ndarray) -> tuple[int, int]:
    """Return rows and columns of what is brighter than half way."""
    bright = plane > 0
    return int(bright.any(1).sum()), int(bright.any(0).sum())


@pytest.mark.parametrize(
    ("pixels", "edges"),
    [((160, 160), (1.4, 1.4)), ((320, 320), (0.7, 0.7)), ((160, 320), (1.4, 0.7)), ((113, 87), (1.98, 2.6))],
)
def test_a_disc_of_60_mm(tmp_path: Path, pixels: tuple[int, int], edges: tuple[float, float]) -> None:
    path = disc(tmp_path / "p1.nii", pixels, edges)
    (case,) = find(path)
    training = read_cine(case, spacing=1.4).frames[0, 0]
    evaluation = read_frames([case], ITEM, "1", spacing=1.4)[0].x
    scan = load(path)
    known = np.ones(scan.shape, dtype=bool)
    grid = Grid.of(scan, scan.voxels, known, Extent(("y", "x"), ITEM, 1.4), 8)
    inpainting, _, _ = grid.to_model(Scale.fit(scan.voxels, known).to_unit(scan.voxels), known)
    found = {extent(plane) for plane in (training, evaluation, inpainting[0, 0])}
    assert len(found) == 1 and all(42 <= n <= 44 for n in found.pop())
