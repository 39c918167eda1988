"""What a header and its values may hold: every fault has its code, every unusual file its numbers."""

import gzip
import math
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmrgz.data.geometry import Geometry
from cmrgz.data.nifti.reader import Image, read, read_header
from cmrgz.errors import CmrgzWarning, DataError

MakeNifti = Callable[..., bytes]
NAN, INF = math.nan, math.inf
RAMP = np.arange(60).reshape((5, 4, 3, 1), order="F") % 100 + 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.nii"


def refusal(path: Path, raw: bytes, **options: Any) -> DataError:
    path.write_bytes(raw)
    with pytest.raises(DataError) as caught:
        read(path, **options)
    assert caught.value.where == str(path) and caught.value.hint
    return caught.value


def accepted(path: Path, raw: bytes, *codes: str, **options: Any) -> Image:
    path.write_bytes(raw)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = read(path, **options)
    assert [getattr(w.message, "code", w.message) for w in caught] == list(codes)
    return image


HEADERS: list[tuple[str, dict[str, Any]]] = [
    *[("dims", {"dim": (n, 5, 4, 3, 1, 1, 1, 1)}) for n in (0, -1, 8)],
    ("dims", {"dim": (3, 5, -4, 3, 1, 1, 1, 1)}),
    ("dims", {"dim": (5, 5, 4, 3, 2, 2, 1, 1)}),
    ("truncated", {"dim": (7, 32767, 32767, 32767, 32767, 1, 1, 1)}),
    ("truncated", {"version": 2, "dim": (4, 2**62, 2**62, 2**62, 2**62, 1, 1, 1)}),
    ("dims", {"version": 2, "dim": (4, -(2**63), 4, 3, 1, 1, 1, 1)}),
    *[("offset", {"vox_offset": v}) for v in (NAN, INF, -INF, -352, 0, 351, 352.5, 3e38)],
    ("offset", {"version": 2, "vox_offset": 2**63 - 1}),
    *[("dtype", {"datatype": code}) for code in (0, 1, 32, 128, 1536, 1792, 2048, 2304, 4097, -1)],
    *[("scaling", {"scl_slope": v}) for v in (INF, -INF)],
    *[("scaling", {"scl_inter": v}) for v in (INF, NAN)],
    ("scaling", {"scl_slope": 3e38}),
    *[("affine", {"srow_x": (v, 0, 0, 0)}) for v in (NAN, INF, 0)],
    ("affine", {"srow_x": (1.4, 0, 0, NAN)}),
    ("affine", {"srow_x": (1.4, 1.0, 0, 0)}),
    ("affine", {"sform_code": 0, "qform_code": 1, "quatern_b": 0.9, "quatern_c": 0.9}),
    ("affine", {"qform_code": 1, "quatern_b": NAN}),
    ("affine", {"sform_code": 0, "qform_code": 1, "qoffset_y": INF}),
    *[("spacing", {"srow_x": (v, 0, 0, 0)}) for v in (0.005, 101, 1e30)],
    *[("spacing", {"sform_code": 0, "pixdim": (1, v, 1, 1, 1, 1, 1, 1)}) for v in (0, NAN, INF, 1e-5, 1e9)],
    ("spacing", {"sform_code": 0, "qform_code": 1, "pixdim": (1, 1, 0, 1, 1, 1, 1, 1)}),
    ("spacing", {"srow_x": (1.4, 0, 0, 0), "xyzt_units": 1}),
    ("orientation-conflict", {"qform_code": 1, "qoffset_x": -3, "qoffset_y": -2, "qoffset_z": 20}),
    ("orientation-conflict", {"qform_code": 1, "pixdim": (-1, 1.4, 1.5, 8, 0, 0, 0, 0), "qoffset_x": -3}),
    ("not-nifti", {"magic": b""}),
    ("not-nifti", {"magic": b"n+2"}),
    ("not-nifti", {"version": 2, "magic": b"n+1"}),
    ("wrong-extension", {"magic": b"ni1"}),
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code, fields", HEADERS)
def test_header_faults(path: Path, make_nifti: MakeNifti, code: str, fields: dict[str, Any], order: str) -> None:
    raw = make_nifti(**fields, order=order)
    assert refusal(path, raw).code == code
    packed = path.with_name("a.nii.gz")
    assert refusal(packed, gzip.compress(raw)).code == code
    if "scl_slope" not in fields or fields["scl_slope"] != 3e38:  # that one takes the values
        with pytest.raises(DataError, match=code):
            read_header(path)


def test_line_ends_converted_in_transfer(path: Path, make_nifti: MakeNifti) -> None:
    raw = make_nifti(version=2)
    assert refusal(path, raw.replace(b"n+2\0\r\n\x1a\n", b"n+2\0\n\n\x1a\n")).code == "corrupt"


UNUSUAL: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("", {"order": ">"}),
    ("", {"version": 2}),
    ("", {"version": 2, "order": ">"}),
    ("", {"dim": (3, 5, 4, 3, 0, 0, 0, 0)}),
    ("", {"dim": (7, 5, 4, 3, 1, 1, 1, 1)}),
    ("", {"dim": (3, 5, 4, 3, -7, 9, 9, 9), "pixdim": (0, 1.4, 1.5, 8, NAN, INF, -1, 0)}),
    ("", {"scl_slope": 0, "scl_inter": 7}),
    ("", {"scl_slope": NAN, "scl_inter": NAN}),
    ("", {"xyzt_units": 0}),
    ("", {"sform_code": 0, "qform_code": 1, "pixdim": (0, 1.4, 1.5, 8, 0, 0, 0, 0)}),
    ("", {"sform_code": 0, "qform_code": 1, "quatern_d": 1.0000002}),
    ("", {"qform_code": 1, "qoffset_x": -3.5, "qoffset_y": -2.5, "qoffset_z": 10.5}),
    ("", {"srow_x": (1.4, 1.4e-4, 0, 0), "srow_y": (0, 1.5, 0, 0)}),
    ("", {"between": bytes(4 + 64)}),
    ("", {"between": b"\1\0\0\0" + struct.pack("<ii", 32, 4) + bytes(24) + bytes(16)}),
    ("", {"pixdim": (1, 0, NAN, -INF, 0.04, 0, 0, 0)}),
    (
        "",
        {"descrip": b"caf\xe9 \xff\xfe TE=1.2;Time=123456.5", "db_name": b"SPM12", "aux_file": b"RAPID1234 119570413"},
    ),
    ("bitpix", {"bitpix": 12}),
    ("pixdim-sign", {"pixdim": (1, -1.4, 1.5, 8, 0, 0, 0, 0)}),
    ("pixdim-sign", {"sform_code": 0, "qform_code": 1, "pixdim": (1, -1.4, 1.5, 8, 0, 0, 0, 0)}),
    ("units", {"xyzt_units": 3, "srow_x": (1400, 0, 0, 0), "srow_y": (0, 1500, 0, 0), "srow_z": (0, 0, 8000, 0)}),
    ("units", {"xyzt_units": 1, "srow_x": (0.0014, 0, 0, 0), "srow_y": (0, 0.0015, 0, 0), "srow_z": (0, 0, 0.008, 0)}),
    ("units", {"xyzt_units": 7}),
    ("no-orientation", {"sform_code": 0}),
    *[
        ("phi", {"descrip": t})
        for t in (b"DOE^JOHN", b"x 1957-04-13", b"19570413", b"MRN: 0042424", b"Patient's Name", b"mrn0042424")
    ],
    ("phi", {"between": b"\1\0\0\0" + struct.pack("<ii", 32, 2) + b"SMITH^ANNA".ljust(24, b"\0")}),
]


