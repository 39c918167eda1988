import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from cmrgz.errors import DataError
from cmrgz.evaluation.metrics.sets import SET_METRICS, Space, control
from cmrgz.evaluation.metrics.sets.base import halves, subset

IMAGES = [name for name, metric in SET_METRICS.items() if metric.on == "images"]
FEATURES = [name for name in SET_METRICS if name not in IMAGES]


def features(seed: int, n: int = 400, d: int = 12, shift: float = 0.0) -> Any:
    rng = np.random.default_rng(seed)
    return 100 + 7 * np.arange(1, d + 1) * (shift + rng.normal(size=(n, d)))


def images(seed: int, n: int = 20) -> Any:
    rng = np.random.default_rng(seed)
    return np.clip(0.5 + gaussian_filter(rng.normal(size=(n, 96, 96)), (0, 1, 1)), 0, 1)


def sets(name: str, seed: int = 0) -> tuple[Any, Any]:
    make = images if name in IMAGES else features
    return make(2 * seed), make(2 * seed + 1)


def test_the_table_is_named_by_its_metrics() -> None:
    assert all(name == metric.name and metric.cite for name, metric in SET_METRICS.items())
    assert {"kid", "rbf-mmd", "fd", "fd-inf", "density", "coverage", "swd", "ms-ssim-gap"} <= SET_METRICS.keys()


@pytest.mark.parametrize("name", SET_METRICS)
def test_too_few_items_are_nan_with_the_reason(name: str) -> None:
    metric = SET_METRICS[name]
    x, y = sets(name)
    score = metric.score(x[: metric.least - 1], y)
    assert math.isnan(score.value) and f"needs {metric.least} items" in score.reason
    x = np.concatenate([x] * 2)[: metric.least]
    score = metric.score(x + 1e-3 * np.random.default_rng(0).random(x.shape), y[:400])
    assert math.isfinite(score.value) and score.reason == ""


@pytest.mark.parametrize("name", SET_METRICS)
def test_what_is_not_finite_is_nan_with_the_reason(name: str) -> None:
    x, y = sets(name)
    x[3] = np.nan
    score = SET_METRICS[name].score(x, y)
    assert math.isnan(score.value) and score.reason == "1 generated items are not finite"


@pytest.mark.parametrize("name", FEATURES)
def test_units_of_features_do_not_matter(name: str) -> None:
    x, y = sets(name)
    scaled = SET_METRICS[name].score(1e-3 * x - 5, 1e-3 * y - 5)
    assert scaled.value == pytest.approx(SET_METRICS[name].score(x, y).value, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", [n for n in FEATURES if n != "recall"])
def test_a_shift_is_worse_than_the_control(name: str) -> None:
    metric, real = SET_METRICS[name], features(1, 700)
    floor = control(metric, real, np.arange(700))
    bad = metric.score(features(0, floor.n, shift=1.5), real[: floor.n]).value
    if metric.better == "lower":
        assert bad > max(floor.values) + 0.1
    else:
        assert bad < 0.8 * min(floor.values)


COVERED = 1 - np.prod([(350 - i) / (700 - i) for i in range(1, 6)])  # Naeem et al. 2020, lemma 2
NULL = {"kid": 0, "rbf-mmd": 0, "fd-inf": 0, "density": 1, "coverage": COVERED, "ms-ssim-gap": 0}


@pytest.mark.parametrize("name", NULL)
def test_halves_of_the_reals_come_out_null(name: str) -> None:
    real = images(0, 24) if name in IMAGES else features(0, 700)
    found = control(SET_METRICS[name], real, np.arange(len(real)), repeats=4 if name in IMAGES else 10)
    assert found.n == len(real) // 2
    assert found.mean == pytest.approx(NULL[name], abs=max(2 * np.std(found.values), 0.02))


def test_a_control_is_at_the_number_of_the_generated_set() -> None:
    real = features(0, 300)
    found = control(SET_METRICS["fd"], real, np.arange(300), most=70)
    assert found.n == 70 and found.mean > 2 * control(SET_METRICS["fd"], real, np.arange(300)).mean
    assert found == control(SET_METRICS["fd"], real, np.arange(300), most=70)


def test_too_few_reals_have_no_control() -> None:
    assert math.isnan(control(SET_METRICS["fd"], features(0, 100), np.arange(100)).mean)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=20), st.integers(0, 99))
def test_halves_share_no_subject(frames: list[int], seed: int) -> None:
    subjects = np.random.default_rng(seed).permutation(np.repeat([f"s{i}" for i in range(len(frames))], frames))
    a, b = halves(subjects, np.random.default_rng(seed))
    assert not set(subjects[a]) & set(subjects[b])
    assert sorted([*a, *b]) == list(range(len(subjects)))
    assert abs(len(a) - len(b)) <= max(frames)


def test_subjects_reach_the_metrics_that_know_them() -> None:
    x, of = features(0, 60), np.arange(60)
    assert SET_METRICS["kid"].score(x, x).value < -1
    assert SET_METRICS["kid"].score(x, x, subjects=(of, of)).value == pytest.approx(0, abs=1e-9)
    assert SET_METRICS["coverage"].score(x, x, subjects=(of, of)).value == 1


def test_a_space_is_that_of_the_reference() -> None:
    x = features(0)
    space = Space.fit(x)
    z, p = space.standard(x), space.principal(x)
    np.testing.assert_allclose([z.mean(0), z.std(0)], [[0.0] * 12, [1.0] * 12], atol=1e-9)
    np.testing.assert_allclose((p**2).sum(1), (z**2).sum(1))
    assert (np.diff(p.var(0)) <= 1e-12).all()
    assert SET_METRICS["kid"].score(x, features(1), space) != SET_METRICS["kid"].score(x, features(1))


def test_principal_components_are_few_and_the_largest() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 200)) + 0.01 * rng.normal(size=(300, 200))
    space = Space.fit(x)
    assert space.principal(x).shape == (300, 64)
    assert space.principal(x)[:, :3].var(0).sum() > 0.99 * space.standard(x).var(0).sum()
    assert Space.fit(x[:10]).axes.shape == (200, 9)


def test_what_is_far_out_counts_as_ten_standard_deviations() -> None:
    x, far = features(0), features(1)
    far[:, 3] += 1e9
    space = Space.fit(x)
    z = space.standard(far)
    assert (z[:, 3] == 10).all() and np.abs(np.delete(z, 3, axis=1)).max() < 6
    assert SET_METRICS["kid"].score(far, x, space).value < 1e6


def test_a_feature_that_is_constant_in_the_reference_stays_finite() -> None:
    x = features(0)
    x[:, 4] = 1e5
    assert Space.fit(x).scale[4] == 1
    assert math.isfinite(SET_METRICS["kid"].score(features(1), x).value)


@pytest.mark.parametrize(
    "reference, code",
    [
        (np.zeros((5, 4, 4)), "shape-mismatch"),
        (np.zeros((1, 4)), "empty-dataset"),
        (np.full((5, 4), np.nan), "nonfinite"),
    ],
)
def test_a_reference_that_is_none_is_refused(reference: Any, code: str) -> None:
    with pytest.raises(DataError, match=code):
        Space.fit(reference)


def test_a_subset_is_in_order() -> None:
    x = np.arange(50.0)[:, None]
    assert (np.diff(subset(x, 20, seed=0)[:, 0]) > 0).all() and len(subset(x, 20, seed=0)) == 20
    assert subset(x, 60, seed=0) is x
