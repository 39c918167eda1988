"""Scans from nothing, or from a part of one: what `cmrgz generate` does."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cmrgz import preview, records
from cmrgz.data.hashes import sha256_of_file
from cmrgz.data.intensity import Scale
from cmrgz.data.planes import Planes
from cmrgz.data.scan import Scan
from cmrgz.durable import read_bytes
from cmrgz.errors import DataError
from cmrgz.model import Model
from cmrgz.plugin import Progress
from cmrgz.scans import pages, sidecar
from cmrgz.scans.choice import Chosen
from cmrgz.scans.context import tell_of_context
from cmrgz.scans.files import Names, Together, check
from cmrgz.scans.hiding import hidden_fraction
from cmrgz.scans.like import Like
from cmrgz.scans.resume import Left, left_to_do
from cmrgz.tasks import Drawn, generate, inpaint

COMMAND = "cmrgz generate"
GROUP = 128
"""Frames that are drawn together."""
SHEET, PAGE = "preview.png", "preview.html"


class Measure(Protocol):
    """Finds the heart in a scan that was drawn."""

    @property
    def sha256(self) -> str:
        """What it is a hash of: another one measures other things."""

    def __call__(self, scan: Scan, values: Planes, scale: Scale) -> tuple[NDArray[np.uint8], dict[str, float | None]]:
        """Return its labels (t, z, y, x) and what is measured on them, None where that is not defined."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to generate.

    Attributes:
        chosen: The model.
        number: How many scans.
        slices: Slices of each.
        phases: Frames of each; a model of frames draws them independently of one another.
        like: A scan whose grid all have, and what they keep of it; None for `slices` and `phases` of empty ones.
        seed: Scan n is sample n of this seed, however many there are.
        antithetic: Draw scans 1 and 2, 3 and 4 and so on with opposite random numbers.
        preview: Write a contact sheet and a page, of what was drawn now.
        overwrite: Replace outputs that are there.
        skip_existing: Leave out scans whose outputs are there, made in the same way.
        measure: Find the heart in each and write its labels beside it.
    """

    chosen: Chosen
    number: int = 1
    slices: int = 1
    phases: int = 1
    like: Like | None = None
    seed: int = 0
    antithetic: bool = False
    preview: bool = False
    overwrite: bool = False
    skip_existing: bool = False
    measure: Measure | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(t, z, y, x) of each scan."""
        height, width = self.chosen.meta.extent.plane
        return (self.phases, self.slices, height, width) if self.like is None else self.like.scan.shape

    def facts(self, n: int) -> dict[str, Any]:
        """Return what a sidecar says of how scan n is made, but for what is known after it."""
        t, z = self.shape[:2]
        return {
            "command": COMMAND,
            "model": {"weights_sha256": self.chosen.meta.sha256},
            "guide_sha256": self.chosen.guide_sha256,
            "sampling": dict(self.chosen.options),
            "condition": self.chosen.asked.of(n),
            "seed": self.seed,
            "sample": n,
            "options": {"slices": z, "phases": t, "antithetic": self.antithetic},
            "like": None if self.like is None else self.like.facts,
            "segmenter_sha256": None if self.measure is None else self.measure.sha256,
        }


@dataclass(frozen=True)
class Made:
    """A scan that was made: its files and what its sidecar says."""

    names: Names
    facts: dict[str, Any] = field(repr=False)


def generate_scans(
    request: Request,
    output: Path,
    *,
    beside: Sequence[Path] = (),
    done: Callable[[Names], None] = lambda _: None,
    skipped: Callable[[Names], None] = lambda _: None,
    report: Progress | None = None,
) -> list[Made]:
    """Generate scans `generated-0001.nii.gz` and on, each with its sidecar; what can be refused is refused before.

    Args:
        request: What to generate.
        output: The folder; its parent must be there.
        beside: Files that are to be written about all of them; checked as the others are.
        done: Told each scan when its files are whole.
        skipped: Told each scan that is there already, with `skip_existing`.
        report: Told the items done of all scans.

    Returns:
        What there is, in order; also what was skipped.

    Raises:
        CmrgzError: The outputs cannot be written, or the model fails.
    """
    labels = request.measure is not None
    jobs = [(n, Names(output / f"generated-{n + 1:04d}.nii.gz", labels=labels)) for n in range(request.number)]
    left = left_to_do(jobs, request.facts, request.overwrite) if request.skip_existing else Left(jobs, [], [])
    sheets = [output / SHEET, output / PAGE] if request.preview else []
    about = [*sheets, *beside]
    written = [path for _, names in left.jobs for path in names.every] + about
    # The contact sheet and what is said of all scans are of what there is now, so that they are made again.
    replaced = left.files | set(about if request.skip_existing else ())
    check(written, request.like.files if request.like else [], request.overwrite, None, replaced)
    made = {n: Made(names, _told(names)) for n, names in left.skipped}
    for _, names in left.skipped:
        skipped(names)
    if left.jobs:
        made |= _draw(request, left, sheets, done, report)
    return [made[n] for n, _ in jobs]


