"""The one reader of NIfTI files: a file is accepted with the right numbers or refused with one line.

Plain libraries judge about two thirds of malformed files rightly; every check here is our own. A file is read in one
pass to its very end, sizes are checked before memory is taken, and no text of a header is kept.
"""

import os
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.axes import frames
from cmrgz.data.dicom import count_phases, read_series
from cmrgz.data.gzip_stream import name_and_comment
from cmrgz.data.image import Image
from cmrgz.data.nifti.extensions import check_extensions, exactly
from cmrgz.data.nifti.header import Header, Notes, header_size, parse
from cmrgz.data.nifti.source import Source, halves, not_nifti, opened, opened_data, patiently
from cmrgz.data.nifti.values import check_values
from cmrgz.durable import is_file
from cmrgz.errors import DataError, ResourceError

PADDING = 1 << 20
"""Most zero bytes after the last voxel."""
DEFLATE = 1032
"""Most bytes that deflate can make of one."""


def read(
    path: str | os.PathLike[str],
    *,
    nonfinite: Literal["refuse", "zero"] = "refuse",
    orientation: Literal["refuse", "sform"] = "refuse",
    quiet: frozenset[str] = frozenset(),
) -> Image:
    """Read and check a `.nii`, `.nii.gz` or `.hdr` + `.img` file, or a folder of DICOM files.

    Args:
        path: The file; of a pair either half.
        nonfinite: What to do with NaN and infinite voxels.
        orientation: What to do where sform and qform contradict one another.
        quiet: Warnings that mean nothing here, for example `constant` of a mask.

    Raises:
        DataError: The file is refused; each code is a row of the documented table.
        ResourceError: `io` after three tries, or `too-large` for the memory.
    """
    if os.path.isdir(path):
        return read_series(Path(path))
    where = os.fspath(path)
    notes = Notes(where)

    def attempt() -> Image:
        # A second try would tell everything twice.
        notes.clear()
        with opened(_header_file(path, where), where) as source:
            header = _header(source, notes, orientation == "sform")
            stored = _stored(source, header, notes)
        check_values(stored, header, nonfinite, notes)
        return Image(stored, header.slope, header.inter, header.geometry)

    image = patiently(attempt, where)
    notes.tell(quiet)
    return image


def read_header(path: str | os.PathLike[str], *, orientation: Literal["refuse", "sform"] = "refuse") -> Header:
    """Read and check the header alone, and the file size unless it is compressed. Tells no warnings.

    Args:
        path: The file; of a pair either half.
        orientation: What to do where sform and qform contradict one another.

    Raises:
        DataError: The file is refused.
        ResourceError: `io` after three tries.
    """
    where = os.fspath(path)

    def attempt() -> Header:
        with opened(_header_file(path, where), where) as source:
            header = _header(source, Notes(where), orientation == "sform")
            if not header.single:
                with opened_data(halves(source.path, where)[1], where) as data:
                    _check_size(data, header)
            return header

    return patiently(attempt, where)


def count_frames(
    path: str | os.PathLike[str],
    *,
    orientation: Literal["refuse", "sform"] = "refuse",
    axes: str | None = None,
) -> int:
    """Return the number of frames of a file or a folder of DICOM files, from its headers.

    Args:
        path: The file; of a pair either half.
        orientation: What to do where sform and qform contradict one another.
        axes: What each axis on disk is; None to decide it from the header.

    Raises:
        DataError, ResourceError: As `read_header`, or `read_series`.
    """
    if os.path.isdir(path):
        return count_phases(Path(path))
    header = read_header(path, orientation=orientation)
    return frames(header.shape, header.geometry, axes)


def _header_file(path: str | os.PathLike[str], where: str) -> Path:
    path = Path(path)
    is_data = path.suffix.lower() == ".img" and is_file(path)
    return halves(path, where)[0] if is_data else path


