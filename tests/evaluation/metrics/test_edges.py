from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from cmrgz.evaluation.metrics.base import Sampled
from cmrgz.evaluation.metrics.edges import FLAT, METRICS, edges, near


def step(at: int = 32, height: float = 0.4, size: int = 64) -> Any:
    """Return a frame that is brighter from a column on."""
    return np.where(np.arange(size) < at, 0.3, 0.3 + height) * np.ones((size, 1))


def disc(row: float, column: float, radius: float, size: int = 96) -> Any:
    i, j = np.mgrid[:size, :size]
    return 1 / (1 + np.exp(np.hypot(i - row, j - column) - radius))


def found(truth: Any, *drawn: Any, known: Any = None) -> dict[str, float]:
    known = np.zeros(truth.shape, dtype=bool) if known is None else known
    return {m.name: m.of(Sampled(truth, known, np.stack(drawn))) for m in METRICS}


def test_a_step_has_one_edge_of_one_pixel() -> None:
    for frame in (step(), step().T, 1 - step()):
        marked = edges(frame[None])[0]
        assert marked.sum() == 64 and (marked.any(0).sum() == 1 or marked.any(1).sum() == 1)
    assert edges(step()[None])[0, 5].argmax() in (31, 32)


def test_edges_are_those_above_the_threshold() -> None:
    """The gradient beside a step of height 1 is the sum of what the pixels on its other side weigh."""
    pixels = np.arange(1, 5)
    least = FLAT / (pixels * norm.pdf(pixels)).sum()
    assert not edges(step(height=0.97 * least)[None]).any()
    assert edges(step(height=1.03 * least)[None]).any()


@pytest.mark.parametrize("angle", [0, 20, 45, 70, 90, 110, 135, 160])
def test_edges_are_thin_in_every_direction(angle: float) -> None:
    i, j = np.mgrid[:64, :64] - 31.5
    across = i * np.sin(np.radians(angle)) + j * np.cos(np.radians(angle))
    marked = edges(1 / (1 + np.exp(-across[None])))[0]
    assert np.abs(across[marked]).max() < 1.5
    inner = marked[8:-8, 8:-8]
    assert 48 <= inner.sum() <= 48 * 2  # at 45 degrees a staircase
    assert (inner.any(0).sum() == 48) or (inner.any(1).sum() == 48)  # no gap


def test_near_is_a_disc() -> None:
    point = np.zeros((1, 9, 9), dtype=bool)
    point[0, 4, 4] = True
    i, j = np.mgrid[:9, :9] - 4
    assert (near(point)[0] == (np.hypot(i, j) <= 2)).all()
    corner = np.zeros((1, 9, 9), dtype=bool)
    corner[0, 0, 0] = True
    assert near(corner).sum() == 6


def test_two_pixels_off_are_forgiven_and_three_are_not() -> None:
    assert found(step(), step()) == {"fpe-hole": 0, "fne-hole": 0}
    assert found(step(), step(34)) == {"fpe-hole": 0, "fne-hole": 0}
    assert found(step(), step(35)) == {"fpe-hole": 1, "fne-hole": 1}
    assert found(step(), step(), step(35)) == {"fpe-hole": 0.5, "fne-hole": 0.5}


def test_what_is_invented_is_false_and_what_is_lost_is_missed() -> None:
    """Circles: an edge is as long as the radius."""
    one, two = disc(30, 30, 20), disc(75, 75, 10)
    invented, lost = found(one, np.maximum(one, two)), found(np.maximum(one, two), one)
    assert invented["fpe-hole"] == pytest.approx(1 / 3, abs=0.03) and invented["fne-hole"] == 0
    assert lost["fne-hole"] == pytest.approx(1 / 3, abs=0.03) and lost["fpe-hole"] == 0


def test_only_the_hole_counts_but_edges_beside_it_excuse() -> None:
    known = np.ones((64, 64), dtype=bool)
    known[:, 33:] = False
    assert found(step(33), step(34), known=known)["fpe-hole"] == 0  # the true edge may lie on the known side
    assert np.isnan(found(step(10), step(20), known=known)["fpe-hole"])


def test_a_fill_without_edges_invents_none_and_misses_all() -> None:
    values = found(step(), np.full((64, 64), 0.5))
    assert np.isnan(values["fpe-hole"]) and values["fne-hole"] == 1
