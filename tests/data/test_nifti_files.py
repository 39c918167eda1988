"""Files as they come: pairs, wrong names, what is no file, files that change or fail, and memory."""

import errno
import gzip
import math
import os
import socket
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmrgz.data.nifti import source as nifti_source
from cmrgz.data.nifti.reader import Image, read, read_header
from cmrgz.errors import CmrgzWarning, DataError, ResourceError

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


@pytest.mark.parametrize("suffixes", [(".hdr", ".img"), (".HDR", ".IMG")])
@pytest.mark.parametrize("half", [0, 1])
def test_pair(tmp_path: Path, make_nifti: MakeNifti, suffixes: tuple[str, str], half: int) -> None:
    raw = make_nifti(magic=b"ni1", vox_offset=16)
    files = [tmp_path / f"a{suffix}" for suffix in suffixes]
    files[0].write_bytes(raw[:352])
    files[1].write_bytes(bytes(16) + raw[352:])
    assert np.array_equal(read(files[half]).stored, RAMP) and read_header(files[half]).shape == (5, 4, 3, 1)
    for data, code in ((raw[352:], "truncated"), (bytes(16) + raw[352:] + b"x", "trailing-data"), (b"", "truncated")):
        files[1].write_bytes(data)
        with pytest.raises(DataError, match=code):
            read(files[half])
    files[1 - half].unlink()
    with pytest.raises(DataError, match="missing-pair"):
        read(files[half])


@pytest.mark.parametrize("name, content, code", [
    ("a.nii", "gzip", "wrong-extension"), ("a.nii.gz", "plain", "wrong-extension"), ("a", "plain", "wrong-extension"),
    ("a.gz", "gzip", "wrong-extension"), ("a.hdr", "plain", "wrong-extension"), ("a.hdr", "gzip", "wrong-extension"),
])  # fmt: skip
def test_names_that_lie(tmp_path: Path, make_nifti: MakeNifti, name: str, content: str, code: str) -> None:
    raw = make_nifti()
    assert refusal(tmp_path / name, gzip.compress(raw) if content == "gzip" else raw).code == code


@pytest.mark.parametrize("content, said", [
    (b"  <HTML>" + bytes(400), "web page"), (bytes(128) + b"DICM" + bytes(400), "DICOM"),
    (b"version https://git-lfs.github.com/spec/v1\n", "git-LFS"), (b"\x93NUMPY" + bytes(400), "no NIfTI header"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a"])
def test_other_files_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    error = refusal(tmp_path / name, content)
    assert error.code in ("not-nifti", "lfs-pointer") and said in error.what


def test_names_of_any_kind(tmp_path: Path, make_nifti: MakeNifti) -> None:
    for name in ("A.NII", "a b\n\x1b[31m.nii", os.fsdecode(b"\xff\xfe.nii"), "-rf.nii"):
        accepted(tmp_path / name, make_nifti())
        error = refusal(tmp_path / name, make_nifti()[:-1])
        assert "\n" not in error.line and "\x1b" not in error.line
        error.line.encode()


@pytest.mark.parametrize("name, code", [
    ("none.nii", "not-found"), ("a\0.nii", "not-found"), ("x" * 300 + ".nii", "not-found"), ("file/a.nii", "not-found"),
    ("loop.nii", "not-found"), ("folder.nii", "not-a-file"), ("fifo.nii", "not-a-file"), ("/dev/null", "not-a-file"),
    ("socket.nii", "not-a-file"), ("fifo.img", "not-a-file"),
])  # fmt: skip
def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(b"")
    Path("loop.nii").symlink_to("loop.nii")
    Path("folder.nii").mkdir()
    os.mkfifo("fifo.nii")
    os.mkfifo("fifo.img")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.nii")
        with pytest.raises(DataError) as caught:
            read(name)
    assert caught.value.code == code and caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_file_that_may_not_be_read(path: Path, make_nifti: MakeNifti) -> None:
    path.write_bytes(make_nifti())
    path.chmod(0)
    with pytest.raises(DataError, match="permission"):
        read(path)


@pytest.mark.parametrize("change", ["touch", "grow", "replace", "remove"])
def test_file_that_changes_while_it_is_read(
    path: Path, make_nifti: MakeNifti, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    raw = make_nifti()
    path.write_bytes(raw)
    look = nifti_source._check_content

    def meanwhile(*args: Any) -> None:
        look(*args)
        if change == "touch":
            os.utime(path, ns=(1, 1))
        elif change == "grow":
            path.write_bytes(raw + bytes(3))
        elif change == "replace":
            path.rename(path.with_name("b.nii"))
            path.write_bytes(raw)
        else:
            path.unlink()

    monkeypatch.setattr(nifti_source, "_check_content", meanwhile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CmrgzWarning)
        with pytest.raises(DataError) as caught:
            read(path)
    assert caught.value.code == "changed"


@pytest.mark.parametrize(
    "failures, number, fine", [(2, errno.EIO, True), (3, errno.ESTALE, False), (1, errno.EBADF, False)]
)
def test_three_tries(
    path: Path, make_nifti: MakeNifti, monkeypatch: pytest.MonkeyPatch, failures: int, number: int, fine: bool
) -> None:
    path.write_bytes(make_nifti(bitpix=1))
    look, pauses, left = nifti_source._check_content, [], [number] * failures

    def shaky(*args: Any) -> None:
        look(*args)
        if left:
            raise OSError(left.pop(), "shaky")

    monkeypatch.setattr(nifti_source, "_check_content", shaky)
    monkeypatch.setattr(nifti_source.time, "sleep", pauses.append)
    if fine:
        with pytest.warns(CmrgzWarning, match="bitpix") as caught:
            read(path)
        assert len(caught) == 1 and len(pauses) == 2
    else:
        with pytest.raises(ResourceError, match="io"):
            read(path)
        assert len(pauses) == failures - 1


def peak(action: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name, limit", [("a.nii", 1.25), ("a.nii.gz", 1.5)])
@pytest.mark.parametrize("dtype, order", [("i2", "<"), ("f4", ">")])
def test_memory_of_a_scan(
    tmp_path: Path, make_nifti: MakeNifti, name: str, limit: float, dtype: str, order: str
) -> None:
    shape = (128, 128, 16, 40)
    raw = make_nifti(shape, dtype, order=order)
    (tmp_path / name).write_bytes(gzip.compress(raw, 1) if name.endswith("gz") else raw)
    size = len(raw)
    del raw
    assert size <= peak(lambda: read(tmp_path / name)) <= limit * size


def test_refusing_costs_no_memory(path: Path, make_nifti: MakeNifti) -> None:
    def refuse(name: str, raw: bytes) -> int:
        return peak(lambda: refusal(path.with_name(name), raw)) - len(raw)

    claims = make_nifti(version=2, dim=(4, 10**5, 10**5, 10**3, 10**3, 1, 1, 1))
    bomb = gzip.compress(make_nifti() + bytes(64 << 20))
    far = gzip.compress(make_nifti(vox_offset=60 << 20) + bytes(100))
    for name, raw in (("a.nii", claims), ("a.nii.gz", gzip.compress(claims)), ("a.nii.gz", bomb), ("b.nii.gz", far)):
        assert refuse(name, raw) < 8 << 20
