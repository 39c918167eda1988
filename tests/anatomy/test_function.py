from typing import Any

import numpy as np
import pytest

from cmrgz.anatomy.function import LV, UNITS, areas, biomarkers
from cmrgz.data.phantom import Phantom
from cmrgz.data.phantom.render import label_truth
from cmrgz.errors import DataError

SPACING, STEP, PHASES = 2.8, 20.0, 12


@pytest.fixture(scope="module")
def labels() -> Any:
    """Return the label maps (t, z, y, x) of a subject."""
    phantom = Phantom(3, size=64, spacing=SPACING, dz=STEP, ss=1, nsub=1, fit_rv=False)
    return phantom.cine(PHASES)[1]


@pytest.fixture(scope="module")
def stack(labels: Any) -> Any:
    return areas(labels, SPACING**2)


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


def test_units_are_stated_for_all(stack: Any) -> None:
    assert set(biomarkers(stack, stack, STEP)[0]) == set(UNITS)
