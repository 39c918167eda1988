"""What to hide of a scan: a pattern, or a mask file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmrgz.data import masks
from cmrgz.data.importers import Case
from cmrgz.data.labels import load_labels
from cmrgz.data.masks import Mask
from cmrgz.data.nifti import read_header
from cmrgz.data.scan import Scan, load_known
from cmrgz.data.window import heart_centre
from cmrgz.errors import UsageError
from cmrgz.output.hashes import sha256_of_array, sha256_of_file

ENDINGS = (".nii", ".nii.gz", ".hdr", ".img")
Label = Literal["hidden", "known"]


@dataclass(frozen=True)
class Hiding:
    """What to hide.

    Attributes:
        what: A pattern, or the path of a mask file.
        seed: Seed of the pattern.
        label: What 1 means in the file.
    """

    what: Mask | Path
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
        if isinstance(self.what, Path):
            return load_known(self.what, scan, self.label)
        centre, label = None, None
        if "heart" in self.what.spec:
            centre = heart_centre(scan.voxels, np.ones(scan.shape, dtype=bool))
        if self.what.pattern == "lesion":
            label = load_labels(case, scan)
        return self.what.draw(scan.shape, seed=self.seed, spacing=scan.spacing, centre=centre, label=label)

    def describe(self, known: NDArray[np.bool_]) -> dict[str, Any]:
        """Return what the sidecar says of a mask: no path, no name."""
        if isinstance(self.what, Path):
            facts = {"file_sha256": sha256_of_file(self.what), "polarity": f"1 in the file means {self.label}"}
        else:
            facts = {"spec": self.what.spec, "polarity": "the ratio is the fraction hidden"}
        return facts | {"hidden_fraction": hidden_fraction(known), "known_sha256": sha256_of_array(known)}


def hidden_fraction(known: NDArray[np.bool_]) -> float:
    """Return the share of voxels that are hidden."""
    return 1 - float(known.mean())
