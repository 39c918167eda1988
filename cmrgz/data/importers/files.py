"""Which files there are: below a folder, or matched by a pattern."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path, PurePath

SUFFIXES = (".nii.gz", ".nii")
LINKED = "is a link to a folder that is read already"
UNREADABLE = "may not be read"


def below(root: Path) -> tuple[list[Path], dict[Path, str]]:
    """Return the files below a folder, sorted, and the folders that were not entered and why.

    Links are followed; a folder is entered once however many names it has, by its own name if that lies below `root`.
    What is hidden is left out.
    """
    files: list[Path] = []
    left: dict[Path, str] = {}
    seen: set[tuple[int, int]] = set()
    links = [root]
    while links:
        link = links.pop(0)
        if _identity(link) in seen:
            left[link] = LINKED
        else:
            links += _walk(link, files, left, seen)
    return sorted(files), left


def _walk(root: Path, files: list[Path], left: dict[Path, str], seen: set[tuple[int, int]]) -> list[Path]:
    """Add what lies below `root` itself, and return the links to folders."""
    links: list[Path] = []

    def refused(error: OSError) -> None:
        left[Path(error.filename)] = UNREADABLE

    for folder, inner, names in os.walk(root, onerror=refused):
        seen.add(_identity(Path(folder)))
        shown = sorted(name for name in inner if not name.startswith("."))
        links += [Path(folder, name) for name in shown if os.path.islink(os.path.join(folder, name))]
        inner[:] = shown  # links to folders are listed but not entered
        files += [Path(folder, name) for name in names if not name.startswith(".")]
    return links


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def is_pattern(path: Path) -> bool:
    """Return whether a path is a pattern such as `scans/*.nii.gz`."""
    return not path.exists() and glob.has_magic(str(path))


def matched(pattern: Path) -> tuple[Path, list[Path]]:
    """Return the folder that a pattern starts in, and the files that it matches or that lie below what it matches."""
    fixed: list[str] = []
    for part in pattern.parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    found = [Path(name) for name in glob.glob(str(pattern), recursive=True)]
    files = {file for path in found for file in (below(path)[0] if path.is_dir() else [path])}
    return Path(*fixed), sorted(files)


def beside(files: Iterable[Path]) -> list[Path]:
    """Return the files in the folders of files, sorted."""
    folders = {file.parent for file in files}
    return sorted(path for folder in folders for path in folder.iterdir() if not path.name.startswith("."))


def is_scan(path: Path) -> bool:
    """Return whether the name is that of a scan; hidden files are none."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def stem(path: PurePath) -> str:
    """Return the name without `.nii` or `.nii.gz`."""
    name = path.name
    length = next((len(s) for s in SUFFIXES if name.lower().endswith(s)), 0)
    return name[: len(name) - length]
