from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmrgz.data.phantom import Phantom
from cmrgz.data.phantom.render import label_truth
from cmrgz.errors import DataError
from cmrgz.evaluation.cardiac import (
    LV,
    UNITS,
    agreement,
    areas,
    biomarkers,
    closure,
    motion_ratio,
    roughness_ratio,
    wall_thickness,
    wasserstein,
)

SPACING, STEP, PHASES = 2.8, 20.0, 12


@pytest.fixture(scope="module")
def labels() -> Any:
    """Return the label maps (t, z, y, x) of a subject."""
    phantom = Phantom(3, size=64, spacing=SPACING, dz=STEP, ss=1, nsub=1, fit_rv=False)
    return phantom.cine(PHASES)[1]


@pytest.fixture(scope="module")
def stack(labels: Any) -> Any:
    return areas(labels, SPACING**2)


def disc(radius: float, inner: float = 0, shape: tuple[int, int] = (128, 128), centre: float = 63.5) -> Any:
    rows, columns = np.indices(shape)
    distance = np.hypot(rows - centre, columns - centre)
    return (distance < radius) & (distance >= inner)


# ---------------------------------------------------------------------- volumes
def test_biomarkers_are_those_of_the_phantom(labels: Any, stack: Any) -> None:
    end_systole = int(stack[..., LV].sum(1).argmin())
    assert stack[..., LV].sum(1).argmax() == 0
    expected = label_truth(labels, SPACING, STEP, end_systole)
    found, _ = biomarkers(stack, stack, STEP)
    names = set(UNITS) & set(expected)
    assert names == {"LVEDV", "LVESV", "LVEF", "LVM_ED", "LVM_ES", "RVEDV", "RVESV", "RVEF"}
    assert {n: found[n] for n in names} == pytest.approx({n: expected[n] for n in names})
    assert found["LVSV"] == pytest.approx(expected["LVEDV"] - expected["LVESV"])
    assert set(found) == set(UNITS)


def test_a_perfect_result_has_no_error_whatever_is_missing(stack: Any) -> None:
    rng = np.random.default_rng(0)
    partial = stack.copy()
    partial[rng.random(stack.shape[:2]) < 0.02] = np.nan
    for truth, result in ((stack, stack), (partial, stack), (stack, partial)):
        a, b = biomarkers(truth, result, STEP)
        assert a == b
        assert np.isfinite(list(a.values())).all()


def test_what_one_side_lacks_is_not_used_on_the_other(stack: Any) -> None:
    result = stack.copy()
    result[:, 2] = np.nan
    truth = stack.copy()
    truth[:, 2] *= 100
    a, b = biomarkers(truth, result, STEP)
    assert a == b


def test_the_result_is_measured_in_the_frames_of_the_truth(stack: Any) -> None:
    _, rolled = biomarkers(stack, np.roll(stack, 3, axis=0), STEP)
    own, _ = biomarkers(stack, stack, STEP)
    assert rolled["LVEF"] < own["LVEF"]


def test_frames_at_ed_and_es_alone_are_enough(stack: Any) -> None:
    full, _ = biomarkers(stack, stack, STEP)
    ends = [stack[..., LV].sum(1).argmax(), stack[..., LV].sum(1).argmin()]
    sparse = np.full_like(stack, np.nan)
    sparse[ends] = stack[ends]
    assert biomarkers(sparse, sparse, STEP)[0] == full


def test_a_scale_of_areas_is_one_of_volumes_and_none_of_fractions(stack: Any) -> None:
    a, b = biomarkers(stack, 1.1 * stack, STEP)
    for name, unit in UNITS.items():
        assert b[name] == pytest.approx(a[name] * (1.1 if unit else 1))


def test_what_cannot_be_measured_is_nan(stack: Any) -> None:
    one, _ = biomarkers(stack[:1], stack[:1], STEP)
    none, _ = biomarkers(np.full_like(stack, np.nan), stack, STEP)
    empty, _ = biomarkers(0 * stack, 0 * stack, STEP)
    assert np.isnan(list(one.values())).all() and np.isnan(list(none.values())).all()
    assert np.isnan(empty["LVEF"]) and empty["LVEDV"] == 0
    with pytest.raises(DataError, match="shape"):
        biomarkers(stack, stack[:, :1], STEP)


def test_areas_are_in_square_millimetres() -> None:
    label = np.array([[[0, 1, 1], [2, 3, 3], [3, 0, 0]]], np.uint8)
    assert areas(label, 2.0).tolist() == [[4, 2, 6]]


