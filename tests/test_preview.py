"""Pictures: what is shown where, in the reader's view."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cmrgz.data.intensity import Scale
from cmrgz.data.scan import Scan
from cmrgz.preview import STRIP, TINT, View, cine, contact_sheet, heat, sheet

SCALE = Scale(0.0, 1000.0)


def make(shape: tuple[int, int, int, int] = (3, 5, 32, 48), edges: tuple[float, float] = (1.4, 1.4)) -> Scan:
    blank = Scan.blank(shape, (8, *edges), 0.05)
    values = np.random.default_rng(0).integers(0, 1000, shape)
    return replace(blank, stored=values.astype(np.int16))


def opened(data: bytes) -> Any:
    return Image.open(io.BytesIO(data))


def pixels(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(opened(data).convert("RGB"))


def is_tint(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (picture == np.array(TINT, np.uint8)).all(-1)


def split(picture: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Return the cells (rows, columns, h, w, 3) of a sheet."""
    inner = picture[STRIP:-STRIP]
    h, w = inner.shape[0] // rows, inner.shape[1] // columns
    return inner.reshape(rows, h, columns, w, 3).swapaxes(1, 2)


def test_a_sheet_shows_scan_hidden_result_and_spread() -> None:
    scan = make((3, 5, 32, 64))
    known = np.ones(scan.shape, bool)
    known[1, :, 8:24, 16:48] = False  # the middle of frame 2 alone
    result = np.where(known, scan.voxels, 500).astype(np.float32)
    std = np.where(known, 0, 70).astype(np.float32)
    data = sheet(scan, known, result, SCALE, std)
    assert data == sheet(scan, known, result, SCALE, std) and opened(data).format == "PNG"
    cells = split(pixels(data), 4, 4)
    h, w = cells.shape[2:4]
    inside = np.zeros((h, w), bool)
    inside[h // 4 : 3 * h // 4, w // 4 : 3 * w // 4] = True
    for row in cells:
        given, hidden, drawn, spread = row
        assert np.array_equal(is_tint(hidden), inside) and not is_tint(given).any() and not is_tint(drawn).any()
        text = np.s_[16:]  # below the note in the first cell
        assert np.array_equal(hidden[text][~inside[text]], given[text][~inside[text]])
        assert np.array_equal(drawn[text][~inside[text]], given[text][~inside[text]])
        assert (drawn[inside] == drawn[inside][0]).all() and len(np.unique(given[inside], axis=0)) > 50
        assert (spread[inside] == 255).all() and (spread[~inside] == 0).all()
    assert pixels(sheet(scan, known, result, SCALE)).shape[1] == 3 * w


def test_slices_with_something_hidden_are_shown() -> None:
    scan = make()
    known = np.ones(scan.shape, bool)
    known[:, 3] = False
    cells = split(pixels(sheet(scan, known, scan.voxels, SCALE)), 1, 3)
    assert is_tint(cells[0, 1]).all()
    known[:] = True  # nothing hidden: some slices, and no tint
    assert not is_tint(pixels(sheet(scan, known, scan.voxels, SCALE))).any()


def test_a_cine_moves_and_keeps_time() -> None:
    scan = make()
    known = np.ones(scan.shape, bool)
    known[1, 2] = False
    data = cine(scan, known, scan.voxels, SCALE)
    image = opened(data)
    assert image.format == "GIF" and image.n_frames == 3 and image.info["loop"] == 0 and image.info["duration"] == 50
    tints = []
    for t in range(3):
        image.seek(t)
        frame = np.asarray(image.convert("RGB"))
        cells = split(frame, 1, 3)[0]
        tints.append(is_tint(cells[1]).mean())
        assert not is_tint(cells[0]).any() and (cells[0, 20:] == cells[2, 20:]).all()
        assert (cells[0].max(-1) == cells[0].min(-1)).all()  # grey stays grey
    assert tints == [0, 1, 0]
    timeless = replace(scan, geometry=replace(scan.geometry, pixdim=(1.4, 1.4, 8.0, 0.0)))
    assert opened(cine(timeless, known, scan.voxels, SCALE)).info["duration"] == 330


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
def test_the_patients_left_is_on_the_right(swap: bool, mirror: bool) -> None:
    scan = make((1, 1, 32, 48))
    scan.stored[:] = 100
    scan.stored[..., 40:] = 900  # blank scans run to the patient's left
    affine, stored = scan.geometry.affine.copy(), scan.stored
    if mirror:
        affine[:3, 3] += affine[:3, 0] * 47
        affine[:3, 0] *= -1
        stored = stored[..., ::-1]
    if swap:
        affine, stored = affine[:, [1, 0, 2, 3]], stored.swapaxes(-1, -2)
    geometry = replace(scan.geometry, affine=affine, sform=affine[:3])
    turned = replace(scan, stored=np.ascontiguousarray(stored), geometry=geometry)
    known = np.ones(turned.shape, bool)
    given = split(pixels(sheet(turned, known, turned.voxels, SCALE)), 1, 3)[0, 0][20:]
    assert given.shape[1] == 256 and given[:, : 256 * 5 // 6].max() < 100 < given[:, 256 * 5 // 6 + 1 :].min()
    assert np.array_equal(
        given, split(pixels(sheet(scan, np.ones(scan.shape, bool), scan.voxels, SCALE)), 1, 3)[0, 0][20:]
    )


@pytest.mark.parametrize(
    ("edges", "size"), [((1.4, 1.4), (256, 171)), ((2.8, 1.4), (192, 256)), ((1.4, 2.8), (256, 85))]
)
def test_pixels_are_square(edges: tuple[float, float], size: tuple[int, int]) -> None:
    scan = make((1, 1, 32, 48), edges)
    assert View.of(scan, SCALE).image(np.zeros((3, 32, 48), np.uint8)).size == size


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 600, 20), (1, 9, 16, 16)])
def test_any_shape_can_be_shown(shape: tuple[int, int, int, int]) -> None:
    scan = make(shape)
    known = np.zeros(shape, bool)
    constant = Scale(7.0, 7.0)
    for scale in (SCALE, constant):
        assert opened(sheet(scan, known, scan.voxels, scale, scan.voxels * 0)).size[0] > 0
        assert opened(cine(scan, known, scan.voxels, scale)).n_frames >= 1
        assert opened(contact_sheet(scan, [scan.voxels], scale)).size[0] > 0


