"""Which files there are: below a folder, or matched by a pattern."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path, PurePath

from cmrgz.durable import exists, is_folder, matching, status

SUFFIXES = (".nii.gz", ".nii")
LINKED = "is a link to a folder that is read already"
UNREADABLE = "may not be read"

Identity = tuple[int, int]


def below(root: Path) -> tuple[list[Path], dict[Path, str]]:
    """Return the files below a folder, sorted, and the folders that were not entered and why.

    Links are followed; a folder is entered once however many names it has, by its own name if that lies below `root`.
    What is hidden is left out.
    """
    files: list[Path] = []
    left: dict[Path, str] = {}
    seen: set[Identity | None] = set()
    links = [root]
    while links:
        link = links.pop(0)
        at = _identity(link)
        if at is None:
            left[link] = UNREADABLE
        elif at in seen:
            left[link] = LINKED
        else:
            links += _walk(link, files, left, seen)
    return sorted(files), left


def _walk(root: Path, files: list[Path], left: dict[Path, str], seen: set[Identity | None]) -> list[Path]:
    """Add what lies below `root` itself, and return the links to folders."""
    links: list[Path] = []

    # os.walk passes over what it may not enter without a word.
    def refused(error: OSError) -> None:
        left[Path(error.filename)] = UNREADABLE

    for folder, inner, names in os.walk(root, onerror=refused):
        seen.add(_identity(Path(folder)))
        shown = sorted(name for name in inner if not name.startswith("."))
        links += [Path(folder, name) for name in shown if os.path.islink(os.path.join(folder, name))]
        inner[:] = shown  # links to folders are listed but not entered
        files += [Path(folder, name) for name in names if not name.startswith(".")]
    return links


def _identity(folder: Path) -> Identity | None:
    # By what it is and not by its name: a link in a circle has no end of names.
    found = status(folder)
    return (found.st_dev, found.st_ino) if found else None


def is_pattern(path: Path) -> bool:
    """Return whether a path is a pattern such as `scans/*.nii.gz`."""
    return not exists(path) and glob.has_magic(str(path))


def matched(pattern: Path) -> tuple[Path, list[Path], dict[Path, str]]:
    """Return the folder that a pattern starts in, its files or those below what it matches, and what was left out."""
    fixed: list[str] = []
    for part in pattern.parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    found: set[Path] = set()
    left: dict[Path, str] = {}
    for path in matching("", str(pattern)):
        inside, refused = below(path) if is_folder(path) else ([path], {})
        found |= set(inside)
        left |= refused
    return Path(*fixed), sorted(found), left


def beside(files: Iterable[Path]) -> list[Path]:
    """Return the files in the folders of files, sorted."""
    folders = {file.parent for file in files}
    return sorted(path for folder in folders for path in matching(folder, "*"))


def is_scan(path: Path) -> bool:
    """Return whether the name is that of a scan; hidden files are none."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def stem(path: PurePath) -> str:
    """Return the name without `.nii` or `.nii.gz`."""
    name = path.name
    length = next((len(s) for s in SUFFIXES if name.lower().endswith(s)), 0)
    return name[: len(name) - length]
