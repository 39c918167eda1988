"""Check every scan of a data set, header and contents, and report all that is wrong at once."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cmrgz.data.importers import Case, Found
from cmrgz.data.labels import load_labels, refuse_label_map
from cmrgz.data.scan import load
from cmrgz.errors import CmrgzError, DataError, ResourceError, warn


def check(cases: Sequence[Case], progress: Callable[[int], None] | None = None) -> list[CmrgzError]:
    """Return what is wrong with the scans and their label maps, one error per bad file; one scan in memory at a time.

    Warns of scans that can be used but are unusual, and where scans differ in their number of frames.

    Args:
        cases: The scans.
        progress: Called with the number of scans done.
    """
    bad: list[CmrgzError] = []
    frames: set[int] = set()
    for done, case in enumerate(cases, 1):
        try:
            frames.add(_check(case))
        # Faults of the machine too: whoever checks a data set wants to see all of them, and not the first.
        except (DataError, ResourceError) as error:
            bad.append(error)
        if progress is not None:
            progress(done)
    if len(frames) > 1:
        warn("dims", "data set", "scans differ in their number of frames", f"{min(frames)} .. {max(frames)}")
    return bad


def _check(case: Case) -> int:
    """Read a scan with its label map, or all of it that is in a bank, and return the number of its frames."""
    if case.banked is not None:
        case.banked.stored.check()
        return int(case.banked.record["shape"][0])
    scan = load(case.image, axes=case.axes)
    refuse_label_map(scan, case)
    load_labels(case, scan)
    return scan.shape[0]


def describe(cases: Sequence[Case]) -> dict[str, dict[str, int]]:
    """Return what is known of cases beside their voxels: name -> value -> how many cases; nothing of what none says."""
    names = {"group": "groups", "sex": "sex", "vendor": "vendors", "split": "splits"}
    counts = {shown: Counter(getattr(case, name) for case in cases) for name, shown in names.items()}
    counts |= {"order of labels": Counter(str(case.order) for case in cases if case.label_maps)}
    said = {name: {value: count[value] for value in sorted(count, key=str) if value} for name, count in counts.items()}
    phases = {name.upper(): sum(getattr(case, name) is not None for case in cases) for name in ("ed", "es")}
    said["phases known"] = {name: count for name, count in phases.items() if count}
    volumes = {name.upper(): sum(getattr(case, name) is not None for case in cases) for name in ("ef", "edv")}
    said["volumes known"] = {name: count for name, count in volumes.items() if count}
    said["masks"] = {"given": count} if (count := sum(case.mask is not None for case in cases)) else {}
    return {name: values for name, values in said.items() if values}


def left_out(found: Found) -> list[dict[str, Any]]:
    """Return what was left out of a data set and why: for each reason the first file, and how many more."""
    groups: dict[str, list[Path]] = {}
    for path, why in found.left_out.items():
        groups.setdefault(why, []).append(path)
    rows = []
    for why, paths in groups.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        rows.append({"path": f"{paths[0]}{more}", "count": len(paths), "why": why})
    return rows
