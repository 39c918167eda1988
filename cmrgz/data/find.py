"""The scans of data sets: what lies at a place, read in its layout and checked as a whole."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cmrgz.data.axes import parse as parse_axes
from cmrgz.data.dicom import dicom_files
from cmrgz.data.importers import SOURCES, SURPRISING, Case, Found, is_scan, is_series, read, read_list
from cmrgz.data.importers.bank import refuse as refuse_bank
from cmrgz.data.importers.label_order import LabelOrder
from cmrgz.durable import is_file, is_folder, why_not
from cmrgz.errors import CmrgzError, DataError, warn


def find(
    path: str | os.PathLike[str],
    *,
    subject_column: str = "subject",
    axes: str | None = None,
    labels: str | None = None,
    banks: bool = False,
) -> list[Case]:
    """Return the scans of a data set; see `look`."""
    return look(path, subject_column=subject_column, axes=axes, labels=labels, banks=banks).cases


def look(
    path: str | os.PathLike[str],
    *,
    subject_column: str = "subject",
    axes: str | None = None,
    labels: str | None = None,
    banks: bool = False,
) -> Found:
    """Return the scans of a data set, its layout, and what was left out and why.

    Args:
        path: A scan, a manifest (CSV or JSON lines), a directory in one of the known layouts, or a pattern.
        subject_column: The column of a manifest that names the patient.
        axes: What each axis of the files is, see `cmrgz.data.axes`; None to decide it from each header.
        labels: Which values of label maps mean what, such as `lv=1,myo=2,rv=3`; None for what the layout says.
        banks: Take a bank too: there are clips for training, and no scans.

    Raises:
        UsageError: `range`: `axes` or `labels` say nothing.
        DataError: `not-found`, `empty-dataset`, `duplicate` (a scan listed twice), `leak` (a patient in two splits),
            `wrong-extension`, `bank`, or what a manifest or a bank is refused for.
    """
    path = Path(path)
    if is_folder(path) and path.name.lower().endswith((".nii", ".nii.gz")):
        raise DataError("not-a-file", str(path), "is a folder with the name of a scan")
    found = read(path, subject_column)
    if found is None:
        raise _unreadable(path)
    if not banks:
        refuse_bank(path, found.cases)
    found = _checked(str(path), found)
    return replace(found, cases=told(found.cases, axes, labels))


def look_all(
    sources: Sequence[str | os.PathLike[str]],
    *,
    subject_column: str = "subject",
    axes: str | None = None,
    labels: str | None = None,
    banks: bool = False,
) -> list[Found]:
    """Return the data sets of several sources, in order; scans that are named one by one are one data set.

    Raises:
        UsageError, DataError: As `look`.
    """
    paths = [Path(source) for source in sources]
    scans = [path for path in paths if (is_file(path) and is_scan(path)) or is_series(path)]
    listed: Found | None = None
    if len(scans) > 1:
        where = f"{scans[0]} and others"
        check_unique(where, [os.path.realpath(path) for path in scans], "scan")
        listed = _checked(where, read_list(scans))
        listed = replace(listed, cases=told(listed.cases, axes, labels))
        # The list stands where its first scan stood, so that shares go on matching their sources.
        paths = [path for path in paths if path is scans[0] or path not in scans]

    def one(path: Path) -> Found:
        return look(path, subject_column=subject_column, axes=axes, labels=labels, banks=banks)

    return [listed if listed and path is scans[0] else one(path) for path in paths]


def find_all(
    sources: Sequence[str | os.PathLike[str]],
    *,
    axes: str | None = None,
    labels: str | None = None,
    banks: bool = False,
) -> list[list[Case]]:
    """Return the scans of the data sets of several sources; see `look_all`."""
    return [found.cases for found in look_all(sources, axes=axes, labels=labels, banks=banks)]


def told(cases: Sequence[Case], axes: str | None = None, labels: str | None = None) -> list[Case]:
    """Return cases with the axes and the order of labels that a user tells; see `find`.

    Raises:
        UsageError: `range`.
    """
    axes = parse_axes(axes) if axes else None
    order = LabelOrder.parse(labels) if labels else None
    return [replace(case, axes=axes or case.axes, order=order or case.order) for case in cases]


def _checked(where: str, found: Found) -> Found:
    if not found.cases:
        facts = f"read as: {found.layout}"
        if found.left_out:
            facts += f"; {len(found.left_out)} left out: {next(iter(found.left_out.values()))}"
        raise DataError("empty-dataset", where, "holds no scan (.nii, .nii.gz, DICOM)", facts)
    # Whatever links are called: one scan under two names would weigh double, or stand on two sides.
    check_unique(where, [os.path.realpath(case.image) for case in found.cases], "scan")
    # For its refusal; what it returns is asked for where splits are made.
    prescribed(where, found.cases)
    missed = [path for path, why in found.left_out.items() if why.endswith(SURPRISING)]
    if missed:
        facts = f"{len(missed)} in all" if len(missed) > 1 else ""
        warn("left-out", str(missed[0]), found.left_out[missed[0]], facts, "cmrgz data check lists all")
    return found


def _unreadable(path: Path) -> CmrgzError:
    accepted = "; ".join(SOURCES)
    if (reason := why_not(path, DataError)) is not None:
        return _located(path, reason)
    if is_file(path) and dicom_files([path]):
        return DataError("wrong-extension", str(path), "is one DICOM file", hint="name the folder of its series")
    if is_file(path):
        return DataError("wrong-extension", str(path), "is neither a scan nor a manifest", hint=f"known: {accepted}")
    return DataError("not-a-file", str(path), "is neither a file nor a directory", hint=f"known: {accepted}")


def _located(path: Path, reason: CmrgzError) -> CmrgzError:
    """Say in which folder a name is not there, as of a pattern that matches nothing."""
    if reason.what != "is not there" or not is_folder(path.parent):
        return reason
    return DataError("not-found", str(path), reason.what, f"in {path.parent}")


def check_unique(where: str, keys: Iterable[str], what: str) -> None:
    """Refuse what is listed more than once.

    Raises:
        DataError: `duplicate`.
    """
    count = Counter(keys)
    twice = sum(n > 1 for n in count.values())
    if twice:
        raise DataError("duplicate", where, f"lists a {what} more than once", f"{twice} of {len(count)}")


def prescribed(where: str, cases: Sequence[Case]) -> dict[str, str]:
    """Return subject -> split of those whose data set prescribes one.

    Raises:
        DataError: `leak`.
    """
    of: dict[str, str] = {}
    leaks = {c.subject for c in cases if c.split and of.setdefault(c.subject, c.split) != c.split}
    if leaks:
        raise DataError("leak", where, "puts a patient into two splits", f"{len(leaks)} of {len(of)} patients")
    return of
