from math import hypot
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrgz.data.masks import parse
from cmrgz.data.window import Window, heart_centre
from cmrgz.errors import CmrgzError, DataError

SUNNYBROOK = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "sunnybrook"
quick = settings(deadline=None, max_examples=40)
sizes = st.integers(1, 300)
spacings = st.floats(0.4, 4.0)


def scene(shape: tuple[int, ...], seed: int = 0, ratio: float = 0.6) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(np.float32), rng.random(shape) > ratio


@quick
@given(sizes, sizes, st.integers(0, 9))
def test_native_spacing_is_an_exact_identity(height: int, width: int, seed: int) -> None:
    window = Window.plan((height, width), (1.37, 1.37), (128, 128))
    x, known = scene((2, height, width), seed)
    model_x, model_known = window.to_model(x, known)
    assert window.step is None and model_x.dtype == np.float32
    assert (model_known[:, :height, :width] == known).all()
    assert not model_known[:, height:].any() and not model_known[:, :, width:].any()
    assert (model_x[~model_known] == 0).all()
    assert (window.to_native(model_x) == np.where(known, x, 0)).all()
    full, _ = window.to_model(x, np.ones_like(known))
    assert (window.to_native(full) == x).all()


@quick
@given(
    sizes,
    sizes,
    spacings,
    spacings,
    st.sampled_from([(128, 128), (64, 96), (40, 40)]),
    st.sampled_from([1, 4, 8]),
    st.sampled_from([0, 8, 30]),
    st.sampled_from(["auto", "native", "always"]),
    st.none() | st.tuples(st.floats(-50, 400), st.floats(-50, 400)),
    st.booleans(),
)
def test_tiles_cover_the_plane(
    height: int,
    width: int,
    dy: float,
    dx: float,
    item: tuple[int, int],
    multiple: int,
    overlap: int,
    resample: str,
    centre: tuple[float, float] | None,
    centred: bool,
) -> None:
    window = Window.plan((height, width), (dy, dx), item, 1.4, centre, multiple, overlap, resample, centred)
    assert all(
        p >= max(n, i) and p - max(n, i) < multiple for p, n, i in zip(window.padded, window.inner, item, strict=True)
    )
    seen = np.zeros(window.padded, dtype=bool)
    assert len(set(window.tiles)) == len(window.tiles)
    for i, (row, col) in enumerate(window.tiles):
        assert row % multiple == 0 and col % multiple == 0 and row >= 0 and col >= 0
        tile = seen[row : row + item[0], col : col + item[1]]
        assert tile.shape == item
        if i and overlap:  # it goes on from what is drawn already
            assert tile.any() and not tile.all()
        tile[:] = True
    assert seen.all()
    for axis in (0, 1):
        starts = sorted({tile[axis] for tile in window.tiles})
        assert all(later - start <= item[axis] - overlap for start, later in zip(starts, starts[1:], strict=False))


@quick
@given(st.floats(0, 255), st.floats(0, 255))
def test_the_first_tile_is_centred_on_the_heart(row: float, col: float) -> None:
    window = Window.plan((256, 256), (1.4, 1.4), (128, 128), centre=(row, col))
    first = np.array(window.tiles[0])
    assert (np.abs(first - np.clip(np.array([row, col]) - 63.5, 0, 128)) <= 4).all()
    distances = [hypot(*(np.array(tile) - first)) for tile in window.tiles]
    assert distances == sorted(distances)
    down, right = window.offset(window.tiles[0])
    assert down == pytest.approx((first[0] + 63.5 - row) / 128) and right == pytest.approx(
        (first[1] + 63.5 - col) / 128
    )


def test_the_fewest_tiles_begin_nearest_to_the_heart() -> None:
    plan: dict[str, Any] = {"spacing": (1.4, 1.4), "item": (128, 128), "centre": (150.0, 60.0), "overlap": 24}
    tiles = Window.plan((229, 229), **plan, centred=False).tiles
    assert set(tiles) == {(0, 0), (0, 104), (104, 0), (104, 104)} and tiles[0] == (104, 0)
    assert len(Window.plan((229, 229), **{**plan, "centre": (110.0, 110.0)}).tiles) == 9


def test_a_plane_of_one_item_is_one_tile() -> None:
    window = Window.plan((100, 128), (1.4, 1.4), (128, 128))
    assert window.tiles == ((0, 0),) and window.padded == (128, 128)
    assert window.offset((0, 0)) == ((63.5 - 49.5) / 128, 0)