@pytest.mark.parametrize("code, fields", UNUSUAL)
def test_unusual_files_are_read(path: Path, make_nifti: MakeNifti, code: str, fields: dict[str, Any]) -> None:
    raw = make_nifti(**fields)
    for image in (
        accepted(path, raw, *filter(None, [code])),
        accepted(path.with_name("a.nii.gz"), gzip.compress(raw), *filter(None, [code])),
    ):
        assert np.array_equal(image.stored, RAMP) and image.stored.dtype == np.int16 and image.stored.dtype.isnative
        assert (image.slope, image.inter) == (1, 0)
        assert image.geometry.zooms == pytest.approx((1.4, 1.5, 8), rel=1e-5)
        assert all(0 < edge < INF for edge in image.geometry.pixdim[:3])


def test_forms_that_conflict_by_request(path: Path, make_nifti: MakeNifti) -> None:
    raw = make_nifti(qform_code=1, qoffset_x=50)
    assert refusal(path, raw).code == "orientation-conflict"
    image = accepted(path, raw, orientation="sform")
    assert image.geometry.affine[0, 3] == -3 and image.geometry.qform is not None
    assert image.geometry.qform[0, 3] == 50


@pytest.mark.parametrize("units, seconds", [(10, 40.0), (18, 0.04), (26, 4e-5), (2, 40.0), (34, NAN)])
def test_frame_time_is_in_seconds(path: Path, make_nifti: MakeNifti, units: int, seconds: float) -> None:
    raw = make_nifti((5, 4, 3, 2), pixdim=(1, 1.4, 1.5, 8, 40, 0, 0, 0), xyzt_units=units)
    geometry: Geometry = accepted(path, raw).geometry
    assert geometry.frame_time == pytest.approx(seconds, nan_ok=True) and geometry.rank == 4


