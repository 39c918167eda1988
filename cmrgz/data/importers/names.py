"""Layouts that the names of files tell: which file is a scan, which belongs to one, and which is left out."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

LONG_AXIS = "is a long-axis view"
FRAME = "is one frame of a cine that is there"
LABEL = "is a label map that no scan takes"
UNKNOWN = "is not named as this layout names its files"


def tail(pattern: str) -> re.Pattern[str]:
    """Return a pattern of how the path of a NIfTI file ends."""
    return re.compile(rf"(?:^|/){pattern}\.nii(?:\.gz)?$", re.IGNORECASE)


def match(pattern: re.Pattern[str], path: Path) -> re.Match[str] | None:
    """Return how the absolute path of a file matches."""
    # Of the absolute path: a folder within the data set, named alone, gives the same cases.
    return pattern.search(path.absolute().as_posix())


@dataclass(frozen=True)
class Sorted:
    """Files by what their names say.

    Attributes:
        images: The scans, with what their names say.
        left_out: The others, and why.
    """

    images: dict[Path, re.Match[str]]
    left_out: dict[Path, str]


def sort_out(files: Iterable[Path], image: re.Pattern[str], others: Mapping[str, str]) -> Sorted:
    """Sort files by their names.

    Args:
        files: The NIfTI files of a data set.
        image: How the path of a scan ends.
        others: How those of other files end, and why they are left out.
    """
    images: dict[Path, re.Match[str]] = {}
    left: dict[Path, str] = {}
    reasons = [(tail(pattern), why) for pattern, why in others.items()]
    for path in files:
        if found := match(image, path):
            images[path] = found
        else:
            left[path] = next((why for pattern, why in reasons if match(pattern, path)), UNKNOWN)
    return Sorted(images, left)
