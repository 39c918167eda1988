"""Scans -> inpainted scans: what `cmrgz inpaint` does."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmrgz import preview
from cmrgz.data.finer import Finer
from cmrgz.data.hashes import sha256_of_file
from cmrgz.data.importers import Case
from cmrgz.data.labels import warn_of_label_map
from cmrgz.data.nifti.reader import count_frames
from cmrgz.data.planes import Planes
from cmrgz.data.scan import Scan, load
from cmrgz.data.shares import percent
from cmrgz.errors import CmrgzError, DataError, format_line
from cmrgz.model import Model
from cmrgz.plugin import Progress
from cmrgz.scans import pages, sidecar
from cmrgz.scans.choice import Chosen
from cmrgz.scans.context import tell_of_context
from cmrgz.scans.files import Names, Together, check
from cmrgz.scans.hiding import NOTHING, Hiding, Label, hidden_fraction
from cmrgz.scans.refining import END, Refined, check_model, described
from cmrgz.scans.refused import Refused
from cmrgz.scans.resume import Left, left_to_do
from cmrgz.scans.scans import FOLDER, USUAL, places
from cmrgz.tasks import Drawn, inpaint

COMMAND = "cmrgz inpaint"
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to do with each scan.

    Attributes:
        chosen: The model.
        hiding: What to hide; None for the masks that a manifest names.
        refine: The finer grid to draw on; what is hidden is hidden of the scan as it is.
        mask_label: What 1 means in the masks of a manifest.
        samples: Draws from p(x | known); of more than one the mean is the result.
        keep_samples: Write each draw as well.
        antithetic: Draw in pairs of opposite random numbers.
        seed: What is drawn is a function of it and of the place in the scan.
        preview: Write pictures and a page.
        overwrite: Replace outputs that are there.
        skip_existing: Leave out scans whose outputs are there, made in the same way.
        nonfinite: What to do with NaN and infinite voxels.
        orientation: What to do where sform and qform contradict one another.
    """

    chosen: Chosen
    hiding: Hiding | None
    refine: Finer = Finer()
    mask_label: Label = "hidden"
    samples: int = 1
    keep_samples: bool = False
    antithetic: bool = False
    seed: int = 0
    preview: bool = False
    overwrite: bool = False
    skip_existing: bool = False
    nonfinite: Literal["refuse", "zero"] = "refuse"
    orientation: Literal["refuse", "sform"] = "refuse"

    def hiding_of(self, case: Case) -> Hiding:
        """Return what to hide of a scan.

        Raises:
            DataError: `mask-empty`: neither the request nor the scan says, and nothing is refined.
        """
        if self.hiding is not None:
            return self.hiding
        if case.mask is None and self.refine.axes:
            return NOTHING
        if case.mask is None:
            raise DataError("mask-empty", str(case.image), "has no mask", hint="name it in a column mask of a manifest")
        return Hiding(case.mask, self.seed, self.mask_label)

    def facts(self, case: Case) -> dict[str, Any]:
        """Return what a sidecar says of how the result of a scan is made, but for what is known after it."""
        chosen = self.chosen
        return {
            "command": COMMAND,
            "model": {"weights_sha256": chosen.meta.sha256},
            "guide_sha256": chosen.guide_sha256,
            "sampling": dict(chosen.options),
            "condition": chosen.asked.of(0),
            "seed": self.seed,
            "options": {name: getattr(self, name) for name in ("samples", "antithetic", "nonfinite", "orientation")},
            "mask": self.hiding_of(case).told,
            "refine": described(self.refine),
            "input": {"sha256": sha256_of_file(case.image)},
        }


@dataclass(frozen=True)
class Done:
    """An inpainted scan: its files and how much of it was hidden."""

    names: Names
    hidden_fraction: float


def inpaint_scans(
    request: Request,
    found: Sequence[Case],
    output: Path | None = None,
    *,
    done: Callable[[Done], None] = lambda _: None,
    failed: Callable[[CmrgzError], None] = lambda _: None,
    skipped: Callable[[Names], None] = lambda _: None,
    report: Progress | None = None,
) -> list[Done]:
    """Inpaint scans with one model, which is loaded once; what can be refused is refused before.

    Args:
        request: What to do.
        found: The scans.
        output: A folder, or for a single scan a `.nii` or `.nii.gz` file. By default the folder `inpainted`, or for a
            single scan `NAME_inpainted.nii.gz` in the working directory.
        done: Told each result when its files are whole.
        failed: Told why a scan of several was refused; the others go on.
        skipped: Told each result that is there already, with `skip_existing`.
        report: Told the items done of each scan.

    Returns:
        What was written, in the order of the scans.

    Raises:
        CmrgzError: What a single scan was refused for; what concerns all of them; or, where every one was refused, a
            line that says so.
    """
    check_model(request.refine, request.chosen.meta)
    refused = Refused(COMMAND, len(found), failed)
    where = zip(found, places(found, output, END if request.refine.axes else USUAL), strict=True)
    jobs = [(case, names) for case, place in where if (names := _named(request, case, place, refused))]
    left = left_to_do(jobs, request.facts, request.overwrite) if request.skip_existing else Left(jobs, [], [])
    written = [path for _, names in left.jobs for path in names.every]
    # Of all scans, also of those that are left out: no result may fall on any of them.
    inputs = [path for case in found for path in _inputs(request, case)]
    check(written, inputs, request.overwrite, output or Path(FOLDER), left.files)
    for _, names in left.skipped:
        skipped(names)
    model: Model | None = None
    results = []
    for job in left.jobs:
        case, names = job
        try:
            task = _Task.read(request, case, names, request.overwrite or job in left.replaced)
        except CmrgzError as error:
            refused.add(error, case)
            continue
        # Loaded once, and only when a scan has been read: a batch of bad scans needs no model.
        model = model or request.chosen.open()
        try:
            results.append(task.run(model, report))
        except CmrgzError as error:
            refused.add(error, case)
            continue
        done(results[-1])
    if not results and not left.skipped:
        raise refused.all()
    return results


