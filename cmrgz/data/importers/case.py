"""One scan of a data set."""

import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePath

from cmrgz.data.importers.label_order import ACDC, LabelOrder

SUFFIXES = (".nii.gz", ".nii")


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

    @property
    def label_files(self) -> tuple[Path, ...]:
        """All label maps."""
        return (*((self.label,) if self.label else ()), *(path for _, path in self.phase_labels))

    @property
    def subject_id(self) -> str:
        """Keyed hash of the subject, safe to store."""
        return keyed_hash("subject", self.subject)


def keyed_hash(*text: str) -> str:
    """Return 16 hex digits that do not show `text`.

    The key is public unless `CMRGZ_ID_KEY` sets one: then nobody without it can try out patient numbers.
    """
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
    name = os.path.relpath(image, root).replace(os.sep, "/")
    return Case(keyed_hash("case", subject, name), subject, image, label, group, split, told_by)


def is_scan(path: Path) -> bool:
    """Return whether the name is that of a scan; hidden files are none."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def stem(path: PurePath) -> str:
    """Return the name without `.nii` or `.nii.gz`."""
    name = path.name
    length = next((len(s) for s in SUFFIXES if name.lower().endswith(s)), 0)
    return name[: len(name) - length]
