from typing import Any

import numpy as np
import pytest

from cmrgz.evaluation.metrics import FRAME_METRICS, measure
from cmrgz.evaluation.metrics.base import Sampled
from cmrgz.evaluation.metrics.errors import METRICS
from cmrgz.evaluation.regions import psnr_frames


def box(size: int = 64, edge: int = 32) -> Any:
    known = np.ones((size, size), dtype=bool)
    start = (size - edge) // 2
    known[start : start + edge, start : start + edge] = False
    return known


def noisy(k: int = 4, sigma: float = 0.05, size: int = 64, known: Any = None, **more: Any) -> Sampled:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.3, 0.7, (size, size))
    drawn = truth + rng.normal(0, sigma, (k, size, size))
    return Sampled(truth, box(size, size // 2) if known is None else known, drawn, **more)


def found(frame: Sampled) -> dict[str, float]:
    return {m.name: m.of(frame) for m in METRICS if m.least <= len(frame.drawn)}


def test_psnr_is_the_mean_of_each_samples_decibels() -> None:
    frame = noisy()
    truth = np.broadcast_to(frame.truth, frame.samples.shape)
    for name, region in (("hole", frame.hidden), ("whole", np.ones_like(frame.known))):
        expected = psnr_frames(frame.samples, truth, np.broadcast_to(region, truth.shape))
        assert found(frame)[f"psnr-{name}"] == pytest.approx(expected.mean())
    assert found(frame)["psnr-hole"] == pytest.approx(-20 * np.log10(0.05), abs=0.2)
    assert found(frame)["psnr-whole"] > found(frame)["psnr-hole"] + 5.5  # a quarter of the frame: 6 dB for nothing


def test_the_mean_of_k_samples_of_noise_has_a_kth_of_the_error() -> None:
    frame = noisy(k=16, sigma=0.1)
    values = found(frame)
    for n in (1, 2, 4, 8, 16):
        assert values[f"mse-hole-average-{n}"] == pytest.approx(0.01 / n, rel=0.1)
    assert values["mse-mean-hole"] == values["mse-hole-average-16"]
    assert values["mse-hole"] == pytest.approx(0.01, rel=0.03)
    assert values["psnr-mean-hole"] - values["psnr-hole"] == pytest.approx(10 * np.log10(16), abs=0.3)


def test_averages_are_left_out_where_there_are_too_few_samples() -> None:
    names = measure(noisy(k=3))
    assert "mse-hole-average-2" in names and "mse-hole-average-4" not in names


def test_draws_from_the_posterior_lose_three_decibels_against_their_mean() -> None:
    rng = np.random.default_rng(1)
    truth, drawn = rng.normal(0.5, 0.1, (128, 128)), rng.normal(0.5, 0.1, (64, 128, 128))
    values = found(Sampled(truth, np.zeros((128, 128), dtype=bool), drawn))
    # the mean of K has 1 + 1/K of the least error, a sample has 2
    assert values["psnr-mean-hole"] - values["psnr-hole"] == pytest.approx(10 * np.log10(2 / (1 + 1 / 64)), abs=0.05)


def test_the_heart_is_its_label_else_its_segment_else_unknown() -> None:
    label, segment = np.zeros((64, 64), dtype=np.uint8), np.zeros((64, 64), dtype=np.uint8)
    label[30:40, 30:60], segment[20:30, 20:30] = 3, 1
    frame = noisy()
    assert np.isnan(found(frame)["psnr-heart"])
    worse = frame.drawn.copy()
    worse[:, 30:40, 30:60] = frame.truth[30:40, 30:60] + 0.1
    worse[:, 20:30, 20:30] = frame.truth[20:30, 20:30] + 0.01
    cases: list[tuple[Any, float]] = [
        ({"label": label, "truth_segment": segment}, 20),
        ({"truth_segment": segment}, 40),
        ({"label": np.zeros_like(label), "truth_segment": segment}, 40),  # a frame that nobody annotated
    ]
    for given, expected in cases:
        changed = Sampled(frame.truth, frame.known, worse, **given)
        assert found(changed)["psnr-heart"] == pytest.approx(expected)


def test_the_seam_is_the_hidden_side_of_the_edge() -> None:
    frame = noisy(sigma=0)
    drawn = frame.drawn.copy()
    drawn[:, 20:44, 20:44] += 0.1  # the hole is 16:48, so that all its pixels but those of a band of 4 are wrong
    values = found(Sampled(frame.truth, frame.known, drawn))
    assert values["psnr-seam"] == 80 and values["psnr-hole"] < 25


def test_the_known_region_is_judged_as_it_was_drawn() -> None:
    frame = noisy(sigma=0.02)
    values = found(frame)
    assert values["rmse-known-drawn"] == pytest.approx(0.02, rel=0.05)
    assert values["psnr-known-drawn"] == pytest.approx(-20 * np.log10(0.02), abs=0.2)
    hidden = found(noisy(known=np.zeros((64, 64), dtype=bool)))
    assert np.isnan(hidden["psnr-known-drawn"]) and np.isnan(hidden["rmse-known-drawn"])


def test_nrmse_is_of_the_frames_mean() -> None:
    frame = noisy(sigma=0.05)
    assert found(frame)["nrmse-hole"] == pytest.approx(0.05 / frame.truth.mean(), rel=0.03)
    black = Sampled(np.zeros((8, 8)), np.zeros((8, 8), dtype=bool), np.ones((1, 8, 8)))
    assert np.isnan(found(black)["nrmse-hole"])


def test_nothing_hidden_is_nan_in_the_hole_and_exact_in_the_frame() -> None:
    values = measure(noisy(known=np.ones((64, 64), dtype=bool)))
    assert values["psnr-whole"] == 80
    assert all(np.isnan(v) for name, v in values.items() if name.endswith(("-hole", "-heart", "-seam")))
    assert FRAME_METRICS["psnr-hole"].better == "higher"
