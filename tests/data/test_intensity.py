from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz.data.intensity import UNKNOWN, Scale
from cmrgz.errors import DataError

quick = settings(deadline=None, max_examples=50)


def scan(seed: int = 0, shape: tuple[int, ...] = (3, 2, 8, 9)) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.gamma(2, 100, shape).astype(np.float32), rng.random(shape) < 0.5


def test_fits_zero_to_the_high_percentile_of_known() -> None:
    voxels, known = scan()
    scale = Scale.fit(voxels, known)
    assert scale.low == 0
    assert scale.high == pytest.approx(np.percentile(voxels[known], 99.5))


def test_negative_values_move_the_low_end() -> None:
    voxels, known = scan()
    voxels -= 300
    assert Scale.fit(voxels, known).low == pytest.approx(np.percentile(voxels[known], 0.5))


@quick
@given(st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -7.0]), st.integers(0, 99))
def test_hidden_voxels_cannot_reach_the_scale(value: float, seed: int) -> None:
    voxels, known = scan(seed)
    other = np.where(known, voxels, np.float32(value))
    before, after = Scale.fit(voxels, known), Scale.fit(other, known)
    assert before == after  # to the last bit
    assert (before.to_unit(voxels)[known] == after.to_unit(other)[known]).all()


def test_fit_leaves_the_scan_alone() -> None:
    voxels, known = scan()
    copy = voxels.copy()
    Scale.fit(voxels, np.ones_like(known))
    assert (voxels == copy).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64, ">i2", ">f4"])
def test_unit_range_and_round_trip(dtype: Any) -> None:
    voxels = np.linspace(0, 200, 60).astype(dtype).reshape(1, 1, 6, 10)
    scale = Scale.fit(voxels, np.ones(voxels.shape, dtype=bool))
    unit = scale.to_unit(voxels)
    assert unit.dtype == np.float32 and unit.min() == -1 and unit.max() == 1
    back = scale.from_unit(unit)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, np.minimum(voxels.astype(float), scale.high), atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 700.0, -3.0])
def test_a_constant_maps_to_zeros_and_back(value: float) -> None:
    voxels = np.full((1, 1, 4, 4), value, dtype=np.float32)
    scale = Scale.fit(voxels, np.ones(voxels.shape, dtype=bool))
    assert (scale.to_unit(voxels) == 0).all()
    assert (scale.from_unit(np.linspace(-1, 1, 5)) == np.float32(value)).all()


def test_a_nearly_constant_scan_uses_its_extremes() -> None:
    voxels = np.zeros((1, 1, 40, 40))
    voxels[0, 0, 3, 3] = 9
    scale = Scale.fit(voxels, np.ones(voxels.shape, dtype=bool))
    assert scale == Scale(0, 9)


def test_nothing_known_gives_the_documented_default() -> None:
    voxels = np.full((1, 1, 4, 4), np.nan)
    scale = Scale.fit(voxels, np.zeros(voxels.shape, dtype=bool))
    assert scale == UNKNOWN == Scale(0.0, 255.0)


def test_huge_hidden_values_raise_no_warning() -> None:
    voxels = np.array([[[[0.0, 1.0, 1e308, -1e308]]]])
    scale = Scale.fit(voxels, np.array([[[[True, True, False, False]]]]))
    assert scale.to_unit(voxels)[0, 0, 0].tolist() == [-1, 1, 1, -1]


def test_refuses_nonfinite_known_voxels_and_other_shapes() -> None:
    voxels, known = scan()
    with pytest.raises(DataError, match="nonfinite"):
        Scale.fit(np.where(known, np.nan, voxels), known)
    with pytest.raises(DataError, match="shape-mismatch"):
        Scale.fit(voxels, known[:1])


# ---------------------------------------------------------------------- what is not the scan
def fit(voxels: Any) -> Scale:
    return Scale.fit(voxels, np.ones(voxels.shape, dtype=bool))


def top(values: Any) -> float:
    return float(np.percentile(values, [0.5, 99.5])[1])


