from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from cmrgz.evaluation.metrics.base import Sampled
from cmrgz.evaluation.metrics.seam import METRICS, RATIOS


def found(frame: Sampled) -> dict[str, float]:
    values = {m.name: m.of(frame) for m in METRICS}
    return values | {r.name: r.of(values) for r in RATIOS}


def textured(size: int = 64) -> tuple[Any, Any]:
    """Return a texture and `known` of a box off the grid."""
    texture = gaussian_filter(np.random.default_rng(0).normal(size=(size, size)), 1, mode="wrap")
    known = np.ones((size, size), dtype=bool)
    known[11:50, 13:52] = False
    return 0.5 + 0.1 * texture / texture.std(), known


def test_jumps_by_hand() -> None:
    """Three pixels in a row, the last one hidden: it should be 0.2 above the middle one and is 0.5 and 0.1 above."""
    known = np.array([[True, True, False]])
    frame = Sampled(np.array([[0.1, 0.2, 0.4]]), known, np.array([[[9, 9, 0.7]], [[9, 9, 0.3]]]))
    values = found(frame)
    assert values["jump-edge"] == pytest.approx(0.3) and values["true-jump-edge"] == pytest.approx(0.2)
    assert values["jump-error-edge"] == pytest.approx((0.3 + 0.1) / 2)
    assert values["seam"] == pytest.approx(1.5)
    assert np.isnan(values["jump-grid"]) and np.isnan(values["blockiness"])


def test_the_truth_has_neither_seam_nor_blocks() -> None:
    truth, known = textured()
    values = found(Sampled(truth, known, truth[None]))
    assert values["seam"] == 1 and values["jump-error-edge"] == 0
    assert values["blockiness"] == pytest.approx(1, abs=0.1)


def test_a_pasted_patch_shows_its_seam_and_a_blend_hides_it() -> None:
    truth, known = textured()
    foreign = np.roll(truth, (17, 29), (0, 1)) + 0.2
    assert found(Sampled(truth, known, foreign[None]))["seam"] > 2
    flat = gaussian_filter(truth, 4, mode="wrap")
    smooth = np.where(known, truth, flat)
    for _ in range(50):
        smooth = np.where(known, truth, uniform_filter(smooth, 3))
    assert found(Sampled(truth, known, smooth[None]))["seam"] < 0.9


def test_tokens_decoded_apart_show_their_grid() -> None:
    truth, known = textured()
    levels = np.repeat(np.repeat(np.random.default_rng(1).normal(0, 0.1, (8, 8)), 8, 0), 8, 1)
    values = found(Sampled(truth, known, (truth + levels)[None]))
    assert values["blockiness"] > 1.5
    shifted = np.roll(levels, (4, 4), (0, 1))
    assert found(Sampled(truth, known, (truth + shifted)[None]))["blockiness"] < 1.1


def test_nothing_hidden_or_nothing_known_has_no_edge() -> None:
    truth, known = textured()
    for everything in (np.ones_like(known), np.zeros_like(known)):
        values = found(Sampled(truth, everything, truth[None]))
        assert np.isnan(values["jump-edge"]) and np.isnan(values["seam"])
