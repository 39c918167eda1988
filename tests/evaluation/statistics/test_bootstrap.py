from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cmrgz.evaluation.statistics.bootstrap import Bootstrap, Statistic, bootstrap, draws
from cmrgz.evaluation.statistics.estimates import (
    combined,
    mean,
    ratio_of_means,
    slopes,
)


def skewed(n: int = 25, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=n)


def of_drawn(function: Callable[[np.ndarray], float]) -> Statistic:
    """Return a function of the numbers of the drawn subjects, with repetitions, as a statistic."""
    return lambda weights: np.array([function(np.repeat(np.arange(len(w)), w.astype(int))) for w in weights])


def scipy_interval(data: tuple[np.ndarray, ...], statistic: object, paired: bool = False) -> list[float]:
    found = stats.bootstrap(
        data, statistic, n_resamples=5000, method="BCa", paired=paired, vectorized=True, rng=np.random.default_rng(0)
    ).confidence_interval
    return [found.low, found.high]


def limits(sample: Bootstrap, level: float = 0.95) -> list[float]:
    interval = sample.interval(level)
    return [interval.low, interval.high]


def test_the_mean_agrees_with_scipy_on_the_same_resamples() -> None:
    x = skewed()
    np.testing.assert_allclose(limits(bootstrap(mean(x), 25)), scipy_interval((x,), np.mean), rtol=1e-9)


def test_a_ratio_of_means_agrees_with_scipy_on_the_same_resamples() -> None:
    over, under = skewed(seed=1), skewed(seed=2) + 1

    def ratio(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return a.mean(axis) / b.mean(axis)

    found = bootstrap(ratio_of_means(over, under), 25)
    np.testing.assert_allclose(limits(found), scipy_interval((over, under), ratio, paired=True), rtol=1e-9)
    assert found.point == pytest.approx(over.mean() / under.mean())


def test_a_function_of_drawn_subjects_agrees_with_scipy_on_the_same_resamples() -> None:
    x = skewed()
    found = bootstrap(of_drawn(lambda drawn: float(np.var(x[drawn]))), 25)
    np.testing.assert_allclose(limits(found), scipy_interval((x,), np.var), rtol=1e-9)


def test_draws_are_fixed_and_each_has_n_subjects() -> None:
    once, again = draws(7, 100, 3), draws(7, 100, 3)
    assert (once == again).all() and (once.sum(1) == 7).all()
    assert not (once == draws(7, 100, 4)).all()
    assert abs(once.mean() - 1) < 1e-12 and not once.flags.writeable


@pytest.mark.parametrize("n", [30, 60])
def test_intervals_of_a_skewed_mean_cover_as_often_as_they_say(n: int) -> None:
    rng = np.random.default_rng(n)
    repeats = 400
    below = above = 0
    for _ in range(repeats):
        interval = bootstrap(mean(rng.exponential(size=n)), n, resamples=1000).interval()
        below += interval.high < 1
        above += interval.low > 1
    assert 0.90 <= 1 - (below + above) / repeats <= 0.98  # 0.93 and 0.94 expected of BCa at these n
    assert below < 0.08 * repeats and above < 0.08 * repeats


def test_a_true_null_is_rejected_about_as_often_as_agreed_and_an_effect_is_found() -> None:
    rng = np.random.default_rng(1)
    repeats, n = 600, 40
    noise = rng.normal(size=(repeats, n))
    size, power = (
        np.mean([bootstrap(mean(x + effect), n, resamples=1000).p() < 0.05 for x in noise]) for effect in (0.0, 0.6)
    )
    assert 0.03 < size < 0.085
    assert power > 0.9  # a t-test has .96


@pytest.mark.parametrize("null", [0.75, 0.8, 1.0, 1.3])
def test_the_p_value_is_the_level_at_which_the_interval_ends_at_the_null(null: float) -> None:
    sample = bootstrap(mean(skewed(40)), 40)
    p = sample.p(null)
    assert 0.001 < p < 0.8
    assert sample.interval(1 - 0.9 * p).side(null) == 0
    assert sample.interval(1 - 1.1 * p).side(null) != 0


def test_intervals_of_a_skewed_mean_reach_further_to_the_long_side() -> None:
    interval = bootstrap(mean(skewed(40)), 40).interval()
    assert interval.high - interval.point > 1.1 * (interval.point - interval.low)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.01, 100), st.floats(-100, 100), st.booleans(), st.integers(0, 99))
