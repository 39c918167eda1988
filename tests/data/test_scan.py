"""A scan is written back bit for bit, and says where its slices and frames are."""

import gzip
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmrgz import __version__
from cmrgz.data.nifti.header import DTYPES
from cmrgz.data.nifti.writer import write_nifti
from cmrgz.data.scan import Scan, load, load_known, save
from cmrgz.errors import CmrgzWarning, DataError, UsageError

MakeNifti = Callable[..., bytes]
CINE = (5, 4, 3, 6)
in_one_directory = settings(
    max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@st.composite
def headers(draw: st.DrawFn) -> dict[str, Any]:
    """Return arguments of `make_nifti`: any type, rank, scaling, pose, units and byte order."""
    shape = tuple(draw(st.lists(st.integers(2, 5), min_size=2, max_size=4)))
    quaternion = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4))) + [0.5, 0, 0, 0]
    b, c, d = quaternion[1:] / (np.linalg.norm(quaternion) + 1e-3) * (1 if quaternion[0] >= 0 else -1)
    edges = draw(st.tuples(*[st.floats(0.5, 20, width=32)] * 3))
    header = nib.Nifti1Header()
    header["pixdim"][:4] = (draw(st.sampled_from([-1, 1])), *edges)
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = b, c, d
    offset = draw(st.tuples(*[st.floats(-300, 300, width=32)] * 3))
    header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = offset
    affine = header.get_qform()
    codes = draw(st.sampled_from([(0, 1), (1, 0), (1, 1), (2, 4), (3, 0)]))
    return {
        "shape": shape,
        "dtype": draw(st.sampled_from(sorted(DTYPES.values()))),
        "order": draw(st.sampled_from("<>")),
        "version": draw(st.sampled_from([1, 2])),
        "scl_slope": draw(st.sampled_from([0, 1, math.nan, 0.5, -2.25, 1e-3])),
        "scl_inter": draw(st.sampled_from([0, -100, 3.7])),
        "qform_code": codes[0],
        "sform_code": codes[1],
        "pixdim": (*header["pixdim"][:4].tolist(), draw(st.floats(0, 50, width=32)), 0, 0, 0),
        "quatern_b": b,
        "quatern_c": c,
        "quatern_d": d,
        "qoffset_x": offset[0],
        "qoffset_y": offset[1],
        "qoffset_z": offset[2],
        **{f"srow_{axis}": row for axis, row in zip("xyz", affine, strict=False)},
        "xyzt_units": draw(st.sampled_from([0, 2, 10, 18, 26])),
        "intent_code": draw(st.sampled_from([0, 1002])),
    }


def _same(first: Any, second: Any) -> None:
    """Compare two files with a library that is not ours."""
    assert np.array_equal(first.affine, second.affine)
    assert first.shape == second.shape
    for form in ("get_qform", "get_sform"):
        (a, code), (b, other) = getattr(first, form)(coded=True), getattr(second, form)(coded=True)
        assert code == other and (a is None) == (b is None) and (a is None or np.array_equal(a, b))
    for name in ("xyzt_units", "intent_code", "qform_code", "sform_code"):
        assert first.header[name] == second.header[name]
    assert np.array_equal(first.header["pixdim"][:5], second.header["pixdim"][:5])
    assert first.header.get_data_dtype().newbyteorder("=") == second.header.get_data_dtype().newbyteorder("=")
    assert np.array_equal(first.dataobj.get_unscaled(), second.dataobj.get_unscaled())
    assert np.array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))


@given(fields=headers(), ending=st.sampled_from([".nii", ".nii.gz"]))
@in_one_directory
def test_round_trip(tmp_path: Path, make_nifti: MakeNifti, fields: dict[str, Any], ending: str) -> None:
    raw = make_nifti(**fields)
    source, out = tmp_path / f"in{ending}", tmp_path / f"out{ending}"
    source.write_bytes(gzip.compress(raw) if ending == ".nii.gz" else raw)
    scan = load(source)
    save(out, scan, overwrite=True)
    first, second = nib.load(source), nib.load(out)
    _same(first, second)
    assert type(first) is type(second)
    wanted = np.asarray(first.dataobj).T.astype(np.float32)
    assert np.array_equal(scan.voxels, wanted.reshape(scan.shape))
    if fields["dtype"] in ("i1", "u1", "i2", "u2"):
        assert np.array_equal(scan.encode(scan.voxels), scan.stored)
    again = load(out)
    assert np.array_equal(again.stored, scan.stored) and (again.slope, again.inter) == (scan.slope, scan.inter)
    assert np.array_equal(again.geometry.affine, scan.geometry.affine)
    assert again.geometry.frame_time == scan.geometry.frame_time or math.isnan(scan.geometry.frame_time)
    assert (again.geometry.qform is None) == (scan.geometry.qform is None)
    if scan.geometry.qform is not None:
        assert np.allclose(scan.geometry.qform, first.get_qform(), atol=1e-4)


