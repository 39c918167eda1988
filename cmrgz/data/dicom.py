"""A cine as a scanner writes it: a folder of DICOM files, one of each slice and phase.

Slices are put in the order of their positions, from base to apex; phases in that of their trigger times. No text of a
header is kept, and none stands in an error. pydicom reads the files: `pip install 'cmrgz[dicom]'`.
"""

import hashlib
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.dicom_stack import Plane, Stack, stacked
from cmrgz.data.image import Image
from cmrgz.durable import inside_of, is_file, is_folder, read_bytes, refused
from cmrgz.errors import DataError, ResourceError

SUFFIXES = (".dcm", ".ima", ".dicom")
STACK = re.compile(r"sax[_-]?\d+", re.IGNORECASE)
"""Name of the folder of one slice, where each has one, as in the data of the Second Annual Data Science Bowl."""
# DICOM part 10: a file begins with 128 bytes that mean nothing, then DICM.
MAGIC = 128
TAGS = [
    "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "Modality", "InstanceNumber", "TriggerTime",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SpacingBetweenSlices", "SliceThickness", "Rows",
    "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "PixelData",
]  # fmt: skip
"""What is read of a file. The texts among them are compared and forgotten."""


def dicom_files(files: Iterable[Path]) -> list[Path]:
    """Return those of the files of one folder that are DICOM, sorted; none where the first of them is not."""
    # One is opened, not all: a series has hundreds of files, and each is read with care when it is loaded.
    named = sorted(path for path in files if _may_be_dicom(path))
    return named if named and _is_dicom(named[0]) else []


def _may_be_dicom(path: Path) -> bool:
    # Scanners give names without an ending, or with a number for one: IM-0001, 1.2.840.10008.
    plain = not re.search("[A-Za-z]", path.suffix) and path.name.upper() != "DICOMDIR"
    return path.suffix.lower() in SUFFIXES or plain


def _is_dicom(path: Path) -> bool:
    try:
        return read_bytes(path, DataError, MAGIC + 4)[MAGIC:] == b"DICM"
    except (DataError, ResourceError):
        return False


def files_of(folder: Path) -> list[list[Path]]:
    """Return the DICOM files of a scan: those of a folder, or of each `sax_N` folder in it.

    Raises:
        DataError: `not-found`, `permission` or `not-a-file`.
        ResourceError: `io`.
    """
    inside = inside_of(folder, DataError)
    slices = [path for path in inside if STACK.fullmatch(path.name) and is_folder(path)]
    own = dicom_files(filter(is_file, inside))
    # By number: sax_10 comes after sax_9.
    parts = [own] if own else [_files_of_slice(path) for path in sorted(slices, key=_number)]
    if not any(parts):
        raise DataError("not-a-file", str(folder), "is a folder without DICOM files", "", "name a file, or a series")
    return [part for part in parts if part]


def _files_of_slice(folder: Path) -> list[Path]:
    return dicom_files(filter(is_file, inside_of(folder, DataError)))


def _number(folder: Path) -> int:
    return int(re.sub(r"\D", "", folder.name))


def read_series(folder: Path) -> Image:
    """Read the cine of a folder.

    Args:
        folder: A folder of the files of one series, or one with a folder `sax_N` for each slice.

    Raises:
        DataError: `mixed-series` (several series, patients or stacks), `dims` (phases differ), `spacing` (slices lie
            unevenly), `dtype` (no grey values), `corrupt`, `compression` or `not-found`.
        ResourceError: `missing`: pydicom is not installed.
    """
    stack = _stack(folder)
    planes = stack.planes
    # For its type alone, and read again in its turn: planes are not kept beside the stack.
    first = _pixels(planes[0][0])
    # Some scanners scale each image by itself: its stored numbers mean nothing beside those of the next.
    same = len({(p.slope, p.inter) for row in planes for p in row}) == 1
    kind = first.dtype if same else np.dtype(np.float32)
    stored = np.empty((stack.columns, stack.rows, len(planes[0]), len(planes)), kind, order="F")
    for t, row in enumerate(planes):
        for z, plane in enumerate(row):
            pixels = _pixels(plane)
            # pixel_array is (rows, columns), and NIfTI's first axis runs along a row: hence the transpose.
            stored[:, :, z, t] = (pixels if same else pixels * plane.slope + plane.inter).T
    slope, inter = (planes[0][0].slope, planes[0][0].inter) if same else (1.0, 0.0)
    return Image(stored, slope, inter, stack.geometry)


def sha256_of_series(folder: Path) -> str:
    """Return the sha256 of the DICOM files of a scan, one after the other.

    Raises:
        DataError: `not-found` or `not-a-file`.
    """
    digest = hashlib.sha256()
    for file in (file for part in files_of(folder) for file in part):
        digest.update(read_bytes(file, DataError))
    return digest.hexdigest()


