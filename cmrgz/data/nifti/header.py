"""The header of a NIfTI file, checked field by field; nothing of its text is kept."""

import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from nibabel.nifti1 import header_dtype as NIFTI1
from nibabel.nifti2 import header_dtype as NIFTI2

from cmrgz.data import geometry
from cmrgz.data.geometry import MILLIMETRES, Affine, Geometry
from cmrgz.errors import DataError, warn

DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
"""NIfTI datatype code -> numpy type, of those that are read."""
OTHERS = {
    1: "binary", 32: "complex64", 128: "RGB24", 1536: "float128", 1792: "complex128", 2048: "complex256", 2304: "RGBA32"
}  # fmt: skip
FORMATS = {348: (1, NIFTI1), 540: (2, NIFTI2)}
ByteOrder = Literal["<", ">"]
"""Byte order: little or big-endian."""
MAGICS = {b"n+1\0": (1, True), b"ni1\0": (1, False), b"n+2\0": (2, True), b"ni2\0": (2, False)}
MEND = "write the file again with a program that wrote others well"
LINE_ENDS = [13, 10, 26, 10]
TEXTS = {1: ("data_type", "db_name", "descrip", "aux_file", "intent_name"), 2: ("descrip", "aux_file", "intent_name")}
IDENTITY = (
    re.compile(rb"\^[A-Z](?<=[A-Z]{2}\^.)"),  # a DICOM person name
    re.compile(rb"(?:1(?<!\d.)9|2(?<!\d.)0)\d\d([-./]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])(?!\d)"),  # a date
    re.compile(rb"[MANSDP](?<![A-Z].)(?:RN|CC|HS|SN|OB|ID|PI)[-_ :#=]{0,4}\d{4}"),  # a record number
    re.compile(rb"PATIENT.?S?[ _'-]{0,4}(?:NAME|ID|BIRTH)"),
)
"""What looks like an identity, in upper case. Each begins with few letters and repeats within bounds, so that 4 MiB of
a stranger's text cost little time."""
GAP = 64 << 20
"""Most bytes between the header and the data."""


@dataclass
class Notes:
    """What is unusual about a file, once per code; told when the file has proved good."""

    where: str
    notes: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, code: str, what: str, facts: str = "") -> None:
        """Keep a warning, unless there is one with its code."""
        self.notes.setdefault(code, (what, facts))

    def text(self, data: bytes) -> None:
        """Keep a warning if `data` looks like an identity; it is not quoted."""
        upper = data.upper()
        if any(pattern.search(upper) for pattern in IDENTITY):
            self.add("phi", "its header or an extension holds what looks like an identity; none of it is copied")

    def clear(self) -> None:
        """Forget everything: the file is read again."""
        self.notes.clear()

    def tell(self, quiet: frozenset[str] = frozenset()) -> None:
        """Issue the warnings but those in `quiet`."""
        for code, (what, facts) in self.notes.items():
            if code not in quiet:
                warn(code, self.where, what, facts)


