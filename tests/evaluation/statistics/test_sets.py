"""Numbers of whole sets of images: the kernel distance by subject."""

import numpy as np
import pytest

from cmrgz.errors import DataError
from cmrgz.evaluation.metrics.sets.kernels import kid
from cmrgz.evaluation.statistics.bootstrap import bootstrap
from cmrgz.evaluation.statistics.estimates import combined
from cmrgz.evaluation.statistics.kernel import kernel_distance


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
        held.append(
            bootstrap(combined((1, -1), (distance(a, real).of, distance(b, real).of)), 20, 400).interval().side() == 0
        )
    assert 0.86 < np.mean(held) <= 1


def test_shapes_must_agree() -> None:
    x = np.zeros((4, 3))
    with pytest.raises(DataError, match="shape-mismatch"):
        kernel_distance(x, ["a"] * 3, x, ["a"] * 4)
    with pytest.raises(DataError, match="shape-mismatch"):
        kernel_distance(x, ["a"] * 4, x[:, :2], ["a"] * 4)


def test_a_single_subject_has_no_distance() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3))
    assert np.isnan(bootstrap(kernel_distance(x, ["a"] * 4, x, ["a"] * 4).of, 1).point)