@pytest.mark.parametrize(
    ("spacing", "resample", "native"),
    [
        ((1.4, 1.4), "auto", True),
        ((1.06, 1.06), "auto", True),
        ((1.04, 1.04), "auto", False),
        ((1.87, 1.87), "auto", True),
        ((1.9, 1.9), "auto", False),
        ((1.4, 1.46), "auto", True),
        ((1.4, 1.5), "auto", False),
        ((5.0, 0.2), "native", True),
        ((1.4, 1.4), "always", False),
    ],
)
def test_when_pixels_are_resampled(spacing: tuple[float, float], resample: str, native: bool) -> None:
    window = Window.plan((60, 60), spacing, (32, 32), overlap=8, resample=resample)
    assert (window.step is None) == native
    if not native:
        assert window.inner == tuple(max(1, int(60 * s / 1.4 + 0.5)) for s in spacing)


@quick
@given(st.integers(1, 80), st.integers(1, 80), spacings, spacings, st.floats(0, 0.9), st.integers(0, 99))
def test_hidden_pixels_cannot_reach_the_model(
    height: int, width: int, dy: float, dx: float, ratio: float, seed: int
) -> None:
    window = Window.plan((height, width), (dy, dx), (32, 32), overlap=8, resample="always")
    x, known = scene((2, height, width), seed, ratio)
    before, seen = window.to_model(x, known)
    for value in (np.nan, np.inf, 1e30):
        after, again = window.to_model(np.where(known, x, np.float32(value)), known)
        assert before.tobytes() == after.tobytes() and (seen == again).all()
    assert (before[~seen] == 0).all()


@quick
@given(st.integers(2, 40), st.integers(2, 40), spacings, spacings, st.integers(0, 99))
def test_a_model_pixel_is_known_only_if_all_its_sources_are(
    height: int, width: int, dy: float, dx: float, seed: int
) -> None:
    """Found from outside: changing one pixel at a time shows which model pixels it feeds."""
    window = Window.plan((height, width), (dy, dx), (16, 16), overlap=0, resample="always")
    rng = np.random.default_rng(seed)
    row, col = rng.integers(height), rng.integers(width)
    x, known = np.zeros((1, height, width), dtype=np.float32), np.ones((1, height, width), dtype=bool)
    x[0, row, col] = 1
    fed, everywhere = window.to_model(x, known)
    assert everywhere[0, : window.inner[0], : window.inner[1]].all()
    known[0, row, col] = False
    _, seen = window.to_model(x, known)
    assert ((everywhere & ~seen) == (fed > 0)).all()


@quick
@given(st.integers(1, 90), st.integers(1, 90), spacings, spacings)
def test_resampling_keeps_constants_and_slopes(height: int, width: int, dy: float, dx: float) -> None:
    window = Window.plan((height, width), (dy, dx), (16, 16), overlap=0, resample="always")
    known = np.ones((1, height, width), dtype=bool)
    constant, _ = window.to_model(np.full(known.shape, 3.0), known)
    np.testing.assert_allclose(constant[:, : window.inner[0], : window.inner[1]], 3, rtol=1e-5)
    np.testing.assert_allclose(window.to_native(constant), 3, rtol=1e-5)
    mm = (np.arange(height)[:, None] + 0.5) * dy + np.zeros((1, width))
    slope, _ = window.to_model(mm[None], known)
    expected = (np.arange(window.inner[0]) + 0.5) * 1.4
    edge = int(np.ceil(max(dy / 1.4, 1.4 / dy))) + 1  # the kernel is cut there
    middle = slice(edge, max(edge, window.inner[0] - edge))
    slack = 1e-3 if dy >= 1.4 else 0.15  # mm; exact where the grid gets finer, else the triangle is sampled
    np.testing.assert_allclose(slope[0, : window.inner[0], 0][middle], expected[middle], rtol=1e-4, atol=slack)


def test_a_smooth_image_survives_resampling() -> None:
    rows, cols = np.mgrid[:200, :150]
    image = np.sin(rows / 15) * np.cos(cols / 12)
    window = Window.plan((200, 150), (0.7, 0.9), (64, 64))
    model, _ = window.to_model(image[None], np.ones((1, 200, 150), dtype=bool))
    assert window.inner == (100, 96)
    assert np.abs(window.to_native(model)[0] - image)[5:-5, 5:-5].max() < 0.03


