"""The names of the outputs, checked before any work, and written all or none."""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from cmrgz.data.planes import Cine
from cmrgz.data.scan import Scan, save
from cmrgz.durable import atomic_write, make_directory, remove, remove_stale, require_name, status
from cmrgz.errors import ResourceError, UsageError

NIFTI = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Names:
    """The files that are written for one scan.

    Attributes:
        image: The result, `.nii.gz` or `.nii`; the others are named after it.
        samples: Draws of it.
        keep_samples: Whether each draw is a file.
        preview: Whether there are pictures, and a page.
        moving: Whether there is a cine among them.
        labels: Whether there is a label map.
    """

    image: Path
    samples: int = 1
    keep_samples: bool = False
    preview: bool = False
    moving: bool = False
    labels: bool = False

    @property
    def sidecar(self) -> Path:
        """What the result says of itself."""
        return self._beside(".json")

    @property
    def draws(self) -> range:
        """The numbers of the draws that are files."""
        return range(1, self.samples + 1 if self.keep_samples else 1)

    @property
    def roles(self) -> dict[str, Path]:
        """What is written before the sidecar, by what it is."""
        ending = next(end for end in NIFTI if self.image.name.lower().endswith(end))
        found = {"image": self.image}
        # One sample has no spread; a file of zeros would look like certainty.
        if self.samples > 1:
            found["std"] = self._beside(f"_std{ending}")
        found |= {f"sample{k:02d}": self._beside(f"_sample{k:02d}{ending}") for k in self.draws}
        if self.labels:
            found["labels"] = self._beside(f"_labels{ending}")
        if self.preview:
            found["preview"] = self._beside(".png")
        if self.preview and self.moving:
            found["cine"] = self._beside(".gif")
        if self.preview:
            found["page"] = self._beside(".html")
        return found

    @property
    def every(self) -> list[Path]:
        """All files."""
        return [*self.roles.values(), self.sidecar]

    def _beside(self, end: str) -> Path:
        return self.image.with_name(strip(self.image.name) + end)


def strip(name: str) -> str:
    """Return a name without `.nii`, `.nii.gz`, `.hdr` or `.img`."""
    ending = next((end for end in (*NIFTI, ".hdr", ".img") if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)]


def check(
    outputs: Sequence[Path],
    inputs: Iterable[Path],
    overwrite: bool,
    base: Path | None = None,
    replaced: Collection[Path] = (),
) -> None:
    """Refuse outputs that cannot be written or must not be, before any work; clear what dead runs left.

    Args:
        outputs: All files that are to be written; a folder of theirs that is not there is made when the first is.
        inputs: Files that must not be written.
        overwrite: Whether outputs may be there.
        base: A folder in which folders may be made in folders.
        replaced: Outputs that may be there in any case.

    Raises:
        UsageError: `collision`, `overwrite-input`, `exists`, or `name` for one that is too long.
        ResourceError: `io` or `permission`.
    """
    for folder in dict.fromkeys(path.parent for path in outputs):
        _check_folder(_nearest(folder, base))
    seen: set[str] = set()
    for path in outputs:
        require_name(path)
        # Names that differ only in capitals are one file on the file systems of macOS and Windows.
        twin = os.path.abspath(path).casefold()
        if twin in seen:
            hint = "rename an input, or give each its own --output"
            raise UsageError("collision", str(path), "would be the output of two inputs", hint=hint)
        seen.add(twin)
    _check_there(outputs, inputs, overwrite, replaced)


def _nearest(folder: Path, base: Path | None) -> Path:
    """Return the lowest folder that is there, down to `base`, of one that lies in it."""
    while base is not None and base in folder.parents and not os.path.lexists(folder):
        folder = folder.parent
    return folder


def _check_there(outputs: Sequence[Path], inputs: Iterable[Path], overwrite: bool, replaced: Collection[Path]) -> None:
    taken = {_identity(path) for path in inputs} - {None}
    for path in outputs:
        if _identity(path) in taken:
            raise UsageError("overwrite-input", str(path), "is an input as well", hint="choose another --output")
    for path in outputs:
        if os.path.isdir(path):
            raise UsageError("exists", str(path), "is a folder", hint="choose another --output")
        # `lexists`, since a link that leads nowhere is a name that is taken, too.
        if os.path.lexists(path) and not overwrite and path not in replaced:
            raise UsageError("exists", str(path), "is already there", hint="choose another name, or pass --overwrite")


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another however it is named, None where there is none."""
    found = status(path)
    # Not by name: a link, symbolic or hard, is the input under another one.
    return None if found is None else (found.st_dev, found.st_ino)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that can neither be written to nor made."""
    if os.path.isdir(folder):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ResourceError("permission", str(folder), "cannot be written to", hint="choose another --output")
        remove_stale(folder)
        return
    if os.path.lexists(folder):
        raise ResourceError("io", str(folder), "is not a folder", hint="choose another --output")
    if not os.path.isdir(folder.parent):
        raise ResourceError("io", str(folder), "cannot be made: its parent is not there", hint="make it first")
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise ResourceError("permission", str(folder), "cannot be made", hint="choose another --output")


@dataclass
class Together:
    """Files that belong together: if one of them cannot be written, those before it are taken back.

    A file that was there and is replaced stays replaced.

    Attributes:
        overwrite: Replace files that are there.
    """

    overwrite: bool = False
    _new: list[Path] = field(default_factory=list)

    def nifti(self, path: Path, scan: Scan, voxels: Cine, hidden: float) -> None:
        """Write voxels on the grid of a scan; see `scan.save`."""
        self._claim(path)
        save(path, scan, voxels, hidden_fraction=hidden, overwrite=self.overwrite)

    def raw(self, path: Path, data: bytes) -> None:
        """Write bytes."""
        self._claim(path)
        atomic_write(path, data, overwrite=self.overwrite)

    def _claim(self, path: Path) -> None:
        """Note a file that is ours to take back."""
        make_directory(path.parent)
        if not os.path.lexists(path):
            self._new.append(path)

    def __enter__(self) -> "Together":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        foreign = error.where if isinstance(error, UsageError) and error.code == "exists" else None
        for path in self._new:
            if os.fspath(path) != foreign:  # that one another process put there meanwhile
                remove(path)