@dataclass(frozen=True, eq=False)
class Header:
    """What a header says, checked.

    Attributes:
        shape: Voxels along x, y, z and frames.
        dtype: On-disk type, with its byte order.
        offset: Position of the first voxel in the file with the data.
        size: Length of the header itself.
        single: Whether header and data are in one file.
        slope: Values are `slope * stored + inter`.
        inter: Values are `slope * stored + inter`.
        geometry: Where voxels lie.
    """

    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    offset: int
    size: int
    single: bool
    slope: float
    inter: float
    geometry: Geometry

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels, as a Python integer that cannot overflow."""
        return math.prod(self.shape) * self.dtype.itemsize


def header_size(start: bytes) -> tuple[int, ByteOrder] | None:
    """Return the length of the header and its byte order from its first four bytes, None if it is not NIfTI."""
    if len(start) < 4:
        return None
    # sizeof_hdr is 348 or 540, and neither when it is read the wrong way round: so it tells the byte order.
    little, big = int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")
    return (little, "<") if little in FORMATS else (big, ">") if big in FORMATS else None


@np.errstate(all="ignore")  # a header may hold any bits; the checks below find them
def parse(raw: bytes, order: ByteOrder, notes: Notes, *, sform_wins: bool = False) -> Header:
    """Return the checked contents of a header.

    Args:
        raw: The whole header, 348 or 540 bytes.
        order: Its byte order, `<` or `>`.
        notes: Takes the warnings and says where the header is from.
        sform_wins: Accept a qform that contradicts the sform.

    Raises:
        DataError: `not-nifti`, `corrupt`, `dims`, `dtype`, `scaling`, `offset`, `affine`, `spacing` or
            `orientation-conflict`.
    """
    version, layout = FORMATS[len(raw)]
    fields = np.frombuffer(raw, layout.newbyteorder(order))[0]
    single = _is_single(fields, version, notes.where)
    shape = _shape(fields["dim"].tolist(), notes.where)
    dtype = _dtype(int(fields["datatype"]), int(fields["bitpix"]), order, notes)
    slope, inter = _scaling(float(fields["scl_slope"]), float(fields["scl_inter"]), notes.where)
    offset = _offset(fields["vox_offset"].item(), len(raw) + 4 if single else 0, notes.where)
    placed = _geometry(fields, shape, version, notes, sform_wins)
    for name in TEXTS[version]:
        notes.text(fields[name].tobytes())
    return Header(shape, dtype, offset, len(raw), single, slope, inter, placed)


def _is_single(fields: Any, version: int, where: str) -> bool:
    """Return whether header and data are in one file, by the magic bytes."""
    magic = fields["magic"].item().ljust(4, b"\0")  # numpy drops NULs at the end
    if MAGICS.get(magic, (0, False))[0] != version:
        what = "an ANALYZE 7.5 header" if not any(magic) else "wrong magic bytes"
        raise DataError("not-nifti", where, f"is not a NIfTI file: {what}", "", "convert it to NIfTI")
    if version == 2 and fields["eol_check"].tolist() not in (LINE_ENDS, [0, 0, 0, 0]):
        raise DataError(
            "corrupt", where, "line ends in the header were converted", "", "copy the file again, as binary"
        )
    return MAGICS[magic][1]


def _shape(dim: list[int], where: str) -> tuple[int, int, int, int]:
    rank = dim[0]
    if not 1 <= rank <= 7:
        raise DataError("dims", where, f"says it has {rank} dimensions, 1 .. 7 are possible", f"dim = {dim}", MEND)
    # What stands beyond dim[0] is often 0, or what the memory held: it is not looked at.
    used = dim[1 : rank + 1]
    if min(used) < 1:
        raise DataError("dims", where, "an axis is shorter than 1 voxel", f"dim = {dim}", MEND)
    if _is_fifth(dim):
        del used[3]
    if any(n > 1 for n in used[4:]):
        raise DataError("dims", where, "has more than x, y, z and time", f"dim = {dim}", "split it by its further axes")
    x, y, z, t = (used + [1, 1, 1])[:4]
    return x, y, z, t


def _is_fifth(dim: list[int]) -> bool:
    """Return whether time is the fifth axis, the fourth being empty."""
    return dim[0] > 4 and dim[4] == 1 and dim[5] > 1


def _dtype(code: int, bits: int, order: str, notes: Notes) -> np.dtype[Any]:
    if code not in DTYPES:
        hint = "take its magnitude" if code in (32, 1792, 2048) else "convert it to int16 or float32"
        raise DataError("dtype", notes.where, f"voxels are {OTHERS.get(code, f'of unknown type {code}')}", "", hint)
    dtype = np.dtype(order + DTYPES[code])
    if bits != 8 * dtype.itemsize:
        notes.add("bitpix", f"bitpix is {bits} but {dtype.name} has {8 * dtype.itemsize} bits; the type counts")
    return dtype


def _scaling(slope: float, inter: float, where: str) -> tuple[float, float]:
    """Return slope and intercept; a slope of 0 or NaN means that there is no scaling."""
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(inter)):
        raise DataError("scaling", where, f"scl_slope {slope} and scl_inter {inter} must be finite", "", MEND)
    return slope, inter


def _offset(offset: float, least: int, where: str) -> int:
    if not math.isfinite(offset) or offset != int(offset) or offset < least:
        raise DataError("offset", where, f"vox_offset is {offset}, must be an integer from {least}", "", MEND)
    # A gap is legal and is read through, so that it must have an end.
    if offset > least + GAP:
        raise DataError("offset", where, f"vox_offset is {offset:.0f}, far beyond the header", "", MEND)
    return int(offset)


def _geometry(fields: Any, shape: tuple[int, int, int, int], version: int, notes: Notes, sform_wins: bool) -> Geometry:
    units, rank = int(fields["xyzt_units"]), int(fields["dim"][0])
    pixdim = [float(p) for p in fields["pixdim"]]
    edges = _edges(pixdim, rank, notes)
    millimetre = _millimetre(units, notes)
    sform_code, qform_code = max(int(fields["sform_code"]), 0), max(int(fields["qform_code"]), 0)
    quaternion = _three(fields, "quatern_b", "quatern_c", "quatern_d") if qform_code else (0.0, 0.0, 0.0)
    offset = _three(fields, "qoffset_x", "qoffset_y", "qoffset_z") if qform_code else (0.0, 0.0, 0.0)
    # qfac: 0 counts as 1 (nifti1.h).
    handedness = -1 if pixdim[0] < 0 else 1
    sform = np.array([fields["srow_x"], fields["srow_y"], fields["srow_z"]], dtype=np.float64)
    sform = sform if sform_code else np.zeros((3, 4))
    # Where it counts alone: beside an sform, quaternion and pixdim may hold anything.
    if qform_code or not sform_code:
        geometry.check_quaternion(quaternion, offset, notes.where)
        geometry.check_spacing(tuple(edge * millimetre for edge in edges), notes.where)
    qform = geometry.qform(quaternion, offset, edges, handedness if qform_code else 1)
    # nifti1.h leaves it to programs which form counts; nibabel too takes the sform where there is one.
    affine = geometry.in_mm(sform if sform_code else qform, units)
    geometry.check_affine(affine, notes.where)
    if sform_code and qform_code and not sform_wins:
        _check_forms(affine, geometry.in_mm(qform, units), shape, notes.where)
    if not (sform_code or qform_code):
        notes.add("no-orientation", "has no orientation: sform_code and qform_code are 0; left and right are unknown")
    zooms = [zoom / millimetre for zoom in geometry.spacing(affine)]
    dx, dy, dz = (e if 0 < e < math.inf else zoom for e, zoom in zip(edges, zooms, strict=True))
    fifth = _is_fifth(fields["dim"].tolist())
    step = pixdim[5 if fifth else 4]
    frame = step if 0 < step < math.inf else 0.0
    return Geometry(
        affine=affine,
        rank=rank,
        sform=sform,
        sform_code=sform_code,
        quaternion=quaternion,
        offset=offset,
        handedness=handedness,
        qform_code=qform_code,
        pixdim=(dx, dy, dz, frame),
        units=units,
        intent=int(fields["intent_code"]),
        version=version,
        fifth=fifth,
    )


def _three(fields: Any, *names: str) -> tuple[float, float, float]:
    a, b, c = (float(fields[name]) for name in names)
    return a, b, c


def _edges(pixdim: list[float], rank: int, notes: Notes) -> tuple[float, float, float]:
    """Return the voxel edges that pixdim gives; an axis beyond the rank that has none counts 1."""
    if any(-math.inf < p < 0 for p in pixdim[1 : min(rank, 3) + 1]):
        notes.add("pixdim-sign", "a voxel edge in pixdim is negative; its sign is ignored")
    edges = [abs(p) for p in pixdim[1:4]]
    dx, dy, dz = (e if i < rank or 0 < e < math.inf else 1.0 for i, e in enumerate(edges))
    return dx, dy, dz


def _millimetre(units: int, notes: Notes) -> float:
    """Return the unit of length in mm, with a warning unless it is mm or unknown."""
    code = units & 7
    if code not in (0, 2):
        name = {1: "metres", 3: "micrometres"}.get(code)
        notes.add(
            "units", f"lengths are in {name}, converted to mm" if name else f"unit code {code} is unknown: mm is meant"
        )
    return MILLIMETRES.get(code, 1.0)


def _check_forms(sform: Affine, qform: Affine, shape: tuple[int, ...], where: str) -> None:
    voxels, mm = geometry.distance(sform, qform, shape)
    if not voxels <= geometry.APART:
        facts = f"sform {geometry.orientation(sform)}, qform {geometry.orientation(qform)}, {mm:.3g} mm apart"
        hint = "mend the header, or pass --orientation sform if the sform is right"
        raise DataError("orientation-conflict", where, "sform and qform contradict one another", facts, hint)
