"""The layouts of data sets that are known by name: a new one is a module and a row."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cmrgz.data.importers import acdc, bids, emidec, folders, mnms, nnunet, ukbb
from cmrgz.data.importers.case import Found
from cmrgz.data.importers.names import UNKNOWN


def _nowhere(folder: Path) -> list[Path]:
    del folder
    return []


@dataclass(frozen=True)
class Layout:
    """A way in which scans are laid out.

    Attributes:
        name: What it is called.
        what: How it looks.
        claims: Whether a file shows by its path that its data set is laid out so.
        read: The cases of a folder with these NIfTI files.
        beside: Other folders with files that belong to scans in a folder.
    """

    name: str
    what: str
    claims: Callable[[Path], bool]
    read: Callable[[Path, Iterable[Path]], Found]
    beside: Callable[[Path], list[Path]] = _nowhere


# Narrow ones before wide ones: a raw scan of nnU-Net is also one of the Decathlon by its name, and a folder all.
LAYOUTS = (
    Layout("ACDC", "patient001/patient001_4d.nii.gz", acdc.claims, acdc.read),
    Layout("M&Ms", "A0S9V9_sa.nii.gz", mnms.claims_first, mnms.read_first),
    Layout("M&Ms-2", "001/001_SA_CINE.nii.gz", mnms.claims_second, mnms.read_second),
    Layout("EMIDEC", "Case_N006/Images/Case_N006.nii.gz", emidec.claims, emidec.read, emidec.contours_of),
    Layout("nnU-Net", "imagesTr/case_0000.nii.gz", nnunet.claims_raw, nnunet.read_raw, nnunet.labels_of),
    Layout("Decathlon", "imagesTr/case.nii.gz", nnunet.claims_plain, nnunet.read_plain, nnunet.labels_of),
    Layout("UK Biobank", "1000001/sa.nii.gz", ukbb.claims, ukbb.read),
    Layout("BIDS", "sub-01/sub-01_cine.nii.gz", bids.claims, bids.read, bids.derivatives_of),
    Layout("folder", "any .nii and .nii.gz", lambda path: True, folders.read),
)
"""The first that claims a file reads them all."""


def layout_of(files: Iterable[Path]) -> Layout:
    """Return the layout of these NIfTI files."""
    files = list(files)
    return next((layout for layout in LAYOUTS if any(map(layout.claims, files))), LAYOUTS[-1])


def read(root: Path, files: Iterable[Path]) -> Found:
    """Return the cases of a folder with these NIfTI files, in the layouts that their names show."""
    files = list(files)
    layout = layout_of(files)
    found = layout.read(root, files)
    cases = [replace(case, told_by=case.told_by or f"the names of {layout.name}") for case in found.cases]
    found = replace(found, cases=cases, layout=layout.name)
    # What one layout does not know another may: data sets lie side by side in a folder.
    rest = [path for path, why in found.left_out.items() if why == UNKNOWN]
    return _joined(found, read(root, rest)) if layout_of(rest) is not LAYOUTS[-1] else found


def _joined(first: Found, second: Found) -> Found:
    """Return what was found in two layouts, the second among what the first did not know."""
    told = {path: why for path, why in first.left_out.items() if why != UNKNOWN}
    return Found(first.cases + second.cases, told | second.left_out, f"{first.layout}, {second.layout}")