def _header(source: Source, notes: Notes, sform_wins: bool) -> Header:
    """Read and check everything before the data of a single file, or the header of a pair."""
    start = source.stream.read(4)
    found = header_size(start)
    if found is None:
        raise _not_a_header(start, source)
    size, order = found
    raw = start + source.stream.read(size - 4)
    if len(raw) < size:
        raise _truncated(source.where, "within the header", size, len(raw))
    header = parse(raw, order, notes, sform_wins=sform_wins)
    # The magic says where the data lie: by the name, another file would be read, or this one from a wrong place.
    if header.single == (source.kind == "pair"):
        ending = ".nii" if header.single else ".hdr"
        raise DataError("wrong-extension", source.where, f"is a {ending} by its header", "", f"rename to {ending}")
    # gzip keeps the name that the file had before, which may be a patient's.
    notes.text(name_and_comment(source.start))
    if header.single:
        _check_size(source, header)
    check_extensions(source.stream, (header.offset if header.single else source.size) - size, order, notes)
    return header


def _not_a_header(start: bytes, source: Source) -> DataError:
    if not start:
        return DataError("empty", source.where, "has no bytes", "", "copy the file again")
    if len(start) < 4:
        return _truncated(source.where, "within the header", 348, len(start))
    return not_nifti(start + source.stream.read(256), source.where)


def _check_size(source: Source, header: Header) -> None:
    """Compare what the header claims with the file, before any memory is taken."""
    # Python integers: in those of the header a product of absurd sizes would overflow, and look small.
    need = header.offset + header.nbytes
    if source.kind == "gzip":
        # A size that no stream can reach is refused before anything is inflated or any memory is taken.
        if need > DEFLATE * source.size:
            raise _truncated(source.where, f"long before the last voxel: {source.size} bytes inflate to", need, "fewer")
    elif source.size < need:
        raise _truncated(source.where, f"{need - source.size} bytes before the last voxel", need, source.size)
    elif source.size > need + PADDING:
        raise _trailing(source.where, source.size - need)


def _stored(source: Source, header: Header, notes: Notes) -> NDArray[Any]:
    """Read the voxels of the file, or of the other half of a pair, and prove its end."""
    if header.single:
        return _voxels(source, header, notes)
    data_file = halves(source.path, source.where)[1]
    with opened_data(data_file, source.where) as data:
        _check_size(data, header)
        exactly(data.stream, header.offset, source.where)
        return _voxels(data, header, notes)


def _voxels(source: Source, header: Header, notes: Notes) -> NDArray[Any]:
    try:
        # In the order of the file: it is read to where it stays.
        stored = np.empty(header.shape, header.dtype, order="F")
    # numpy says ValueError of sizes that no index reaches.
    except (MemoryError, ValueError):
        facts = f"{header.nbytes >> 20} MiB"
        raise ResourceError(
            "too-large", source.where, "does not fit in memory", facts, "use a larger machine"
        ) from None
    view = memoryview(cast(Any, stored.reshape(-1, order="F").view(np.uint8)))
    have = _fill(source.stream, view)
    if have < len(view):
        missing = f"{len(view) - have} bytes before the last voxel"
        raise _truncated(source.where, missing, header.offset + len(view), header.offset + have)
    _check_end(source, notes)
    if not header.dtype.isnative:
        # In place: a copy would be a second scan.
        stored = stored.byteswap(inplace=True).view(header.dtype.newbyteorder("="))
    return stored


def _fill(stream: BinaryIO, view: memoryview) -> int:
    """Read into `view` until it is full or the stream ends; return how much there was."""
    have = 0
    while have < len(view):
        count = cast(Any, stream).readinto(view[have:])
        if not count:
            break
        have += count
    return have


def _check_end(source: Source, notes: Notes) -> None:
    """Read to the end of the stream, so that its checksum is proved; only a little zero padding may be there."""
    # Whoever stops at the last voxel, as nibabel does, takes a file with a wrong checksum for a good one: it stands
    # behind. What stands there may also be frames that dim hides.
    rest = source.stream.read(PADDING + 1)
    if len(rest) > PADDING or rest.count(0) < len(rest):
        raise _trailing(source.where, len(rest))
    if rest:
        notes.add("trailing-data", "zero bytes follow the last voxel", f"{len(rest)} bytes")


def _truncated(where: str, at: str, need: int, have: int | str) -> DataError:
    return DataError("truncated", where, f"ends {at}", f"{need} bytes needed, {have} there", "copy the file again")


def _trailing(where: str, count: int) -> DataError:
    hint = "check dim: frames may be missing from the header"
    return DataError("trailing-data", where, "more bytes follow the last voxel", f"{count} or more", hint)