def _draw(
    request: Request, left: Left[int], sheets: Sequence[Path], done: Callable[[Names], None], report: Progress | None
) -> dict[int, Made]:
    """Draw and write what is not there."""
    tell_of_context(request.chosen.meta, request.shape)
    model, made = request.chosen.open(), {}
    shown: dict[int, Planes] = {}
    names, half = dict(left.jobs), {n for n, _ in left.replaced}
    for first, scan, drawn, seconds in _groups(request, list(names), model, report):
        for k in range(drawn.number):
            n = first + k
            with Together(request.overwrite or n in half) as files:
                made[n] = _write(request, files, names[n], (n, k), scan, drawn, seconds)
            done(names[n])
        # Planes are made when they are looked at: what is kept for the sheet is what was drawn, and no whole scan.
        for k in range(min(drawn.number, preview.SCANS - len(shown)) if sheets else 0):
            shown[first + k + 1] = pages.decoded(scan, drawn.stored(drawn.sample(k)))
    if sheets:
        known = None if request.like is None else request.like.known
        sheet = preview.contact_sheet(scan, shown.values(), drawn.scale)
        with Together(request.overwrite or request.skip_existing) as files:
            for path, data in zip(sheets, (sheet, pages.generated(scan, shown, drawn.scale, known)), strict=True):
                files.raw(path, data)
    return made


def _write(
    request: Request, files: Together, names: Names, place: tuple[int, int], scan: Scan, drawn: Drawn, seconds: float
) -> Made:
    """Write scan n, sample k of what was drawn, the sidecar last."""
    n, k = place
    values, hidden = drawn.sample(k), hidden_fraction(drawn.known)
    files.nifti(names.image, scan, drawn.stored(values), hidden)
    facts = _facts(request, drawn, n, seconds) | {"hidden_fraction": hidden}
    if request.measure is not None:
        labels, facts["measured"] = request.measure(scan, values, drawn.scale)
        # A label is a number as it is: the scale and offset of the scan are not for it.
        plain = Scan(np.zeros(scan.shape, np.uint8), 1.0, 0.0, scan.geometry)
        files.nifti(names.roles["labels"], plain, labels, 1.0)
    # Hashed as they lie on the disk, so that what was damaged since can be told.
    facts["outputs"] = {role: {"sha256": sha256_of_file(path)} for role, path in names.roles.items()}
    # That it is there says that all others are whole, see `resume.py`.
    files.raw(names.sidecar, sidecar.encode(facts))
    return Made(names, facts)


def _groups(
    request: Request, numbers: Sequence[int], model: Model, report: Progress | None
) -> Iterator[tuple[int, Scan, Drawn, float]]:
    """Yield scans that were drawn together: the number of the first, their grid, themselves and the seconds."""
    before = 0
    # Scans that follow one another are samples of one draw; that they are few or many changes none of them.
    for first, count in _runs(numbers, max(1, GROUP // (request.shape[0] * request.shape[1]))):
        start = time.monotonic()

        def shifted(done: int, total: int, before: int = before, count: int = count) -> None:
            if report is not None:
                # Every scan of a run has as many items as any other: their grid and what is known are the same.
                items = total // count
                report(before * items + done, len(numbers) * items)

        setting = request.chosen.setting(request.seed, count, first, request.antithetic)
        if request.like is None:
            scan, drawn = generate(model, request.shape, setting, report=shifted)
        else:
            scan, drawn = request.like.scan, inpaint(model, request.like.scan, request.like.known, setting, shifted)
        yield first, scan, drawn, time.monotonic() - start
        before += count


def _runs(numbers: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield (first, how many) of numbers that follow one another, at most so many."""
    start = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1 or i - start == most:
            yield numbers[start], i - start
            start = i


def _facts(request: Request, drawn: Drawn, n: int, seconds: float) -> dict[str, Any]:
    own = request.facts(n)
    names = ("number", "preview", "overwrite", "skip_existing")
    options = (
        own["options"] | {name: getattr(request, name) for name in names} | {"batch_size": request.chosen.batch_size}
    )
    facts = sidecar.describe(COMMAND, request.chosen, request.seed, drawn, options, seconds)
    more = {name: own[name] for name in ("condition", "sample", "like", "segmenter_sha256")}
    return facts | more | {"drawn_together": drawn.number}


def _told(names: Names) -> dict[str, Any]:
    """Return what the sidecar of a scan that was there says."""
    where = str(names.sidecar)
    return records.parse(read_bytes(names.sidecar, DataError), where, refuse=DataError, lenient=True)
