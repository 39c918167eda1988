"""The patient in a name: one rule for files and folders, since no patient may stand on two sides of a split.

A name is cut into tokens at `_`, `-` and spaces. The first token with a number names the patient, unless it counts or
tells something else: a frame (`frame01`, `ph03`, `ED`), a sequence (`t1map`, `2ch`), a visit (`ses-1`, a date), a part
of a data set (`train`, `fold3`, `site2`). Words of that kind are left out of the name, and so is what follows: a
channel (`_0000`), a frame. The outermost folder that has such a number wins over the file. Where it is unclear whether
two scans are of one patient they are taken for one: a manifest says more.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import NamedTuple

from cmrgz.data.importers.files import stem

BIDS = re.compile(r"sub-[A-Za-z0-9]+(?=_|$)")
# Also at a dot before a letter (`patient001.4d`) and after a number before a word that counts (`01frame02`): two frames
# of one patient must not be two patients.
_TOKEN_END = re.compile(r"[_\-\s]+|\.(?=\d?[A-Za-z])|(?<=\d)(?=(?:frame|phase|slice|cine)(?![a-z]))", re.IGNORECASE)
_DASHED_DATE = re.compile(r"(?<!\d)(19|20)\d\d([-_.])(0[1-9]|1[0-2])\2([0-2]\d|3[01])(?!\d)")
_DATE = re.compile(r"(19|20)\d\d((0[1-9]|1[0-2])([0-2]\d|3[01])?)?")
_DIGITS = "0123456789"
_SEQUENCES_AND_VISITS = (
    "sa sax la lax t echo run acq rec task dir ed es frame fr phase ph slice sl z time tp ch channel ses session "
    "visit day week month year fu v version fold part batch site centre center hospital vendor scanner"
)
_PARTS_AND_GROUPS = (
    "cine short long axis view lge de psir mag map maps t1map t2map t2star molli shmolli sasha stir bssfp ssfp "
    "trufi gre tag tagged tagging flow perf perfusion rest stress native pre post contrast anat func dwi desc "
    "space baseline bl followup train training tr trn test testing ts tst val valid validation dev dataset task "
    "database data raw images imagestr imagests labels labelstr labelsts contours patients subjects cases scans "
    "orig original processed preprocessed cropped resampled corrected denoised new old final copy nii nifti gt "
    "seg mask label healthy normal control controls diseased pathology nor dcm hcm minf rv acdc mnms mms emidec "
    "sunnybrook ukb ukbb"
)
_COUNTED_KINDS = frozenset(_SEQUENCES_AND_VISITS.split())
"""Words that name no patient, with a number or without."""
_KINDS = _COUNTED_KINDS | frozenset(_PARTS_AND_GROUPS.split())
"""Words that name no patient without a number."""
_NUMBERED = "scan image img series ser study exam set file vol volume group train training test testing val data"
_WEAK = frozenset(_NUMBERED.split())
"""Words whose number names the patient where nothing else does."""
_PLACES = frozenset("site centre center hospital vendor scanner".split())
"""Words that tell data sets apart, though not patients."""
_VIEWS = frozenset(("d", "ch", "vch", "cv"))
"""As in `4d` and `2ch`."""


class Patient(NamedTuple):
    """A patient.

    Attributes:
        name: As found; the same for all scans of the patient in a data set.
        how: By what: a phrase such as `file names`.
    """

    name: str
    how: str


def patients_of(paths: Sequence[PurePath], root: str) -> list[Patient]:
    """Return the patients of scans.

    Args:
        paths: Relative to the data set.
        root: Name of the data set's folder: the patient where no name tells one.
    """
    # Folders that all scans share tell no patients apart; where a file tells nothing they may be all that there is.
    shared = _shared_folders(paths) if all(map(_tells, paths)) else 0
    found = [_candidates(path.parts[shared:-1], stem(path), root) for path in paths]
    joined = join([names for names, _ in found])
    return [Patient(name, how) for name, (_, how) in zip(joined, found, strict=True)]


def _tells(path: PurePath) -> bool:
    """Return whether the name of a file itself may name a patient."""
    name = stem(path)
    return bool(BIDS.match(name) or _strong(name) or _weak(name) or _words(name))


def data_set(folder: PurePath) -> str:
    """Return what a folder of scans is called, without words that say which scans: `x/A/lge` and `x/A/cine` are one."""

    def kept(token: str) -> bool:
        return not _is_kind(token) or token.casefold().rstrip(_DIGITS) in _PLACES

    parts = ("_".join(filter(kept, _tokens(part))) for part in folder.parts)
    return "/".join(filter(None, parts))


def join(keys: Sequence[Sequence[str]]) -> list[str]:
    """Return one name for each set of keys, the same for those that share a key, directly or through others."""
    parent: dict[str, str] = {}

    def top(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for names in keys:
        # Sorted, so that patients are called the same in whatever order their scans are found.
        first, *others = sorted(map(top, names))
        parent.update(dict.fromkeys(others, first))
    return [top(names[0]) for names in keys]


def _shared_folders(paths: Sequence[PurePath]) -> int:
    """Return how many folders all scans lie in: they tell no patients apart."""
    parts = [path.parts[:-1] for path in paths]
    return next((i for i, level in enumerate(zip(*parts, strict=False)) if len(set(level)) > 1), min(map(len, parts)))


def _candidates(folders: Sequence[str], name: str, root: str) -> tuple[tuple[str, ...], str]:
    """Return what may name the patient of a scan, and by what it was found: scans that share one are of one patient."""
    if (bids := next((found[0] for part in (*folders, name) if (found := BIDS.match(part))), None)) is not None:
        return (bids,), "BIDS names"
    if (own := _first(folders, _strong)) is not None:
        return (own,), "folders"
    folder, file = _first(folders, lambda part: _weak(part) or _words(part)), _strong(name)
    if folder and file:
        return (folder, file), "folders and file names, either of which may name one"
    if folder:
        return (folder,), "folders"
    if (own := file or _weak(name) or _words(name)) is not None:
        return (own,), "file names"
    return (folders[0] if folders else root,), "folders"


def _first(parts: Sequence[str], read: Callable[[str], str | None]) -> str | None:
    return next((own for part in parts if (own := read(part)) is not None), None)


def _strong(name: str) -> str | None:
    return _name(name, strong=True)


def _weak(name: str) -> str | None:
    return _name(name, strong=False)


def _name(text: str, strong: bool) -> str | None:
    """Return the tokens up to the first number that names a patient, without those that name none."""
    kept: list[str] = []
    for token in _tokens(text):
        counted = any(map(str.isdigit, token))
        if _is_kind(token) or (strong and counted and token.casefold().rstrip(_DIGITS) in _WEAK):
            continue
        kept.append(token)
        if counted:
            return "_".join(kept)
    return None


def _words(text: str) -> str | None:
    """Return the tokens that may name a patient, or None."""
    return "_".join(token for token in _tokens(text) if not _is_kind(token)) or None


def _tokens(text: str) -> list[str]:
    return [token for token in _TOKEN_END.split(_DASHED_DATE.sub("_", text)) if token]


def _is_kind(token: str) -> bool:
    """Return whether a token names no patient: a frame, a sequence, a visit, a date."""
    lower = token.casefold()
    word, view = lower.rstrip(_DIGITS), lower.lstrip(_DIGITS)
    number = lower[len(word) :]
    if _DATE.fullmatch(lower) or (word in _KINDS and _DATE.fullmatch(number)):
        return True
    return lower in _KINDS or word in _COUNTED_KINDS or (view in _VIEWS and view != lower)
