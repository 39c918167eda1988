"""Phantom folders: a data set by itself, with label maps, truth and manifest; and the cache of built-in subjects."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cmrgz.data.contents import BUILT_IN
from cmrgz.data.importers import Case
from cmrgz.data.importers.case import make_case
from cmrgz.data.phantom.kinematics import contraction
from cmrgz.data.phantom.processes import Progress, in_processes
from cmrgz.data.phantom.render import Array, Labels, Phantom, label_truth
from cmrgz.data.phantom.subject import sample_subject
from cmrgz.data.scan import Scan, save
from cmrgz.durable import atomic_write, exists, make_directory, require_writable
from cmrgz.errors import ResourceError, UsageError
from cmrgz.records import plain

Source = Phantom | Callable[[], Phantom]
"""A subject, or what makes it: a process that renders it makes it itself."""

IMAGE, LABELS, TRUTH, MANIFEST = "cine.nii.gz", "labels.nii.gz", "truth.json", "manifest.csv"
RENDERING = 1
"""Raise it with any change of the rendered bits: the cache is keyed by it."""


def name_of(seed: int) -> str:
    """Return the subject's name, `sub-0007`."""
    return f"sub-{seed:04d}"


def middle(heights: Array, slices: int | None) -> Array:
    """Return the `slices` middle ones of the slice heights; all when None."""
    if slices is None:
        return heights
    if not 1 <= slices <= len(heights):
        raise UsageError("range", "slices", f"must be 1 .. {len(heights)} for this subject, got {slices}")
    start = (len(heights) - slices + 1) // 2
    return heights[start : start + slices]