def _named(request: Request, case: Case, place: Path, refused: Refused) -> Names | None:
    """Return what to write for a scan whose header is good, else None."""
    try:
        # The header is enough: whether there is a cine decides the names, which are checked before any voxel is read.
        frames = count_frames(case.image, orientation=request.orientation, axes=case.axes)
    except DataError as error:
        refused.add(error, case)
        return None
    return Names(place, request.samples, request.keep_samples, request.preview, frames > 1)


def _inputs(request: Request, case: Case) -> list[Path]:
    """Return the files of a scan that must not be written."""
    mask = request.hiding.what if request.hiding is not None else case.mask
    return [case.image, *case.label_maps, *([mask] if isinstance(mask, Path) else [])]


@dataclass(frozen=True)
class _Task:
    """One scan, read and masked, for which no model is needed yet."""

    request: Request
    names: Names
    overwrite: bool
    scan: Scan
    known: NDArray[np.bool_]
    facts: dict[str, Any]
    start: float
    note: str

    @classmethod
    def read(cls, request: Request, case: Case, names: Names, overwrite: bool) -> "_Task":
        start = time.monotonic()
        scan = load(case.image, nonfinite=request.nonfinite, orientation=request.orientation, axes=case.axes)
        warn_of_label_map(scan, case)
        hiding = request.hiding_of(case)
        known, note = hiding.known(scan, case), ""
        facts: dict[str, Any] = {"refine": None, "input": {"sha256": sha256_of_file(case.image)}}
        if request.refine.axes:
            # After the mask, which is of the scan as it is: mask files fit, and no hidden voxel decides what the grid
            # is.
            refined = Refined.of(request.refine, scan, known)
            scan, known, note = refined.scan, refined.known, refined.told
            facts["refine"] = refined.facts
            LOG.info(format_line("info", "refined", str(case.image), note))
        mask = hiding.describe(known)
        what = f"{percent(mask['hidden_fraction'], 1)} of the voxels are hidden"
        LOG.info(format_line("info", "hidden", str(case.image), what, mask["polarity"]))
        tell_of_context(request.chosen.meta, scan.shape)
        return cls(request, names, overwrite, scan, known, facts | {"mask": mask}, start, note)

    def run(self, model: Model, report: Progress | None) -> Done:
        """Draw and write all files, the sidecar last."""
        request, hidden = self.request, hidden_fraction(self.known)
        setting = request.chosen.setting(request.seed, request.samples, antithetic=request.antithetic)
        drawn = inpaint(model, self.scan, self.known, setting, report)
        plain = Scan(self.scan.stored, 1.0, 0.0, self.scan.geometry)  # a spread has no offset
        # Made before the first file is written: where a picture fails there is nothing to take back.
        pictures = self._pictures(drawn)
        with Together(self.overwrite) as files:
            for role, path in self.names.roles.items():
                if role in pictures:
                    files.raw(path, pictures[role])
                elif role == "std":
                    files.nifti(path, plain, drawn.std_planes, hidden)
                else:
                    files.nifti(path, self.scan, drawn.stored(_result(drawn, role)), hidden)
            # That it is there says that all others are whole, see `resume.py`.
            files.raw(self.names.sidecar, sidecar.encode(self._facts(drawn)))
        return Done(self.names, hidden)

    def _pictures(self, drawn: Drawn) -> dict[str, bytes]:
        if not self.request.preview:
            return {}
        shown = (self.scan, self.known, drawn.mean_planes, drawn.scale)
        std = drawn.std_planes if drawn.number > 1 else None

        def written(values: Planes) -> Planes:
            return pages.decoded(self.scan, drawn.stored(values))

        draws = {k: written(drawn.sample(k - 1)) for k in self.names.draws[: pages.DRAWS]}
        notes = pages.notes_of(self.facts | {"image_is": self.image_is}, self.scan.shape, len(self.names.draws))
        page = pages.inpainted(self.scan, written(drawn.mean_planes), drawn.scale, self.known,
                               given=self.scan.planes, std=std, draws=draws, notes=notes)  # fmt: skip
        pictures = {"preview": preview.sheet(*shown, std, self.note)}
        return pictures | ({"cine": preview.cine(*shown, self.note)} if self.names.moving else {}) | {"page": page}

    @property
    def image_is(self) -> str:
        """What the image is, in words."""
        number = self.request.samples
        if number == 1:
            return "one sample"
        return f"the mean of {number} samples" + (" in opposite pairs" if self.request.antithetic else "")

    def _facts(self, drawn: Drawn) -> dict[str, Any]:
        request = self.request
        names = ("samples", "keep_samples", "antithetic", "preview", "overwrite", "nonfinite", "orientation")
        options = {name: getattr(request, name) for name in names} | {"batch_size": request.chosen.batch_size}
        seconds = time.monotonic() - self.start
        facts = sidecar.describe(COMMAND, request.chosen, request.seed, drawn, options, seconds)
        outputs = {role: {"sha256": sha256_of_file(path)} for role, path in self.names.roles.items()}
        return facts | self.facts | {"image_is": self.image_is, "outputs": outputs}


def _result(drawn: Drawn, role: str) -> Planes:
    """Return the values of an output: a sample by its number, or the mean (the one sample) as the image."""
    return drawn.mean_planes if role == "image" else drawn.sample(int(role.removeprefix("sample")) - 1)
