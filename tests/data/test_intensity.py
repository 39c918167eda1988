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