@pytest.fixture
def scan(tmp_path: Path, make_nifti: MakeNifti) -> Scan:
    (tmp_path / "in.nii").write_bytes(make_nifti(CINE, scl_slope=0.5, scl_inter=-100))
    return load(tmp_path / "in.nii")


def test_axes_are_t_z_y_x(scan: Scan) -> None:
    assert scan.shape == CINE[::-1] and scan.stored.flags.c_contiguous
    ramp = np.arange(np.prod(CINE)) % 100 + 1
    assert np.array_equal(scan.stored, ramp.reshape(CINE[::-1]))
    assert np.array_equal(scan.voxels, ramp.reshape(CINE[::-1]) * 0.5 - 100) and scan.voxels.dtype == np.float32
    assert scan.spacing == pytest.approx((8, 1.5, 1.4)) and scan.geometry.frame_time == pytest.approx(0.04)


def test_synthetic_files_say_so(scan: Scan, tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", scan, hidden_fraction=0.7)
    save(tmp_path / "b.nii.gz", scan)
    save(tmp_path / "c.nii.gz", scan, hidden_fraction=1e-5)
    descriptions = [nib.load(tmp_path / f"{name}.nii.gz").header["descrip"].item().decode() for name in "abc"]
    made = f"cmrgz {__version__}"
    assert descriptions == [f"{made} synthetic 70%", made, f"{made} synthetic <1%"]


def test_output_depends_on_the_voxels_alone(scan: Scan, tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", scan)
    save(tmp_path / "other-name.nii.gz", scan)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "other-name.nii.gz").read_bytes()


def test_values_are_written_unscaled(scan: Scan, tmp_path: Path) -> None:
    spread = np.linspace(0, 1, scan.stored.size, dtype=np.float32).reshape(scan.shape)
    save(tmp_path / "std.nii", scan, spread)
    image = nib.load(tmp_path / "std.nii")
    assert np.array_equal(np.asarray(image.dataobj).T, spread) and image.get_data_dtype() == np.float32
    assert np.array_equal(image.affine, nib.load(tmp_path / "in.nii").affine)


def test_encode_rounds_and_clips(scan: Scan) -> None:
    values = np.array([[-100.3, -99.8, -99.6, 1e9, -1e9]], np.float32)
    assert scan.encode(values).tolist() == [[-1, 0, 1, 32767, -32768]]
    with pytest.raises(DataError, match="nonfinite"):
        scan.encode(np.array([[np.nan]], np.float32))


@pytest.mark.parametrize("name", sorted(DTYPES.values()))
def test_encode_stays_within_the_type(name: str) -> None:
    blank = Scan.blank((1, 1, 2, 2), (8, 1, 1))
    scan = Scan(blank.stored.astype(name), 1.0, 0.0, blank.geometry)
    huge = np.array([[-3e38, 3e38]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = scan.encode(huge)[0].tolist()
    if np.dtype(name).kind == "f":
        assert [low, high] == huge[0].tolist()
    else:
        info = np.iinfo(name)
        assert low == info.min and info.max >= high > info.max * (1 - 1e-9)


def test_save_refuses_what_does_not_fit(scan: Scan, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="shape-mismatch"):
        save(tmp_path / "a.nii", scan, scan.stored[1:])
    with pytest.raises(DataError, match="dtype"):
        save(tmp_path / "a.nii", scan, scan.stored > 3)
    with pytest.raises(UsageError, match="usage"):
        save(tmp_path / "a.mha", scan)
    save(tmp_path / "a.nii", scan)
    with pytest.raises(UsageError, match="exists"):
        save(tmp_path / "a.nii", scan)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii", "in.nii"]


def test_blank_looks_like_a_scanner_made_it(tmp_path: Path) -> None:
    blank = Scan.blank((3, 4, 5, 6), (8.0, 1.5, 1.25), 0.03)
    save(tmp_path / "a.nii.gz", blank)
    image = nib.load(tmp_path / "a.nii.gz")
    assert np.allclose(image.affine, np.diag([-1.25, -1.5, -8, 1])) and nib.aff2axcodes(image.affine) == ("L", "P", "I")
    assert np.allclose(image.get_qform(), image.get_sform()) and image.header["qform_code"] == 1
    assert image.header.get_xyzt_units() == ("mm", "sec") and image.header.get_zooms()[3] == pytest.approx(0.03)
    with pytest.warns(CmrgzWarning, match="constant"):
        again = load(tmp_path / "a.nii.gz")
    assert again.shape == (3, 4, 5, 6) and again.spacing == blank.spacing == (8.0, 1.5, 1.25)
    assert blank.slice_positions.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("row, first", [((0, 0, 8, 10), 1), ((0, 0, -8, 10), 0)])
def test_apex_is_left_anterior_inferior(tmp_path: Path, make_nifti: MakeNifti, row: Any, first: int) -> None:
    (tmp_path / "a.nii").write_bytes(make_nifti(CINE, srow_z=row))
    positions = load(tmp_path / "a.nii").slice_positions
    assert positions.tolist() == ([0, 0.5, 1] if first == 0 else [1, 0.5, 0])


def test_single_slices_and_frames_have_no_position(tmp_path: Path, make_nifti: MakeNifti, scan: Scan) -> None:
    (tmp_path / "a.nii").write_bytes(make_nifti((5, 4)))
    single = load(tmp_path / "a.nii")
    assert np.isnan(single.slice_positions).tolist() == [True] and np.isnan(single.phases).tolist() == [True]
    assert scan.phases.tolist() == pytest.approx([i / 6 for i in range(6)])


def _mask(tmp_path: Path, scan: Scan, ones: Any, dtype: str = "u1") -> Path:
    path = tmp_path / "mask.nii.gz"
    write_nifti(path, ones.astype(dtype), scan.geometry, overwrite=True)
    return path


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8", "i8"])
@pytest.mark.parametrize("frames", [1, 6])
def test_mask_labels(tmp_path: Path, scan: Scan, frames: int, dtype: str) -> None:
    ones = np.zeros((frames, 3, 4, 5), bool)
    ones[0, 1, 2, 3] = True
    path = _mask(tmp_path, scan, ones, dtype)
    wanted = np.broadcast_to(ones, scan.shape)
    assert np.array_equal(load_known(path, scan, "known"), wanted)
    known = load_known(path, scan, "hidden")
    assert np.array_equal(known, ~wanted) and known.dtype == bool and known.flags.writeable


@pytest.mark.parametrize("value, label, code", [
    (0, "hidden", "mask-empty"), (1, "hidden", "mask-full"), (1, "known", "mask-empty"), (0, "known", "mask-full")
])  # fmt: skip
def test_mask_of_one_value_is_refused(tmp_path: Path, scan: Scan, value: int, label: Any, code: str) -> None:
    with pytest.raises(DataError) as caught:
        load_known(_mask(tmp_path, scan, np.full(scan.shape, value)), scan, label)
    assert caught.value.code == code


def test_mask_must_fit_the_scan(tmp_path: Path, scan: Scan) -> None:
    ones = np.zeros(scan.shape)
    ones[0] = 1
    for bad in (ones[:2], ones[:, :2], ones[..., :4]):
        with pytest.raises(DataError, match="shape-mismatch"):
            load_known(_mask(tmp_path, scan, bad), scan, "hidden")
    with pytest.raises(DataError, match="mask-values"):
        load_known(_mask(tmp_path, scan, ones * 0.5, "f4"), scan, "hidden")
    with pytest.raises(DataError, match="mask-values"):
        load_known(tmp_path / "in.nii", scan, "hidden")


@pytest.mark.parametrize("voxels, fits", [(0.4, True), (0.6, False)])
def test_mask_may_be_half_a_voxel_off(
    tmp_path: Path, make_nifti: MakeNifti, scan: Scan, voxels: float, fits: bool
) -> None:
    data = (np.arange(60) % 2).astype("i2").tobytes()
    path = tmp_path / "mask.nii"
    path.write_bytes(make_nifti((5, 4, 3), data=data, srow_x=(1.4, 0, 0, -3 + 1.4 * voxels)))
    if fits:
        assert load_known(path, scan, "hidden").shape == scan.shape
    else:
        with pytest.raises(DataError, match="grid-mismatch"):
            load_known(path, scan, "hidden")