def write_subject(
    folder: Path, phantom: Phantom, phases: int = 12, slices: int | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Render a subject into `cine.nii.gz` and `labels.nii.gz`, and return its truth record.

    Args:
        folder: Where to write; its name is the subject's.
        phantom: The subject.
        phases: Frames per cycle.
        slices: Only so many middle slices; all when None.
        overwrite: Replace files that are there.

    Returns:
        The record of `truth.json`: how it was rendered, `labels` (disc summation over the rendered label maps),
        `continuum` (quadrature) and `request` (what was drawn).

    Raises:
        UsageError: `exists` or `range`.
        ResourceError: The files cannot be written.
    """
    labels, heights = _render(folder, phantom, phases, slices, overwrite)
    s = phantom.subject
    # Of the frames that are rendered: with few phases it misses the smallest volume, as in a scan.
    es = int(np.argmax(contraction(np.arange(phases) / phases, s.hr)))
    record = {
        "id": folder.name,
        "seed": s.seed,
        "group": s.group,
        "sex": s.sex,
        "bmi": s.bmi,
        "phases": phases,
        "spacing": phantom.spacing,
        "dz": phantom.dz,
        "slices": heights.tolist(),
        "ed_frame": 0,
        "es_frame": es,
        "labels": plain(label_truth(labels, phantom.spacing, phantom.dz, es)),
        "continuum": phantom.truth(),
        "request": {k: v for k, v in asdict(s).items() if k != "seed"},
    }
    return record


def _render(folder: Path, phantom: Phantom, phases: int, slices: int | None, overwrite: bool) -> tuple[Labels, Array]:
    """Write both files of a subject, the label map last: where it is, the subject is whole."""
    if not overwrite and exists(folder):  # told before the rendering, not after it
        raise UsageError("exists", str(folder), "is there already", hint="add --overwrite")
    make_directory(folder, 0o700)
    heights = middle(phantom.heights(), slices)
    images, labels = phantom.cine(phases, heights)
    sp = phantom.spacing
    shape = len(images), len(heights), phantom.size, phantom.size
    scan = Scan.blank(shape, (phantom.dz, sp, sp), frame_time=60.0 / phantom.subject.hr / phases)
    # int16, which every program reads; older ones know no uint16.
    save(folder / IMAGE, scan, np.minimum(images, np.iinfo(np.int16).max).astype(np.int16), overwrite=overwrite)
    save(folder / LABELS, scan, labels, overwrite=overwrite)
    return labels, heights


@dataclass(frozen=True)
class _Rendering:
    """How subjects are rendered into a folder; called with each of them, by any process."""

    out: Path
    phases: int
    slices: int | None
    overwrite: bool

    def __call__(self, source: Source) -> dict[str, Any]:
        phantom = source if isinstance(source, Phantom) else source()
        folder = self.out / name_of(phantom.subject.seed)
        return write_subject(folder, phantom, self.phases, self.slices, overwrite=self.overwrite)


def write_dataset(
    out: Path,
    phantoms: Iterable[Source],
    phases: int = 12,
    slices: int | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    workers: int = 1,
) -> list[dict[str, Any]]:
    """Render subjects into a folder that is a data set by itself, and return their truth records.

    Writes `sub-XXXX/{cine,labels}.nii.gz`, then `truth.json` and `manifest.csv` (image, subject, label,
    group, sex, ef, edv; the last two of the continuum).

    Args:
        out: The folder.
        phantoms: The subjects, or functions that make them and that can be sent to a process.
        phases: Frames per cycle.
        slices: Only so many middle slices of each; all when None.
        overwrite: Replace what is there.
        progress: Called with the number of subjects done.
        workers: Processes that render; the files are the same. More than one import the program's main module anew.

    Raises:
        UsageError: `exists`: a manifest or a subject's folder is there already; `name` or `range`.
        ResourceError: The folder cannot be written.
    """
    if not overwrite and exists(out / MANIFEST):
        raise UsageError("exists", str(out / MANIFEST), "is there already", hint="add --overwrite")
    require_writable(out)
    records = in_processes(_Rendering(out, phases, slices, overwrite), phantoms, workers, progress)
    atomic_write(out / TRUTH, json.dumps(records, indent=1, allow_nan=False).encode(), overwrite=overwrite)
    atomic_write(out / MANIFEST, _manifest(records), overwrite=overwrite)
    return records


def _manifest(records: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "subject", "label", "group", "sex", "ef", "edv"])
    for r in records:
        volumes = [f"{r['continuum']['LVEF']:.4f}", f"{r['continuum']['LVEDV']:.2f}"]
        writer.writerow([f"{r['id']}/{IMAGE}", r["id"], f"{r['id']}/{LABELS}", r["group"], r["sex"], *volumes])
    return text.getvalue().encode()


# ---------------------------------------------------------------------- cache
def cache_directory() -> Path:
    """Return where built-in data lies: `CMRGZ_CACHE`, else `cmrgz` in the user's cache directory.

    Raises:
        ResourceError: `io`: there is no home directory to put it in.
    """
    if named := os.environ.get("CMRGZ_CACHE"):
        return Path(named)
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise ResourceError("io", "CMRGZ_CACHE", "there is no home directory for a cache", hint="set it") from None
    return Path(base) / "cmrgz"


@dataclass(frozen=True)
class _Caching:
    """How subjects are rendered into the cache; called with the seed of each, by any process."""

    root: Path
    size: int
    spacing: float
    phases: int

    def __call__(self, seed: int) -> None:
        phantom = Phantom(seed, size=self.size, spacing=self.spacing, nsub=1, fit_rv=False)
        _render(self.root / name_of(seed), phantom, self.phases, None, overwrite=True)


def cached_subjects(
    n: int, seed: int, size: int, spacing: float, phases: int, progress: Progress | None = None, workers: int = 1
) -> list[Case]:
    """Return `n` lite subjects of the cache; those that are not there are rendered first.

    See `cmrgz.data.cases.builtin`. Two processes may fill one cache: they write the same bytes.
    """
    if n < 1:
        raise UsageError("range", "subjects", f"must be 1 or more, got {n}")
    # All that the bits depend on is in the name, so that no call ever gets what another one rendered.
    root = cache_directory() / "phantom" / f"v{RENDERING}-{size}px-{spacing:g}mm-{phases}ph"
    seeds = range(seed, seed + n)
    missing = [k for k in seeds if not exists(root / name_of(k) / LABELS)]
    tell = progress or (lambda done: None)
    for done in range(1, n - len(missing) + 1):
        tell(done)
    in_processes(_Caching(root, size, spacing, phases), missing, workers, lambda done: tell(n - len(missing) + done))
    return [_case(root, k) for k in seeds]


def _case(root: Path, seed: int) -> Case:
    folder, subject = root / name_of(seed), sample_subject(seed)
    case = make_case(root, folder / IMAGE, folder.name, folder / LABELS, subject.group, told_by=BUILT_IN)
    return replace(case, sex=subject.sex, ef=subject.ef, edv=subject.edv)