@pytest.mark.parametrize("length", range(0, 472, 17))
def test_cut_anywhere(path: Path, make_nifti: MakeNifti, length: int) -> None:
    assert refusal(path, make_nifti()[:length]).code == ("truncated" if length else "empty")


def test_gzip_cut_anywhere_or_with_any_bit_flipped(tmp_path: Path, make_nifti: MakeNifti) -> None:
    path, raw = tmp_path / "a.nii.gz", gzip.compress(make_nifti(), mtime=0)
    for length in range(len(raw)):
        assert refusal(path, raw[:length]).code in ("truncated", "empty", "not-nifti")
    accepted_bits = 0
    for bit in range(8 * len(raw)):
        bad = bytearray(raw)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        try:
            assert np.array_equal(read(path).stored, RAMP)
            accepted_bits += 1
        except DataError:
            continue
    assert 6 * 8 <= accepted_bits < 80  # time and system of origin, and a few that inflate to the same bytes


@pytest.mark.parametrize("count, code", [(1, ""), (1 << 20, ""), ((1 << 20) + 1, "trailing-data")])
def test_padding(path: Path, make_nifti: MakeNifti, count: int, code: str) -> None:
    raw = make_nifti() + bytes(count)
    for name, data in (("a.nii", raw), ("a.nii.gz", gzip.compress(raw))):
        if code:
            assert refusal(path.with_name(name), data).code == code
        else:
            accepted(path.with_name(name), data, "trailing-data")


def test_what_follows_the_data_or_the_stream(path: Path, make_nifti: MakeNifti) -> None:
    raw, packed = make_nifti(), path.with_name("a.nii.gz")
    assert refusal(path, raw + bytes(9) + b"x").code == "trailing-data"
    for tail in (b"x", b"\0" * 20, b"\x1f", gzip.compress(b"x"), gzip.compress(raw)):
        assert refusal(packed, gzip.compress(raw) + tail).code == "trailing-data"
    accepted(packed, gzip.compress(raw) + gzip.compress(b"") * 3)
    accepted(packed, b"".join(gzip.compress(raw[i : i + 7]) for i in range(0, len(raw), 7)))
    assert refusal(packed, gzip.compress(gzip.compress(raw))).code == "not-nifti"
    assert refusal(packed, gzip.compress(b"")).code == "empty"


