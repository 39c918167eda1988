"""Numbers of whole sets of images: the kernel distance by subject, permutations and subsampling."""

import numpy as np
import pytest

from cmrgz.errors import DataError
from cmrgz.evaluation.metrics.sets.kernels import kid
from cmrgz.evaluation.statistics.bootstrap import bootstrap
from cmrgz.evaluation.statistics.estimates import difference
from cmrgz.evaluation.statistics.kernel import kernel_distance
from cmrgz.evaluation.statistics.permutation import permutation_test
from cmrgz.evaluation.statistics.subsampling import subsampled


def features(rng: np.random.Generator, n: int = 20, each: int = 4, at: float = 0.0, own: float = 0.7) -> np.ndarray:
    """Draw (n, each, 6) features with a part that each subject's items share."""
    return at + own * rng.normal(size=(n, 1, 6)) + rng.normal(size=(n, each, 6))


def owners(x: np.ndarray) -> list[str]:
    return [f"s{i:02}" for i in range(len(x)) for _ in range(x.shape[1])]


def flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])


def distance(x: np.ndarray, real: np.ndarray) -> object:
    return kernel_distance(flat(x), owners(x), flat(real), owners(real))


def expected(x: np.ndarray, real: np.ndarray) -> float:
    return kid(flat(x), flat(real), subjects=(owners(x), owners(real)))


def test_the_distance_by_subject_is_the_unbiased_one() -> None:
    rng = np.random.default_rng(0)
    x, real = features(rng, each=3, at=0.3), features(rng)
    assert bootstrap(distance(x, real).of, 20).point == pytest.approx(expected(x, real))


def test_leaving_a_subject_out_leaves_out_its_images_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    x, real = features(rng, each=3), features(rng)
    weights = np.ones((1, 20))
    weights[0, 5] = 0
    rest = np.delete(np.arange(20), 5)
    assert distance(x, real).of(weights)[0] == pytest.approx(expected(x[rest], real[rest]))


def test_copies_of_a_subject_do_not_bias_a_resample() -> None:
    """Drawing images themselves with replacement compares them with their copies: every resample looks different."""
    rng = np.random.default_rng(0)
    x, real = features(rng, own=0), features(rng, own=0)
    right = bootstrap(distance(x, real).of, 20)
    naive = np.mean([kid(flat(x[d]), flat(real[d])) for d in rng.integers(0, 20, (200, 20))])
    assert abs(right.replicates.mean() - right.point) < 0.1 * right.replicates.std()
    assert naive - right.point > 0.5 * right.replicates.std()


def test_unequal_numbers_of_images_and_subjects_without_any() -> None:
    rng = np.random.default_rng(0)
    x, real = rng.normal(size=(9, 6)), rng.normal(size=(14, 6))
    of_x, of_real = list("aaabbcccc"), list("aabbbccccddddd")
    found = kernel_distance(x, of_x, real, of_real)
    assert found.subjects == ("a", "b", "c", "d")
    assert found.of(np.ones((1, 4)))[0] == pytest.approx(kid(x, real, subjects=(of_x, of_real)))


def test_weights_of_some_subjects() -> None:
    rng = np.random.default_rng(0)
    x, real = features(rng), features(rng)
    some = ["s03", "s01", "s07"]
    found = distance(x, real).among(some)(np.ones((1, 3)))[0]
    assert found == pytest.approx(expected(x[[1, 3, 7]], real[[1, 3, 7]]))
    with pytest.raises(DataError, match="no images"):
        distance(x, real).among(["s99"])