def cine(seed: int = 0) -> Any:
    """Return (3, 2, 48, 48) of tissue in air."""
    rng = np.random.default_rng(seed)
    body = np.hypot(*np.mgrid[-24:24, -24:24]) < 20
    return (np.where(body, 300, 5) + rng.normal(0, 3, (3, 2, 48, 48)) ** 2 * np.where(body, 5, 1)).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_every_voxel_of_an_ordinary_scan_counts(seed: int) -> None:
    voxels = cine(seed)
    assert fit(voxels) == Scale(0.0, top(voxels))
    voxels, known = scan(seed)
    assert Scale.fit(voxels, known) == Scale(0.0, top(voxels[known]))
    signed = voxels - 200
    assert fit(signed) == Scale(*(float(p) for p in np.percentile(signed, [0.5, 99.5])))


@pytest.mark.parametrize("value", [0.0, -1024.0, -32768.0])
@pytest.mark.parametrize("margin", [((0, 0), (0, 6), (0, 0), (0, 0)), ((0, 0), (0, 0), (24, 24), (24, 24))])
def test_padding_does_not_reach_the_scale(value: float, margin: Any) -> None:
    """Empty slices, and a plane in a larger one."""
    voxels = cine()
    padded = np.pad(voxels, margin, constant_values=value)
    scale = fit(padded)
    assert scale == fit(voxels)
    assert (scale.to_unit(padded)[np.pad(np.zeros(voxels.shape), margin, constant_values=1) == 1] == -1).all()


@pytest.mark.parametrize("value", [-2048.0, -32768.0, 65535.0])
def test_a_value_far_off_is_padding(value: float) -> None:
    """Around a round field of view no row is empty."""
    voxels = cine()
    outside = np.broadcast_to(np.hypot(*np.mgrid[-24:24, -24:24]) > 24, voxels.shape)
    scale = fit(np.where(outside, np.float32(value), voxels))
    assert scale == fit(np.where(outside, voxels[0, 0, 24, 24], voxels)) or scale.high == pytest.approx(
        np.percentile(voxels[~outside], 99.5)
    )
    assert scale.low == 0


@pytest.mark.parametrize("share", [0.001, 0.01, 0.015])
def test_isolated_hot_pixels_do_not_reach_the_scale(share: float) -> None:
    voxels, rng = cine(), np.random.default_rng(1)
    hot = np.zeros(voxels.shape, dtype=bool)
    hot[..., ::4, ::4] = rng.random(hot[..., ::4, ::4].shape) < 16 * share
    assert fit(np.where(hot, np.float32(30000), voxels)).high == pytest.approx(fit(voxels).high, rel=0.02)


def test_a_negative_pixel_makes_no_scan_signed() -> None:
    voxels = cine()
    voxels[0, 0, 3, 3] = -500
    assert fit(voxels).low == 0


def test_a_scar_that_enhances_is_no_hot_pixel() -> None:
    """Late enhancement: a small bright region tells the upper end, as before."""
    voxels = cine()
    voxels[..., 20:29, 20:29] = 2000 + np.arange(81).reshape(9, 9)
    assert fit(voxels).high == top(voxels) > 2000


def test_phase_sensitive_and_t1_ranges() -> None:
    rng = np.random.default_rng(0)
    phase = rng.normal(0, 300, (1, 3, 40, 40)).astype(np.float32)
    assert fit(phase) == Scale(*(float(p) for p in np.percentile(phase, [0.5, 99.5])))
    body = np.hypot(*np.mgrid[-24:24, -24:24]) < 20
    t1 = np.where(body, rng.normal(1000, 150, (1, 1, 48, 48)), 0).astype(np.float32)
    scale = fit(t1)
    assert scale.low == 0 and 1300 < scale.high < 1500
    unit = scale.to_unit(t1)[0, 0]
    assert (unit[~body] == -1).all() and unit[body].std() > 0.1


@quick
@given(st.sampled_from([np.nan, np.inf, 1e30, -1e30, -32768.0, 0.0]), st.integers(0, 20))
def test_hidden_voxels_cannot_reach_what_is_padding_or_hot(value: float, seed: int) -> None:
    voxels = np.pad(cine(seed), ((0, 0), (0, 3), (8, 8), (8, 8)), constant_values=-1024)
    voxels[..., ::16, ::16] = 30000
    known = np.random.default_rng(seed).random(voxels.shape) < 0.6
    assert Scale.fit(voxels, known) == Scale.fit(np.where(known, voxels, np.float32(value)), known)