def test_identity_in_the_name_of_a_gzip_member(tmp_path: Path, make_nifti: MakeNifti) -> None:
    with open(tmp_path / "a.nii.gz", "wb") as file, gzip.GzipFile("DOE^JOHN.nii", "wb", fileobj=file) as stream:
        stream.write(make_nifti())
    accepted(tmp_path / "a.nii.gz", (tmp_path / "a.nii.gz").read_bytes(), "phi")


def _extension(size: int, code: int = 6) -> bytes:
    return struct.pack("<ii", size, code) + b"x" * 8


@pytest.mark.parametrize("size", [0, -16, 8, 17, 15, 32, 2**31 - 1, -(2**31)])
def test_extension_sizes(path: Path, make_nifti: MakeNifti, size: int) -> None:
    assert refusal(path, make_nifti(between=b"\1\0\0\0" + _extension(size))).code == "extension"


def test_extensions_too_many_or_too_large(path: Path, make_nifti: MakeNifti) -> None:
    accepted(path, make_nifti(between=b"\1\0\0\0" + _extension(16) * 64))
    assert refusal(path, make_nifti(between=b"\1\0\0\0" + _extension(16) * 65)).code == "extension"
    long = (1 << 20) + 16
    assert refusal(path, make_nifti(between=b"\1\0\0\0" + _extension(long) + bytes(long))).code == "extension"
    mega = struct.pack("<ii", 1 << 20, 6) + bytes((1 << 20) - 8)
    accepted(path, make_nifti(between=b"\1\0\0\0" + mega * 4))
    assert refusal(path, make_nifti(between=b"\1\0\0\0" + mega * 5)).code == "extension"


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_nonfinite_values(path: Path, make_nifti: MakeNifti, bad: float, dtype: str) -> None:
    values = np.arange(1, 61, dtype=dtype)
    values[[7, 23]] = bad
    raw = make_nifti(dtype=dtype, data=values.tobytes(), scl_slope=2, scl_inter=-6)
    error = refusal(path, raw)
    assert error.code == "nonfinite" and error.facts == "2 of 60 voxels, the first at (2, 1, 0, 0)"
    image = accepted(path, raw, "nonfinite", nonfinite="zero")
    scaled = image.stored.ravel(order="F") * image.slope + image.inter
    assert np.flatnonzero(scaled == 0).tolist() == [2, 7, 23]  # 3 * 2 - 6, and the two


def test_values_that_do_not_fit_float32(path: Path, make_nifti: MakeNifti) -> None:
    values = np.arange(60.0)
    values[5] = 1e39
    assert refusal(path, make_nifti(dtype="f8", data=values.tobytes())).code == "scaling"
    accepted(path, make_nifti(dtype="f8", data=values.tobytes(), scl_slope=1e-3))


def test_unusual_values(path: Path, make_nifti: MakeNifti) -> None:
    accepted(path, make_nifti((1, 1, 1)), "tiny")
    accepted(path, make_nifti(data=b"\7\0" * 60), "constant")
    big = np.full(60, 3, "u8")
    big[3] = 2**53 + 1
    accepted(path, make_nifti(dtype="u8", data=big.tobytes()), "precision")
    big[3] -= 1
    accepted(path, make_nifti(dtype="u8", data=big.tobytes()))
    cine = np.ones((6, 60), "<i2") * np.arange(60, dtype="<i2")
    cine[2] = 0
    accepted(path, make_nifti((5, 4, 3, 6), data=cine.tobytes()), "empty-frame")
    with pytest.warns(CmrgzWarning, match="1 of 6, the first is frame 3"):
        read(path)
    accepted(path, make_nifti((5, 4, 3, 6), data=bytes(720)), "constant")


@pytest.mark.parametrize("name", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_types(path: Path, make_nifti: MakeNifti, name: str, order: str) -> None:
    image = accepted(path, make_nifti(dtype=name, order=order))
    assert np.array_equal(image.stored, RAMP) and image.stored.dtype == np.dtype(name)
