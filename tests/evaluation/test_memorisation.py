import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu, norm

from cmrgz.errors import DataError
from cmrgz.evaluation.memorisation import (
    audit,
    auth_pct,
    c_t,
    exceeding,
    inpainting_probe,
    nearest,
    nearest_ratio,
)

D = 10


def frames(seed: int, subjects: int, each: int = 5, spread: float = 0.5) -> Any:
    """Return features of frames: those of a subject lie about its own centre."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(subjects, 1, D)) + spread * rng.normal(size=(subjects, each, D))).reshape(-1, D)


def names(prefix: str, subjects: int, each: int = 5) -> Any:
    return np.repeat([f"{prefix}{i}" for i in range(subjects)], each)


def verdict(generated: Any) -> Any:
    return audit(generated, frames(0, 80), frames(1, 40), names("train", 80), names("test", 40))


def test_fresh_draws_are_not_flagged() -> None:
    found = [verdict(frames(seed, 200, each=1)) for seed in range(10, 30)]
    assert np.mean([v.ratio for v in found]) == pytest.approx(0.01, abs=0.02)
    assert np.mean([v.authentic for v in found]) > 40
    assert all(abs(v.c_t) < 3 for v in found)


def test_copies_are_found() -> None:
    copies = frames(0, 80)[::2] + 1e-3 * np.random.default_rng(9).normal(size=(200, D))
    found = verdict(copies)
    assert found.ratio == 1 and found.authentic == 0 and found.c_t < -10


def test_a_few_copies_are_found_by_the_ratio() -> None:
    generated = frames(10, 200, each=1)
    generated[[3, 50, 120, 121, 122]] = frames(0, 80)[[7, 211, 399, 398, 7]]
    found = verdict(generated)
    assert found.ratio >= 5 / 200


def test_what_is_unlike_the_data_is_no_copy() -> None:
    found = verdict(frames(10, 200, each=1) * 3)
    assert found.ratio == 0 and found.authentic > 90 and found.c_t > 10


def test_a_subject_in_both_is_refused() -> None:
    x = frames(0, 2)
    for call in (
        lambda a, b: audit(x, x, x, a, b),
        lambda a, b: inpainting_probe(np.arange(10.0), np.arange(10.0), a, b),
    ):
        with pytest.raises(DataError, match=r"both in training and held out \(1: train1"):
            call(names("train", 2), np.array(["train1"] * 10))
    with pytest.raises(DataError, match="empty-dataset"):
        inpainting_probe(np.arange(10.0), np.array([]), names("train", 2), np.array([]))


def test_nearest_is_that_of_all_distances() -> None:
    x, bank, of_x, of = frames(0, 300), frames(1, 60), names("a", 300), names("a", 60)
    distance, index = nearest(x, bank)
    np.testing.assert_allclose(distance, cdist(x, bank).min(1))
    assert (index == cdist(x, bank).argmin(1)).all()
    apart = np.where(of_x[:, None] == of, np.inf, cdist(x, bank))
    distance, index = nearest(x, bank, (of_x, of))
    np.testing.assert_allclose(distance, apart.min(1))
    assert not (of_x == of[index]).any()


def test_the_spacing_of_training_is_between_subjects() -> None:
    """Frames of a subject lie 0.1 apart and subjects 10 apart: 1 from a frame is near, not authentic."""
    train = np.array([[0.0], [0.1], [10.0], [10.1]])
    near, which = nearest(np.array([[-1.0], [30.0]]), train)
    assert auth_pct(near, which, train, ["a", "a", "b", "b"]) == 50
    assert auth_pct(near, which, train, ["a", "b", "c", "d"]) == 100
    assert math.isnan(auth_pct(near, which, train, ["a"] * 4))


def test_the_ratio_by_hand() -> None:
    assert nearest_ratio(np.array([0.0, 0.5, 2.0, 200.0]), np.arange(1.0, 102.0)) == 0.5


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_exceeding_counts_ties_half(x: list[int], y: list[int]) -> None:
    expected = [np.mean([(a > b) + 0.5 * (a == b) for b in y]) for a in x]
    np.testing.assert_allclose(exceeding(np.array(x, float), np.array(y, float)), expected)


def test_the_score_is_calibrated_over_patients_only_with_patients() -> None:
    """Ten patients of 20 like frames, no copying: frames taken for patients stray far beyond the standard normal."""
    rng, of = np.random.default_rng(0), np.repeat(np.arange(10), 20)
    plain, clustered = [], []
    for _ in range(300):
        test = (rng.normal(size=(10, 1)) + 0.1 * rng.normal(size=(10, 20))).ravel()
        generated = rng.normal(size=300) * math.sqrt(1.01)
        plain.append(c_t(generated, test, np.arange(200)))
        clustered.append(c_t(generated, test, of))
    assert np.std(plain) > 2.5
    assert np.std(clustered) == pytest.approx(1.1, abs=0.2)


def test_the_score_over_patients_by_hand() -> None:
    """Places 1/8, 3/8, 5/8, 7/8 of two patients' frames: sums -1/2 and 1/2 about a half, over 4 frames; 2 / (2 - 1)."""
    test, generated = np.array([1.0, 2, 3, 4]), np.array([0.5, 2.5, 2.6])
    share = np.mean([0, 2 / 4, 2 / 4])
    variance = 1 / (12 * 3) + (0.25 + 0.25) / 16 * 2
    assert c_t(generated, test, ["a", "a", "b", "b"]) == pytest.approx((share - 0.5) / math.sqrt(variance))


