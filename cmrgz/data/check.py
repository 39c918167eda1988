"""Check every scan of a data set, header and contents, and report all that is wrong at once."""

from collections.abc import Callable, Sequence

from cmrgz.data.importers import Case
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
            scan = load(case.image, axes=case.axes)
            frames.add(scan.shape[0])
            refuse_label_map(scan, case)
            load_labels(case, scan)
        except (DataError, ResourceError) as error:
            bad.append(error)
        if progress is not None:
            progress(done)
    if len(frames) > 1:
        warn("dims", "data set", "scans differ in their number of frames", f"{min(frames)} .. {max(frames)}")
    return bad
