import numpy as np

from cmrgz.evaluation.statistics.bands import simultaneous
from cmrgz.evaluation.statistics.bootstrap import bootstrap
from cmrgz.evaluation.statistics.estimates import mean


def curves(rng: np.random.Generator, n: int = 40, ratios: int = 6) -> np.ndarray:
    return 0.3 * rng.normal(size=(n, 1)) + rng.normal(size=(n, ratios))


def test_a_band_holds_everywhere_at_once_where_single_intervals_do_not() -> None:
    rng = np.random.default_rng(0)
    repeats, band, single = 200, 0, 0
    for _ in range(repeats):
        each = [mean(column) for column in curves(rng).T]
        band += all(i.side() == 0 for i in simultaneous(each, 40, resamples=600))
        single += all(bootstrap(s, 40, resamples=600).interval().side() == 0 for s in each)
    assert 0.90 < band / repeats < 0.985
    assert single / repeats < 0.86


def test_one_ratio_has_the_width_of_one_interval() -> None:
    x = np.random.default_rng(0).normal(size=60)
    (band,), alone = simultaneous([mean(x)], 60), bootstrap(mean(x), 60).interval()
    assert abs((band.high - band.low) / (alone.high - alone.low) - 1) < 0.05


def test_ratios_without_spread_or_value_stay_so_and_widen_no_other() -> None:
    rng = np.random.default_rng(0)
    x = curves(rng, ratios=2)
    plain = simultaneous([mean(c) for c in x.T], 40)
    flat, first, undefined, second = simultaneous(
        [mean(np.ones(40)), mean(x[:, 0]), mean(np.full(40, np.nan)), mean(x[:, 1])], 40
    )
    assert (first, second) == plain
    assert flat.low == flat.high == 1 and flat.why
    assert np.isnan(undefined.low) and undefined.why == "not defined"


def test_one_subject_gives_no_band() -> None:
    (band,) = simultaneous([mean(np.ones(1))], 1)
    assert np.isnan(band.low) and band.why == "one subject"