def test_the_score_of_independent_items_is_that_of_mann_and_whitney() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 500))
    p = mannwhitneyu(x - 0.1, y, alternative="less", use_continuity=False).pvalue
    assert c_t(x - 0.1, y, np.arange(500)) == pytest.approx(norm.ppf(p), rel=0.05)


def test_scores_that_are_not_defined() -> None:
    one, two = np.array([1.0]), np.array([1.0, 2.0])
    assert (
        math.isnan(c_t(one, two, ["a", "b"]))
        and math.isnan(c_t(two, one, ["a"]))
        and math.isnan(c_t(two, two, ["a", "a"]))
    )


def errors(seed: int, subjects: int, shift: float = 0.0, each: int = 6) -> Any:
    rng = np.random.default_rng(seed)
    return (1 + shift + 0.3 * rng.normal(size=(subjects, 1)) + 0.1 * rng.normal(size=(subjects, each))).ravel()


def probe(seed: int, shift: float = 0.0, subjects: int = 25) -> Any:
    train, test = errors(2 * seed, subjects), errors(2 * seed + 1, subjects, shift)
    return inpainting_probe(train, test, names("train", subjects, 6), names("test", subjects, 6))


def test_the_probe_is_the_share_of_pairs() -> None:
    found = inpainting_probe(np.array([1.0, 2, 3]), np.array([2.0, 4]), ["a", "a", "b"], ["c", "d"])
    assert found.auc == pytest.approx((1 + 0.5 + 0 + 3) / 6)
    assert found.low <= found.auc <= found.high


def test_holes_that_come_back_better_in_training_are_found() -> None:
    found = probe(0, shift=0.5)
    assert found.low > 0.5 and found.auc == pytest.approx(norm.cdf(0.5 / math.sqrt(0.2)), abs=0.1)


def test_the_interval_of_no_memorisation_holds_a_half_as_often_as_it_should() -> None:
    holds = [p.low <= 0.5 <= p.high for p in (probe(seed) for seed in range(200))]
    assert 0.88 <= np.mean(holds) <= 0.99


def test_the_interval_is_of_patients_not_of_frames() -> None:
    wide = probe(1)
    of = [np.arange(150), 150 + np.arange(150)]
    narrow = inpainting_probe(errors(2, 25), errors(3, 25), *of)
    assert narrow.auc == wide.auc and wide.high - wide.low > 1.6 * (narrow.high - narrow.low)


def test_an_audit_of_two_thousand_items_is_fast() -> None:
    x, train, test = frames(0, 2000, 1), frames(1, 400), frames(2, 100)
    start = time.perf_counter()
    audit(x, train, test, names("train", 400), names("test", 100))
    print(f"an audit of 2,000 items: {time.perf_counter() - start:.2f} s; below 1 s on an idle core")