def test_a_contact_sheet_has_a_row_a_scan() -> None:
    scan = make((1, 4, 32, 48))
    samples = [np.full(scan.shape, level, np.float32) for level in (100, 500, 900)]
    cells = split(pixels(contact_sheet(scan, samples, SCALE)), 3, 4)
    levels = [int(np.median(cells[n, k])) for n in range(3) for k in range(4)]
    assert levels == sorted(levels) and len(set(levels)) == 3
    many = contact_sheet(scan, (samples[0] for _ in range(1000)), SCALE)
    assert split(pixels(many), 16, 4).shape[2] == cells.shape[2]


def test_scans_of_a_single_plane_are_four_a_row() -> None:
    scan = make((1, 1, 32, 48))
    samples = [np.full(scan.shape, level, np.float32) for level in (100, 300, 500, 700, 900)]
    cells = split(pixels(contact_sheet(scan, samples, SCALE)), 2, 4)
    levels = [int(np.median(cells[divmod(n, 4)])) for n in range(5)]
    assert levels == sorted(levels) and len(set(levels)) == 5


def test_heat_runs_from_black_to_white() -> None:
    ramp = heat(np.linspace(0, 2, 7, dtype=np.float32)[None], 1.0)
    total = ramp.astype(int).sum(0)[0]
    assert total[0] == 0 and total[-1] == 765 and (np.diff(total) >= 0).all()
    assert (heat(np.zeros((2, 2), np.float32), 0.0) == 0).all()
