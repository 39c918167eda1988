"""What to hide of a scan: a pattern, or a mask file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmrgz.data import masks
from cmrgz.data.axes import arranged
from cmrgz.data.hashes import sha256_of_array, sha256_of_file
from cmrgz.data.importers import Case
from cmrgz.data.labels import load_labels
from cmrgz.data.masks import Mask
from cmrgz.data.nifti.reader import read, read_header
from cmrgz.data.scan import MASK_QUIET, Scan, load_known
from cmrgz.data.window import heart_centre
from cmrgz.errors import DataError, UsageError, warn

ENDINGS = (".nii", ".nii.gz", ".hdr", ".img")
Label = Literal["hidden", "known"]


@dataclass(frozen=True)
class Hiding:
    """What to hide.

    Attributes:
        what: A pattern, the path of a mask file, or None to hide nothing.
        seed: Seed of the pattern.
        label: What 1 means in the file.
    """

    what: Mask | Path | None
    seed: int = 0
    label: Label = "hidden"

    @classmethod
    def of(cls, text: str, seed: int = 0, label: Label | None = None) -> "Hiding":
        """Read what `--mask` and `--mask-label` say; a name that ends as a NIfTI file does is a file.

        Raises:
            UsageError: As `masks.parse`, or `usage` for a label that a pattern does not take.
            DataError: The file is not there or is refused.
        """
        if text.lower().endswith(ENDINGS):
            # A mask file that is not there or is none is refused before any scan is read.
            read_header(text)
            return cls(Path(text), seed, label or "hidden")
        mask = masks.parse(text)
        if label is not None:
            hint = "a pattern says how much is hidden"
            raise UsageError("usage", "option --mask-label", "is for a mask file", hint=hint)
        return cls(mask, seed)

    def known(self, scan: Scan, case: Case) -> NDArray[np.bool_]:
        """Return what is known of a scan, (t, z, y, x) bool.

        Raises:
            DataError: The mask does not fit the scan.
            UsageError: The pattern cannot hide what the scan has not.
        """
        if self.what is None:
            return np.ones(scan.shape, dtype=bool)
        if isinstance(self.what, Path):
            return load_known(self.what, scan, self.label)
        centre, label = None, None
        # Labels are read, or the heart is guessed, only for what asks for it: a guess is told as a warning.
        if "heart" in self.what.spec:
            centre = _heart(scan, case)
        if self.what.pattern == "lesion":
            label = load_labels(case, scan)
        return self.what.draw(scan.shape, seed=self.seed, spacing=scan.spacing, centre=centre, label=label)

    @property
    def told(self) -> dict[str, Any]:
        """What the sidecar says of a mask, whatever the scan: no path, no name."""
        if self.what is None:
            return {"spec": None, "polarity": "nothing of the scan is hidden"}
        if isinstance(self.what, Path):
            return {"file_sha256": sha256_of_file(self.what), "polarity": f"1 in the file means {self.label}"}
        return {"spec": self.what.spec, "polarity": "the ratio is the fraction hidden"}

    def describe(self, known: NDArray[np.bool_]) -> dict[str, Any]:
        """Return what the sidecar says of a mask and what it hides of a scan."""
        return self.told | {"hidden_fraction": hidden_fraction(known), "known_sha256": sha256_of_array(known)}


NOTHING = Hiding(None)
"""Hides nothing."""


def _heart(scan: Scan, case: Case) -> tuple[float, float]:
    """Return the (row, col) of the heart: of its label maps, or guessed, which is told.

    Raises:
        DataError: A label map is refused, see `load_labels`.
    """
    labels = load_labels(case, scan)
    seen = np.zeros(scan.shape[2:], dtype=bool) if labels is None else (labels != 0).any(axis=(0, 1))
    for path in case.loose_labels:
        label = arranged(read(path, quiet=MASK_QUIET).stored, scan.geometry.axes)
        if label.shape[2:] != seen.shape:
            facts = f"{label.shape[2:]}, scan {seen.shape}"
            raise DataError("shape-mismatch", str(path), "the label map and the scan differ in shape", facts)
        seen |= (label != 0).any(axis=(0, 1))
    if seen.any():
        rows, columns = np.nonzero(seen)
        return float(rows.mean()), float(columns.mean())
    what = "has no label map: where its heart is was guessed from what moves"
    warn("guessed-heart", str(case.image), what, "rough, 20 mm off is usual", "put a label map beside it")
    # All voxels count here, hidden ones too: where a mask lies is chosen by the user, who has the whole scan.
    return heart_centre(scan.planes, np.broadcast_to(np.True_, scan.shape))


def hidden_fraction(known: NDArray[np.bool_]) -> float:
    """Return the share of voxels that are hidden."""
    return 1 - float(known.mean())