def test_resampling_does_not_depend_on_the_batch() -> None:
    x, known = scene((5, 90, 70))
    window = Window.plan((90, 70), (0.8, 0.8), (32, 32), overlap=8)
    together, _ = window.to_model(x, known)
    alone = [window.to_model(x[i : i + 1], known[i : i + 1])[0][0] for i in range(5)]
    assert (together == np.stack(alone)).all()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"plane": (0, 5)}, "dims"),
        ({"spacing": (0.0, 1.0)}, "spacing"),
        ({"spacing": (float("nan"), 1.0)}, "spacing"),
        ({"overlap": 30}, "range"),
        ({"overlap": -1}, "range"),
        ({"multiple": 0}, "range"),
    ],
)
def test_bad_plans_are_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(CmrgzError) as caught:
        Window.plan(**{"plane": (60, 60), "spacing": (1.4, 1.4), "item": (32, 32), "overlap": 8, **change})
    assert caught.value.code == code


def test_planes_that_do_not_fit_are_refused() -> None:
    window = Window.plan((60, 60), (1.4, 1.4), (32, 32), overlap=8)
    x, known = scene((1, 60, 61))
    with pytest.raises(CmrgzError, match="shape-mismatch"):
        window.to_model(x, known)
    with pytest.raises(CmrgzError, match="shape-mismatch"):
        window.to_native(x)


def beating(row: float = 35.0, col: float = 75.0, shape: tuple[int, ...] = (10, 3, 100, 120), seed: int = 0) -> Any:
    """A disc that changes its size, in noise."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[2], : shape[3]]
    radius = 20 + 4 * np.cos(2 * np.pi * np.arange(shape[0]) / shape[0])
    disc = np.hypot(rows - row, cols - col) < radius[:, None, None, None]
    return (100.0 * disc + rng.normal(0, 1, shape)).astype(np.float32)


@pytest.mark.parametrize("recipe", ["0", "0.7", "frames:0.7", "slices:every=3"])
def test_heart_centre_finds_what_moves_from_known_voxels(recipe: str) -> None:
    voxels = beating()
    known = parse(recipe).draw(voxels.shape, seed=0)
    found = heart_centre(voxels, known)
    assert hypot(found[0] - 35, found[1] - 75) < 0.7 * hypot(49.5 - 35, 59.5 - 75)  # of the plane's centre
    for value in (np.nan, np.inf, -1e9):
        assert heart_centre(np.where(known, voxels, np.float32(value)), known) == found


def test_heart_centre_falls_back_to_the_planes_centre() -> None:
    voxels = beating()
    everything = np.ones(voxels.shape, dtype=bool)
    assert heart_centre(voxels[:1], everything[:1]) == (49.5, 59.5)
    assert heart_centre(voxels, ~everything) == (49.5, 59.5)
    assert heart_centre(voxels, parse("frames:0.9").draw(voxels.shape, seed=0)) == (49.5, 59.5)
    little = everything & (np.arange(10) == 0)[:, None, None, None]
    little[1, :, :10, :40] = True  # 3 % of the plane is known twice
    assert heart_centre(voxels, little) == (49.5, 59.5)
    still = np.repeat(voxels[:1], 7, axis=0) / np.float32(3)
    assert heart_centre(still, everything[:7]) == (49.5, 59.5)


@pytest.mark.skipif(not SUNNYBROOK.is_dir(), reason="needs the Sunnybrook scans")
@pytest.mark.parametrize("case", ["SCD0000101", "SCD0000201", "SCD0000301"])
@pytest.mark.parametrize("recipe", ["0", "0.7"])
def test_heart_centre_is_near_the_left_ventricle(case: str, recipe: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.load(SUNNYBROOK / f"{case}_cine.nii.gz")
    voxels = np.asarray(image.dataobj).transpose(3, 2, 1, 0).astype(np.float32)
    label = np.asarray(nibabel.load(SUNNYBROOK / f"{case}_label.nii.gz").dataobj).transpose(3, 2, 1, 0)
    _, _, rows, cols = np.nonzero(label == 3)
    known = parse(recipe).draw(voxels.shape, seed=0, case=case)
    row, col = heart_centre(np.where(known, voxels, np.nan), known)
    dx, dy = image.header.get_zooms()[:2]
    assert hypot((row - rows.mean()) * dy, (col - cols.mean()) * dx) < 25


def test_pixels_far_finer_than_those_of_a_scan_are_refused() -> None:
    with pytest.raises(DataError, match="planes would become 7168 x 7168"):
        Window.plan((512, 512), (1.4, 1.4), (128, 128), 0.1)