# ---------------------------------------------------------------------- wall
@pytest.mark.parametrize("sectors", [1, 6, 16])
def test_a_ring_is_as_thick_as_its_radii_differ(sectors: int) -> None:
    label = np.zeros((128, 128), np.uint8)
    label[disc(40, 30)] = 2
    label[disc(30)] = 3
    label[60:68, 5:15] = 1
    np.testing.assert_allclose(wall_thickness(label, 1.5, sectors), 15, atol=0.6)


def test_sectors_begin_at_the_right_ventricle_and_go_clockwise() -> None:
    label = np.zeros((128, 128), np.uint8)
    label[disc(40, 30)] = 2
    label[disc(30)] = 3
    label[60:68, 5:15] = 1  # to the left on the screen
    rows, columns = np.indices(label.shape)
    label[disc(50, 40) & (columns < 40) & (abs(rows - 63.5) < 20)] = 2  # a thick septum
    thickness = wall_thickness(label, 1.0, 4)
    assert thickness[0] > 14 and np.all(thickness[1:] < 12)
    label[disc(40, 35) & (rows < 40)] = 0  # thin at the top, which follows clockwise
    assert wall_thickness(label, 1.0, 4).argmin() == 1


def test_thickness_needs_what_it_is_measured_from() -> None:
    label = np.zeros((32, 32), np.uint8)
    assert np.isnan(wall_thickness(label, 1.0)).all()
    label[disc(6, shape=(32, 32), centre=15.5)] = 3
    assert np.isnan(wall_thickness(label, 1.0, 6)).all() and wall_thickness(label, 1.0, 1) == 0


def test_the_wall_of_a_phantom_thickens(labels: Any, stack: Any) -> None:
    end_systole = int(stack[..., LV].sum(1).argmin())
    middle = labels.shape[1] // 2
    ed, es = (wall_thickness(labels[t, middle], SPACING, 1)[0] for t in (0, end_systole))
    assert 3 < ed < es < 25


# ---------------------------------------------------------------------- motion
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


# ---------------------------------------------------------------------- subjects
def test_agreement_has_the_closed_form_of_bland_and_altman() -> None:
    truth, difference = np.array([10.0, 20, 30, 40]), np.array([1.0, 3, -1, 5])
    found = agreement(truth + difference, truth)
    sd = np.sqrt(20 / 3)
    assert (found.n, found.bias, found.mae) == (4, 2, 2.5)
    assert found.limits == pytest.approx((2 - 1.96 * sd, 2 + 1.96 * sd))
    assert found.bias_interval == pytest.approx((2 - 3.182446 * sd / 2, 2 + 3.182446 * sd / 2))
    assert found.limit_error == pytest.approx(3.182446 * sd * np.sqrt(1 / 4 + 1.96**2 / 6))


def test_agreement_of_equal_values_is_perfect_and_of_few_is_nan() -> None:
    assert agreement([1, 2, 3], [1, 2, 3]).limits == (0, 0)
    two = agreement([1, np.nan, 4], [1, 2, np.nan])
    assert two.n == 1 and two.bias == 0 and np.isnan(two.limits).all()
    none = agreement([np.nan], [1.0])
    assert none.n == 0 and np.isnan(none.bias)


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=30), st.floats(-50, 50))
def test_a_shift_is_the_bias_alone(values: list[float], shift: float) -> None:
    found = agreement([v + shift for v in values], values)
    assert found.bias == pytest.approx(shift, abs=1e-9) and found.mae == pytest.approx(abs(shift), abs=1e-9)
    assert found.limits[1] - found.limits[0] == pytest.approx(0, abs=1e-9)


def test_wasserstein_is_the_shift_and_counts_whom_it_sees() -> None:
    real = [dict.fromkeys(UNITS, float(v)) for v in range(5)]
    moved = [dict.fromkeys(UNITS, v + 3.0) | {"LVEF": np.nan} for v in range(4)]
    moved[0] |= {"LVEDV": np.nan}
    assert wasserstein(real, real)["LVEF"] == (0, 5, 5)
    found = wasserstein(moved, real)
    assert found["LVM_ED"] == (pytest.approx(2.5), 4, 5) and found["LVEDV"][1] == 3
    assert np.isnan(found["LVEF"][0]) and found["LVEF"][1:] == (0, 5)


def test_units_are_stated_for_all(stack: Any) -> None:
    assert set(biomarkers(stack, stack, STEP)[0]) == set(UNITS)
