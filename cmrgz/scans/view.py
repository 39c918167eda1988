"""A result, or any scan -> a page that shows it: what `cmrgz view` does. Does not import torch."""

from pathlib import Path

import numpy as np

from cmrgz.data.intensity import Scale
from cmrgz.data.scan import Scan, load
from cmrgz.durable import atomic_write, is_folder
from cmrgz.errors import UsageError
from cmrgz.scans import pages
from cmrgz.scans.files import check, strip
from cmrgz.scans.found import Given, Told
from cmrgz.scans.resume import is_ours
from cmrgz.viewer import Content, Layer, page

ENDING = ".html"


def view(
    result: Path,
    output: Path | None = None,
    *,
    scan: Path | None = None,
    axes: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a page that shows a result of `inpaint` or `generate` with what was given, hidden and drawn, or any scan.

    What a result was made of is found through the sidecar beside it, and by its hash: the spread and the draws beside
    it too; the scan beside it, in the folder above or in the working directory. What is hidden is drawn again.

    Args:
        result: A scan: a `.nii`, `.nii.gz` or `.hdr` + `.img` file, or a folder of DICOM files.
        output: The page. By default `NAME.html` in the working directory.
        scan: What was given to inpaint, where it is not found by itself.
        axes: What each axis of the files is; None to decide it from the header.
        overwrite: Replace a page that is there.

    Returns:
        The page that was written.

    Raises:
        UsageError: `usage`: the name is none of a page, or `scan` is given for what is no result; `exists`.
        DataError: The result or the scan is refused, or `hash`: the scan is another one.
        ResourceError: The page cannot be written, or memory is short.
    """
    name = result.absolute().name
    target = Path((name if is_folder(result) else strip(name)) + ENDING) if output is None else output
    if target.suffix.lower() != ENDING:
        hint = f"end its name in {ENDING}"
        raise UsageError("usage", "option --output", "is a page", f"got {target}", hint)
    check([target], [result, *([scan] if scan else [])], overwrite)
    made = _page(result, scan, axes)
    atomic_write(target, made, overwrite=overwrite)
    return target


def _page(result: Path, source: Path | None, axes: str | None) -> bytes:
    shown = load(result, axes=axes)
    told = Told.read(result)
    if told is None or not told.inpainted:
        if source is not None:
            what = "goes with what cmrgz inpaint made, and this has no such sidecar"
            raise UsageError("usage", "option --scan", what, hint="leave it out")
        return _plain(shown, result) if told is None else _generated(shown, told)
    given = Given.find(told, shown.shape, source, axes)
    layers = told.beside(shown.shape, axes)
    std = layers.get("std")
    known, how = told.known(shown, given, std)
    notes = (*pages.notes_of(told.facts, shown.shape, len(told.draws)), *told.missing(layers), *how)
    notes += () if given else ("The scan that was given was not found: --scan names it.",)
    return pages.inpainted(
        shown,
        shown.planes,
        told.scale,
        known,
        given=given.scan.planes if given else None,
        std=std.planes if std else None,
        draws={int(role[6:]): layer.planes for role, layer in layers.items() if role != "std"},
        notes=notes,
    )


def _plain(shown: Scan, result: Path) -> bytes:
    """Return the page of a scan of which nothing else is known."""
    scale = Scale.fit(shown.planes, np.broadcast_to(np.True_, shown.shape))
    synthetic = not is_folder(result) and is_ours(result)
    return page(Content("Scan", shown, (Layer("scan", shown.planes),), scale, synthetic=synthetic))


def _generated(shown: Scan, told: Told) -> bytes:
    known, _ = told.known(shown, None, None)
    return pages.generated(shown, {told.number: shown.planes}, told.scale, known)
