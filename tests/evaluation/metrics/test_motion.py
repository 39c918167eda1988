"""Motion: known answers of frames that move as they should, half as far, not at all, or each by itself."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from cmrgz.anatomy.function import SECTORS, cavity_radii
from cmrgz.evaluation.metrics import RATIOS, measure
from cmrgz.evaluation.metrics.base import Cine, Sampled
from cmrgz.evaluation.metrics.motion import correlation, error, spectrum
from cmrgz.evaluation.summary.motion import excursions

PHASES, SIZE = 8, 40
MOVING = np.zeros((SIZE, SIZE), dtype=bool)
MOVING[10:30, 10:30] = True


def beating(depth: float) -> NDArray[np.float64]:
    """Return a cine (t, h, w) of which a square varies once a cycle, other pixels at other places of it."""
    start = np.linspace(0, np.pi, SIZE)[:, None]
    wave = np.sin(2 * np.pi * np.arange(PHASES)[:, None, None] / PHASES + start)
    return 0.5 + depth * np.where(MOVING, wave, 0.0)


def sampled(*drawn: NDArray[np.float64], t: int = 2, ring: bool = True, blocks: tuple[int, ...] = ()) -> Sampled:
    """Return frame t of a true beat, of which the square is hidden, drawn as it is in each of some cines."""
    truth = beating(0.2)
    known = np.broadcast_to(~MOVING, truth.shape)
    cine = Cine(truth, known, np.stack([np.where(known, truth, x) for x in drawn]), t, ring, blocks)
    return Sampled(truth[t], known[t], np.stack([x[t] for x in drawn]), moving=MOVING, cine=cine)


def test_the_truth_moves_as_it_does() -> None:
    frame = sampled(beating(0.2))
    assert error(frame) == pytest.approx(0, abs=1e-12) and spectrum(frame) == pytest.approx(0, abs=1e-9)
    assert correlation(frame) == pytest.approx(1)


def test_half_the_motion_correlates_and_errs_by_half_of_it() -> None:
    frame, truth = sampled(beating(0.1)), beating(0.2)
    step = (truth[2] - truth[1])[MOVING]
    assert correlation(frame) == pytest.approx(1) and error(frame) == pytest.approx(np.sqrt((step**2).mean()) / 2)


def test_a_still_heart_has_no_motion_and_all_of_the_error() -> None:
    frame, truth = sampled(np.full((PHASES, SIZE, SIZE), 0.5)), beating(0.2)
    assert correlation(frame) == 0
    assert error(frame) == pytest.approx(np.sqrt(((truth[2] - truth[1])[MOVING] ** 2).mean()))


def test_motion_the_wrong_way_correlates_below_nothing_and_samples_are_averaged() -> None:
    assert correlation(sampled(1 - beating(0.2))) == pytest.approx(-1)
    assert correlation(sampled(beating(0.2), 1 - beating(0.2))) == pytest.approx(0)


def test_half_the_amplitude_is_six_decibels_at_one_frequency_of_four() -> None:
    assert spectrum(sampled(beating(0.1))) == pytest.approx(20 * np.log10(2) / 2, abs=0.05)


def test_frames_drawn_each_by_itself_flicker() -> None:
    rng = np.random.default_rng(0)
    frame = sampled(beating(0.2) + rng.normal(0, 0.1, (PHASES, SIZE, SIZE)))
    assert error(frame) == pytest.approx(0.1 * np.sqrt(2), rel=0.1), "the noise of two frames"
    assert spectrum(frame) > 10 and correlation(frame) < 0.8


def test_before_the_first_phase_is_the_last_of_a_cycle_alone() -> None:
    assert np.isfinite(error(sampled(beating(0.1), t=0))) and np.isnan(error(sampled(beating(0.1), t=0, ring=False)))


def test_what_was_not_drawn_is_not_measured() -> None:
    frame = sampled(beating(0.2))
    assert frame.cine is not None
    samples = frame.cine.samples.copy()
    samples[:, 1] = np.nan
    lacking = dataclasses.replace(frame, cine=dataclasses.replace(frame.cine, samples=samples))
    assert all(np.isnan(of(lacking)) for of in (error, correlation, spectrum))
    assert all(np.isnan(of(dataclasses.replace(frame, cine=None))) for of in (error, correlation, spectrum))


def test_the_seam_of_two_blocks_is_their_error_over_that_within_one() -> None:
    jump = beating(0.2)
    jump[4:] += 0.1 * MOVING
    blocks = (0, 0, 0, 0, 1, 1, 1, 1)
    found = [measure(sampled(jump, t=t, ring=False, blocks=blocks)) for t in (3, 4)]
    assert np.isnan(found[0]["motion-error-across-blocks"]) and np.isnan(found[1]["motion-error-within-blocks"])
    assert found[1]["motion-error-across-blocks"] == pytest.approx(0.1)
    assert RATIOS["block-seam"].of({"motion-error-across-blocks": 0.1, "motion-error-within-blocks": 0.1}) == 1
    assert np.isnan(measure(sampled(jump))["motion-error-across-blocks"]), "of a model that draws no blocks"


def test_the_moving_part_of_the_hole_is_a_region() -> None:
    off = beating(0.2) + 0.1 * MOVING
    off[:, :10] += 0.3
    assert measure(sampled(off))["psnr-moving"] == pytest.approx(20)


def disc(radius: float) -> NDArray[np.uint8]:
    rows, columns = np.indices((SIZE * 2, SIZE * 2)) - SIZE
    return np.where(np.hypot(rows, columns) < radius, 3, 0).astype(np.uint8)


def test_the_wall_of_a_disc_moves_by_the_difference_of_its_radii() -> None:
    large, small = (cavity_radii(disc(r), spacing=1.5) for r in (20, 12))
    assert large == pytest.approx(np.full(SECTORS, 30), rel=0.06) and small == pytest.approx([18] * SECTORS, rel=0.06)
    assert np.isnan(cavity_radii(np.zeros((8, 8), np.uint8), 1.0)).all()


def test_a_sector_that_stays_behind_is_told_from_an_even_contraction() -> None:
    rows, columns = np.indices((SIZE * 2, SIZE * 2)) - SIZE
    akinetic = np.where(np.abs(np.arctan2(rows, columns)) > np.pi * 2 / 3, disc(20), disc(12)).astype(np.uint8)
    diastole = np.stack([cavity_radii(disc(20), 1.0)] * 2)
    systole = np.stack([cavity_radii(labels, 1.0) for labels in (disc(12), akinetic)])
    true, result = excursions(diastole, systole)
    assert true.mean() == pytest.approx(8, abs=0.3) and np.ptp(true) < 1.5
    assert result.mean() < true.mean() - 1 and np.abs(result - true).mean() > 1.5
    assert np.array_equal(*excursions(diastole, np.stack([systole[1]] * 2))), "the same heart does not differ"