def count_phases(folder: Path) -> int:
    """Return the number of phases of the cine of a folder, from its headers.

    Raises:
        DataError, ResourceError: As `read_series`.
    """
    return len(_stack(folder).planes)


def _stack(folder: Path) -> Stack:
    parts = files_of(folder)
    return stacked(str(folder), [[_plane(file) for file in part] for part in parts])


@contextmanager
def _quiet() -> Iterator[Any]:
    """Give pydicom, which must not print: its warnings show values of a header."""
    try:
        import pydicom
    except ImportError:
        hint = "pip install 'cmrgz[dicom]', or convert it with dcm2niix"
        raise ResourceError("missing", "pydicom", "is needed to read DICOM", "", hint) from None
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield pydicom
    finally:
        logger.setLevel(level)


def _plane(file: Path) -> Plane:
    """Read the header of a file."""
    try:
        with _quiet() as pydicom, refused(file, DataError):
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=TAGS)
            return _read_plane(file, header)
    except (DataError, ResourceError):
        raise
    except Exception as error:  # a damaged file makes pydicom raise whatever it likes
        raise _corrupt(file, error) from None


def _read_plane(file: Path, header: Any) -> Plane:
    _check_kind(file, header)
    rows, columns = int(header.Rows), int(header.Columns)
    # The distance between rows comes first, while ImageOrientationPatient begins with the direction along a row.
    dy, dx = (float(edge) for edge in header.PixelSpacing)
    time = header.get("TriggerTime")
    slope, inter = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    if not (slope and np.isfinite([slope, inter]).all()):
        raise DataError("scaling", str(file), "its values have no scale", f"slope {slope:g}", "mend the header")
    # They tell examinations apart, and are forgotten with the planes.
    texts = [str(header.get(name, "")) for name in ("PatientID", "StudyInstanceUID")]
    return Plane(
        file=file,
        series=str(header.get("SeriesInstanceUID", "")),
        study="\0".join(texts),
        shape=(rows, columns),
        edges=(dx, dy),
        position=np.array([float(v) for v in header.ImagePositionPatient]),
        axes=np.array([float(v) for v in header.ImageOrientationPatient]).reshape(2, 3),
        gap=float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 0),
        time=None if time in (None, "") else float(time),
        number=int(header.get("InstanceNumber") or 0),
        slope=slope,
        inter=inter,
    )


def _check_kind(file: Path, header: Any) -> None:
    """Refuse what is no plane of grey values."""
    if "ImagePositionPatient" not in header or "Rows" not in header or "PixelSpacing" not in header:
        raise DataError("dtype", str(file), "is no image of a place in the patient", "", "take it out of the folder")
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise DataError("dtype", str(file), "holds several frames", "enhanced DICOM", "convert it with dcm2niix")
    # MONOCHROME1 shows small values bright: taken as it is, a heart would be a negative.
    if int(header.get("SamplesPerPixel", 1)) != 1 or header.get("PhotometricInterpretation") != "MONOCHROME2":
        raise DataError("dtype", str(file), "holds no plain grey values", "", "take it out of the folder")


def _pixels(plane: Plane) -> NDArray[Any]:
    """Return the stored values (rows, columns) of a plane; 16 bits of which not all are used are signed ones."""
    try:
        with _quiet() as pydicom, refused(plane.file, DataError):
            whole = pydicom.dcmread(plane.file, specific_tags=TAGS)
            # Asked first: what pydicom raises for want of a decoder is also what it raises of a damaged file.
            if whole.file_meta.TransferSyntaxUID.is_encapsulated and not _decodes(pydicom, whole):
                hint = "decompress it, for example with gdcmconv --raw"
                raise DataError(
                    "compression", str(plane.file), "is compressed in a way that is not read here", "", hint
                )
            pixels = np.asarray(whole.pixel_array)
            # 12 bits in 16: as int16 nothing is lost, and every program reads that type of NIfTI.
            spare = pixels.dtype == np.uint16 and int(whole.BitsStored) < 16
    except (DataError, ResourceError):
        raise
    except Exception as error:  # as above
        raise _corrupt(plane.file, error) from None
    if pixels.shape != plane.shape:
        raise DataError("changed", str(plane.file), "changed while it was read", "", "wait until it is written")
    # BitsStored is at times less than what is stored: the values decide.
    return pixels.astype(np.int16) if spare and pixels.max() < 2**15 else pixels


def _decodes(pydicom: Any, whole: Any) -> bool:
    from pydicom.pixels import get_decoder

    del pydicom
    return bool(get_decoder(whole.file_meta.TransferSyntaxUID).is_available)


def _corrupt(file: Path, error: Exception) -> DataError:
    """Return the refusal of a damaged file: it says what kind of error it was, no text of the file."""
    return DataError("corrupt", str(file), "cannot be read as DICOM", type(error).__name__, "copy the file again")
