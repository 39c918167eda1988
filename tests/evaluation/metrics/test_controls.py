"""Positive controls on frames of phantoms: what each way to be wrong must look like, across the metrics."""

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrgz.data.intensity import Scale
from cmrgz.data.phantom.render import Phantom
from cmrgz.evaluation.baselines import harmonic
from cmrgz.evaluation.metrics import RATIOS, measure
from cmrgz.evaluation.metrics.base import Sampled


def frame(seed: int) -> tuple[Any, Any]:
    """Return a frame in [0, 1] and its labels."""
    phantom = Phantom(seed)
    image, label = phantom.frame(float(phantom.heights()[6]), 0.0)
    return (Scale.fit(image, np.ones(image.shape, dtype=bool)).to_unit(image).astype(float) + 1) / 2, label


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, float]]:
    truth, label = frame(11)
    other, other_label = frame(12)
    known = np.ones(truth.shape, dtype=bool)
    known[32:96, 32:96] = False
    miss, *noise = np.random.default_rng(0).normal(0, 0.02, (5, *truth.shape))

    def scored(drawn: Any, segment: Any = label) -> dict[str, float]:
        parts = (label, label, np.repeat(np.where(known, label, segment)[None], 4, axis=0))
        values = measure(Sampled(truth, known, drawn + np.array(noise) / 20, 1.8, *parts))
        return values | {r.name: r.of(values) for r in RATIOS.values()}

    return {
        "good": scored(truth + miss + noise),
        "blurred": scored(gaussian_filter(truth, 2)),
        "pasted": scored(other, other_label),
        "harmonic": scored(harmonic(truth[None], known[None])[0]),
        "dispersed": scored(truth + miss + 4 * np.array(noise)),
        "confident": scored(truth + 0.1),
    }


def ordered(results: dict[str, dict[str, float]], metric: str, *names: str) -> bool:
    """Return whether the values fall from each result to the next."""
    values = [results[name][metric] for name in names]
    return all(a > b for a, b in zip(values, values[1:], strict=False))


def test_blur_is_right_on_average_and_wrong_in_detail(results: dict[str, dict[str, float]]) -> None:
    assert ordered(results, "psnr-hole", "good", "blurred", "pasted")
    assert results["blurred"]["sharpness-high"] < 0.1 < 0.5 < results["pasted"]["sharpness-high"]
    assert results["blurred"]["fne-hole"] > 0.25 > 0.05 > results["blurred"]["fpe-hole"]
    assert results["blurred"]["sfrc-hole"] < 0.15  # only where its seam is


def test_another_heart_looks_right_and_is_not(results: dict[str, dict[str, float]]) -> None:
    assert results["pasted"]["fpe-hole"] > 0.2 > 0.05 > results["good"]["fpe-hole"]
    assert results["pasted"]["sfrc-hole"] > 0.5 > 0.05 > results["good"]["sfrc-hole"]
    assert ordered(results, "haarpsi-hole", "good", "blurred", "pasted")
    assert results["pasted"]["seam"] > 1.5 > results["good"]["seam"]
    assert all(
        results["pasted"][f"dice-{part}"] < 0.9 < results["good"][f"dice-{part}"] for part in ("lv", "myo", "rv")
    )


def test_a_smooth_fill_invents_nothing_and_misses_everything(results: dict[str, dict[str, float]]) -> None:
    assert results["harmonic"]["fne-hole"] > 0.5 and results["harmonic"]["sharpness-high"] < 0.1
    assert ordered(results, "ssim-hole", "good", "blurred", "harmonic")
    assert ordered(results, "gmsd-whole", "harmonic", "good")


def test_too_much_and_too_little_variety(results: dict[str, dict[str, float]]) -> None:
    assert results["good"]["kappa"] == pytest.approx(1.05**2, rel=0.1)
    assert results["dispersed"]["kappa"] > 10 and results["confident"]["kappa"] < 0.01
    assert results["confident"]["tail"] > 10 > results["good"]["tail"]
    assert results["confident"]["rank-low-hole"] > 3
    for metric in ("energy-hole", "crps-hole"):
        assert ordered(results, metric, "dispersed", "good") and ordered(results, metric, "confident", "good")
