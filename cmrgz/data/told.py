"""What a data set says of its patients, as models may be told it: see `cmrgz.vocabulary`.

Group and sex come from manifests and the tables and files of layouts. Ejection fraction and volume come from there too,
or else from label maps of the ends of the cycle, as sums of discs: of ED and ES where the data set says which frames
these are, and of a whole cine that is labelled in all frames.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.importers import Case
from cmrgz.data.importers.tables import sex, word
from cmrgz.data.labels import LV, load_labels
from cmrgz.data.scan import load
from cmrgz.errors import DataError
from cmrgz.vocabulary import NUMBERS, Value

Told = dict[str, Value | None]
"""Condition -> what is said of a patient, None where nothing is."""


def told(case: Case, names: Sequence[str]) -> Told:
    """Return what is said of the patient of a scan.

    Args:
        case: The scan.
        names: Conditions; what a table does not say of a volume is measured on label maps, which are read.

    Raises:
        DataError: `range` for a number that no heart has; what a scan or a label map is refused for.
    """
    said: Told = {"group": word(case.group), "sex": sex(case.sex), "ef": case.ef, "edv": case.edv}
    if any(said[name] is None for name in names if name in NUMBERS) and case.label_files:
        said |= {name: value for name, value in measured(case).items() if said[name] is None}
    found = {name: said[name] for name in names}
    for name, value in found.items():
        if name in NUMBERS and value is not None:
            _check(case, name, float(value))
    return found


def _check(case: Case, name: str, value: float) -> None:
    number = NUMBERS[name]
    if not number.low <= value <= number.high:
        percent = name == "ef" and number.high < value <= 100
        hint = f"a fraction: write {value / 100:g} for {value:g} %" if percent else ""
        raise DataError("range", str(case.image), f"{name} must be {number}", f"got {value:g}", hint)


def measured(case: Case) -> dict[str, float | None]:
    """Return ejection fraction and end-diastolic volume of the label maps, None where these do not tell."""
    scan = load(case.image, axes=case.axes)
    labels = load_labels(case, scan)
    if labels is None:
        return {"ef": None, "edv": None}
    size: NDArray[np.int64] = (labels == LV).sum((1, 2, 3))
    ed, es = _ends(case, size)
    edv = float(size[ed] * np.prod(scan.spacing)) * 1e-3 if ed is not None else None
    return {"edv": edv, "ef": float(1 - size[es] / size[ed]) if ed is not None and es is not None else None}


def _ends(case: Case, size: NDArray[np.int64]) -> tuple[int | None, int | None]:
    """Return the frames of ED and ES as far as they are known and labelled, of left ventricles of so many voxels."""
    # Where all frames are drawn the volumes themselves tell; what a table calls ED may be another reader's frame.
    if len(size) > 1 and size.all():
        return int(size.argmax()), int(size.argmin())
    labelled = [n if n is not None and n < len(size) and size[n] else None for n in (case.ed, case.es)]
    return labelled[0], labelled[1]


def values_of(told: Iterable[Told], name: str) -> tuple[str, ...]:
    """Return the values of a word that are said of any patient, in order."""
    return tuple(sorted({str(said[name]) for said in told if said.get(name) is not None}))