def test_intervals_of_a_difference_of_distances_cover_the_truth() -> None:
    """Two methods of the same distribution: the true difference is 0."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(150):
        real, a, b = (features(rng, each=2) for _ in range(3))
        held.append(bootstrap(difference(distance(a, real).of, distance(b, real).of), 20, 400).interval().side() == 0)
    assert 0.86 < np.mean(held) <= 1


def test_shapes_must_agree() -> None:
    x = np.zeros((4, 3))
    with pytest.raises(DataError, match="shape-mismatch"):
        kernel_distance(x, ["a"] * 3, x, ["a"] * 4)
    with pytest.raises(DataError, match="shape-mismatch"):
        kernel_distance(x, ["a"] * 4, x[:, :2], ["a"] * 4)


def gap(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.linalg.norm(x.mean(0)) - np.linalg.norm(y.mean(0)))


def test_permutations_find_a_difference_and_only_that() -> None:
    rng = np.random.default_rng(0)
    a, b, far = (list(features(rng, at=at)) for at in (0.0, 0.0, 1.5))
    assert permutation_test(gap, a, far).p == pytest.approx(0.001)
    assert permutation_test(gap, a, b).p > 0.05
    same = permutation_test(gap, a, a, permutations=99)
    assert same.p == 1 and same.observed == 0 and same.n == 20


def test_permutations_go_by_subject_so_that_the_size_is_right() -> None:
    """Items of a subject resemble one another; swapping them one by one would reject far too often."""
    rng = np.random.default_rng(0)
    by_subject, by_item = [], []
    for _ in range(150):
        a, b = (features(rng, n=12, each=6, own=2.0) for _ in range(2))
        by_subject.append(permutation_test(gap, list(a), list(b), 99).p <= 0.05)
        by_item.append(permutation_test(gap, list(flat(a)[:, None]), list(flat(b)[:, None]), 99).p <= 0.05)
    assert np.mean(by_subject) < 0.1 < 0.2 < np.mean(by_item)


def test_the_number_of_images_may_differ() -> None:
    rng = np.random.default_rng(0)
    a = [rng.normal(size=(k, 3)) for k in (1, 2, 3, 4, 2, 5)]
    b = [rng.normal(size=(k, 3)) for k in (4, 1, 1, 2, 2, 3)]
    assert 0 < permutation_test(gap, a, b, 99).p <= 1


def test_permutations_need_the_same_subjects() -> None:
    with pytest.raises(DataError, match="shape-mismatch"):
        permutation_test(gap, [np.zeros((1, 2))], [])
    with pytest.raises(DataError, match="empty-dataset"):
        permutation_test(gap, [], [])


def test_halves_without_replacement_give_intervals_of_the_right_width() -> None:
    """Of a mean the interval must be that of `sd / sqrt(n)`; scaled by sqrt(m / n) it would be 0.71 of that."""
    rng = np.random.default_rng(0)
    ratio, held = [], []
    for _ in range(300):
        x = rng.normal(size=40)
        interval = subsampled(lambda chosen, x=x: x[chosen].mean(), 40)
        ratio.append((interval.high - interval.low) / (2 * 1.96 * x.std(ddof=1) / 40**0.5))
        held.append(interval.side() == 0)
    assert 0.93 < np.mean(ratio) < 1.03
    assert 0.9 < np.mean(held) < 0.98


def test_a_bias_that_depends_on_the_number_does_not_move_the_interval() -> None:
    x = np.random.default_rng(0).normal(size=40)
    plain = subsampled(lambda chosen: x[chosen].mean(), 40)
    biased = subsampled(lambda chosen: x[chosen].mean() + 100 / len(chosen), 40)
    assert biased.low - biased.point == pytest.approx(plain.low - plain.point)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_too_few_subjects_for_halves(n: int) -> None:
    interval = subsampled(lambda chosen: float(len(chosen)), n)
    assert np.isnan(interval.low) and interval.why == "too few subjects"


def test_an_undefined_half_is_said() -> None:
    interval = subsampled(lambda chosen: np.nan if 0 in chosen else 1.0, 10)
    assert np.isnan(interval.low) and interval.why == "not defined in each subset"


def test_a_single_subject_has_no_distance() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3))
    assert np.isnan(bootstrap(kernel_distance(x, ["a"] * 4, x, ["a"] * 4).of, 1).point)
