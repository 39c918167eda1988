from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmrgz.evaluation.statistics.multiple import holm, holm_levels, tied


def test_holm_by_hand() -> None:
    """p = .01 .04 .03 .005: sorted .005*4 .01*3 .03*2 .04*1 = .02 .03 .06 .04, then never falling: .02 .03 .06 .06."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_was_not_tested_and_stops_at_one() -> None:
    np.testing.assert_allclose(holm([0.9, np.nan, 0.7]), [1, np.nan, 1])
    assert holm([]).shape == (0,) and np.isnan(holm([np.nan])).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_holm_never_helps_keeps_the_order_and_knows_no_position(p: list[float], random: Any) -> None:
    adjusted, order = holm(p), random.sample(range(len(p)), len(p))
    assert (adjusted >= np.array(p)).all() and adjusted.max() <= 1
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    assert holm([p[i] for i in order]).tolist() == adjusted[order].tolist()


def test_holm_levels_belong_to_the_steps() -> None:
    np.testing.assert_allclose(holm_levels([0.03, 0.01, np.nan]), [0.95, 0.975, np.nan])


def test_holm_keeps_the_family_wise_error() -> None:
    p = np.random.default_rng(0).random((4000, 5))
    wrong = np.mean([(holm(row) <= 0.05).any() for row in p])
    assert 0.04 < wrong < 0.058


def column(values: np.ndarray) -> dict[str, float]:
    return {f"s{i:03}": float(v) for i, v in enumerate(values)}


def scores(seed: int = 0) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(seed)
    base = 20 + 3 * rng.normal(size=50)
    means = {"worst": -4.0, "best": 0.0, "near": -0.02, "worse": -1.0}
    return {name: column(base + shift + 0.3 * rng.normal(size=50)) for name, shift in means.items()}


def test_tied_are_the_best_and_those_not_shown_to_be_worse() -> None:
    assert set(tied(scores(), "higher")) == {"best", "near"}
    assert tied(scores(), "lower") == ("worst",)


def test_good_near_a_value_counts_from_both_sides() -> None:
    rng = np.random.default_rng(0)
    table = {
        name: column(at + 0.05 * rng.normal(size=40)) for name, at in {"low": 0.6, "right": 1.0, "up": 1.5}.items()
    }
    assert tied(table, "one") == ("right",)
    assert tied(table, "zero") == ("low",)


def test_ties_need_a_direction_a_value_and_shared_subjects() -> None:
    assert tied(scores(), "none") == ()
    assert tied({}, "higher") == ()
    assert tied({"a": {"x": 1.0}, "b": {"y": 1.0}}, "higher") == ()
    assert tied({"a": column(np.arange(5.0)), "b": {"s000": float("nan")}}, "higher") == ("a",)


def test_one_subject_ties_all() -> None:
    assert tied({"a": {"x": 1.0}, "b": {"x": 2.0}}, "higher") == ("b", "a")


@pytest.mark.parametrize("seed", range(5))
def test_the_same_method_twice_is_tied(seed: int) -> None:
    table = scores(seed)
    assert {"best", "again"} <= set(tied({**table, "again": table["best"]}, "higher"))