def test_units_do_not_matter(scale: float, offset: float, flip: bool, seed: int) -> None:
    x, sign = skewed(12, seed), -1 if flip else 1
    plain, moved = (bootstrap(mean(v), 12, resamples=500) for v in (x, sign * scale * x + offset))
    expected = sorted(sign * scale * v + offset for v in limits(plain))
    np.testing.assert_allclose(limits(moved), expected, rtol=1e-6, atol=1e-6 * scale)
    assert moved.p(sign * scale + offset) == pytest.approx(plain.p(1.0), rel=1e-6)


def test_slopes_are_those_of_least_squares_of_each_subject() -> None:
    rng = np.random.default_rng(0)
    ratios, values = (0.1, 0.25, 0.5, 0.9), rng.normal(size=(20, 4))
    expected = [stats.linregress(ratios, row).slope for row in values]
    np.testing.assert_allclose(slopes(ratios, values), expected)


def test_pairing_takes_away_what_subjects_share() -> None:
    rng = np.random.default_rng(0)
    shared, a, b = 10 * rng.normal(size=40), rng.normal(size=40), rng.normal(size=40)
    together = bootstrap(combined((1, -1), (mean(shared + a), mean(shared + b))), 40)
    np.testing.assert_allclose(together.replicates, bootstrap(mean(a - b), 40).replicates, atol=1e-10)


def test_one_subject_has_a_point_and_no_limits() -> None:
    sample = bootstrap(mean(np.array([2.0])), 1)
    interval = sample.interval()
    assert interval.point == 2 and np.isnan([interval.low, interval.high, sample.p()]).all()
    assert interval.side() == 0


def test_no_subject_has_nothing() -> None:
    sample = bootstrap(mean(np.empty(0)), 0)
    assert np.isnan([sample.interval().point, sample.interval().low, sample.p()]).all()


def test_equal_subjects_have_their_point_as_limits_and_no_more_certainty_than_their_number() -> None:
    sample = bootstrap(mean(np.full(5, 0.3)), 5)
    interval = sample.interval()
    assert interval.low == interval.high == interval.point
    assert sample.p() == 2.0**-4  # flipping the signs of five
    assert sample.p(0.3) == 1 and bootstrap(mean(np.zeros(5)), 5).p() == 1


def test_a_handful_of_subjects_is_never_significant() -> None:
    assert bootstrap(mean(np.array([1.0, 1.1, 1.2, 1.3])), 4).p() == 2.0**-3


def test_undefined_resamples_are_left_out_while_few_and_refused_when_many() -> None:
    few = np.array([0.0] * 2 + [1.0] * 2)  # all draws from the zeros: about 1 in 16
    sample = bootstrap(ratio_of_means(np.ones(4), few), 4)
    assert np.isnan(sample.interval().low)
    rare = np.array([0.0] * 2 + [1.0] * 5)
    interval = bootstrap(ratio_of_means(np.ones(7), rare), 7).interval()
    assert interval.low < interval.high


def test_a_point_outside_its_resamples_falls_back_to_percentiles() -> None:
    x = skewed()
    found = bootstrap(of_drawn(lambda drawn: -float(len(set(drawn.tolist())) == 25) + x[drawn].mean() * 0.01), 25)
    assert found.point < found.replicates.min()
    np.testing.assert_allclose(limits(found), np.quantile(found.replicates, (0.025, 0.975)))
