from typing import Any

import numpy as np
import pytest

from cmrgz.anatomy.function import LV, areas
from cmrgz.data.phantom import Phantom
from cmrgz.evaluation.cycle import closure, motion_ratio, roughness_ratio

SPACING, PHASES = 2.8, 12


@pytest.fixture(scope="module")
def labels() -> Any:
    """Return the label maps (t, z, y, x) of a subject."""
    return Phantom(3, size=64, spacing=SPACING, dz=20.0, ss=1, nsub=1, fit_rv=False).cine(PHASES)[1]


@pytest.fixture(scope="module")
def stack(labels: Any) -> Any:
    return areas(labels, SPACING**2)


def test_motion_of_the_truth_is_1_and_of_shuffled_frames_more(stack: Any, labels: Any) -> None:
    curve = stack[..., LV].sum(1)
    order = np.random.default_rng(0).permutation(PHASES)
    frames = labels / 3
    assert motion_ratio(frames, frames) == roughness_ratio(curve, curve) == 1
    assert motion_ratio(frames[order], frames) > 1.3
    assert roughness_ratio(curve[order], curve) > 3
    assert motion_ratio(np.broadcast_to(frames[:1], frames.shape), frames) == 0


def test_roughness_has_its_closed_form() -> None:
    phase = 2 * np.pi * np.arange(24) / 24
    curve = np.cos(phase)
    jitter = curve + 0.1 * (-1) ** np.arange(24)
    of_curve, of_jitter = (2 - 2 * np.cos(phase[1])) ** 2 / 2, 16 * 0.01
    assert roughness_ratio(jitter, curve) == pytest.approx(1 + of_jitter / of_curve)
    assert roughness_ratio(100 + 7 * curve, curve) == pytest.approx(49)


def test_a_cycle_that_does_not_close_shows() -> None:
    cycle = np.cos(2 * np.pi * np.arange(20) / 20)
    assert closure(cycle) < 1
    assert closure(cycle + np.linspace(0, 1, 20)) > 4
    assert closure(np.arange(5.0)) == 4
    assert np.isnan(closure(np.ones(5))) and np.isnan(closure(np.ones(1)))


def test_nothing_moves_is_not_defined() -> None:
    still = np.ones((4, 3))
    assert np.isnan(motion_ratio(still, still)) and np.isnan(roughness_ratio(still[:, 0], still[:, 0]))
