"""One scan of a data set, and what was found at a place."""

import os
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from cmrgz.data.banked import Banked
from cmrgz.data.importers.label_order import ACDC, LabelOrder
from cmrgz.data.importers.patients import data_set


@dataclass(frozen=True)
class Case:
    """One scan of a data set.

    Attributes:
        id: Keyed hash of subject and name: safe to store, the same wherever the data set lies.
        subject: The patient: never in two splits. Never stored, only its hash.
        image: The scan.
        label: Its label map, where there is one.
        group: Diagnosis or the like, where it is known.
        split: The split that the data set itself prescribes.
        told_by: By what the patient was found: `file names`, `folders`, `BIDS names`, `the manifest`.
        dataset: What the data set is called: patients of other data sets may have the same names.
        dataset_named: A manifest says so, and its patients are none of other data sets.
        order: Which values of its label maps mean what.
        phase_labels: Label maps of single frames, and which frames of the scan they are, from 0.
        axes: What each axis on disk is, see `cmrgz.data.axes`; None to decide it from the header.
        sex: F or M, where it is known.
        vendor: Who made the scanner, where it is known.
        ed: Number of the end-diastolic frame, from 0, where it is known.
        es: Number of the end-systolic frame, from 0, where it is known.
        loose_labels: Label maps of single frames of which no file says which they are.
        mask: What to hide of it, where the data set says so.
        ef: Ejection fraction of the left ventricle as the data set has it, where it does; see `cmrgz.data.told`.
        edv: End-diastolic volume of the left ventricle, likewise.
        banked: Its clip where it is in a bank; no file has the name of its image then.
    """

    id: str
    subject: str
    image: Path
    label: Path | None = None
    group: str | None = None
    split: str | None = None
    told_by: str = ""
    dataset: str = ""
    dataset_named: bool = False
    order: LabelOrder = ACDC
    phase_labels: tuple[tuple[int, Path], ...] = ()
    axes: str | None = None
    sex: str | None = None
    vendor: str | None = None
    ed: int | None = None
    es: int | None = None
    loose_labels: tuple[Path, ...] = ()
    mask: Path | None = None
    ef: float | None = None
    edv: float | None = None
    banked: Banked | None = field(default=None, compare=False, repr=False)

    @property
    def label_files(self) -> tuple[Path, ...]:
        """All label maps that are known to lie at frames of the scan."""
        return (*((self.label,) if self.label else ()), *(path for _, path in self.phase_labels))

    @property
    def label_maps(self) -> tuple[Path, ...]:
        """All label maps, also those of frames that are not known."""
        return (*self.label_files, *self.loose_labels)

    @property
    def subject_id(self) -> str:
        """Keyed hash of the subject, safe to store."""
        return keyed_hash("subject", self.subject)


@dataclass(frozen=True)
class Found:
    """What was found at a place.

    Attributes:
        cases: The scans.
        left_out: Files that look like scans and are not taken for any, and why.
        layout: The name of the layout that it was read as.
    """

    cases: list[Case]
    left_out: dict[Path, str] = field(default_factory=dict)
    layout: str = ""


def keyed_hash(*text: str) -> str:
    """Return 16 hex digits that do not show `text`.

    The key is public unless `CMRGZ_ID_KEY` sets one: then nobody without it can try out patient numbers.
    """
    # blake2b takes a key of 64 bytes at most.
    key = os.environ.get("CMRGZ_ID_KEY", "cmrgz").encode("utf-8", "surrogateescape")[:64]
    return blake2b("\0".join(text).encode("utf-8", "surrogateescape"), key=key, digest_size=8).hexdigest()


def make_case(
    root: Path,
    image: Path,
    subject: str,
    label: Path | None = None,
    group: str | None = None,
    split: str | None = None,
    told_by: str = "",
) -> Case:
    """Return the case of `image` in the data set at `root`."""
    # One id on every system.
    name = os.path.relpath(image, root).replace(os.sep, "/")
    key = keyed_hash("case", subject, name)
    return Case(key, subject, image, label, group, split, told_by, data_set(root.absolute()))
