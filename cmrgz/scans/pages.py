"""Pages of results: what was given, what was hidden, what was drawn and how sure it is, in the viewer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.intensity import Scale
from cmrgz.data.planes import Cine, Planes
from cmrgz.data.scan import Scan
from cmrgz.data.shares import percent
from cmrgz.viewer import Content, Layer, page

Bools = NDArray[np.bool_]

DRAWS = 8
"""Most draws of one scan on a page."""


def inpainted(
    grid: Scan,
    result: Cine,
    scale: Scale,
    known: Bools | None,
    *,
    given: Cine | None = None,
    std: Cine | None = None,
    draws: Mapping[int, Cine] | None = None,
    notes: tuple[str, ...] = (),
) -> bytes:
    """Return the page of an inpainted scan.

    Args:
        grid: A scan whose grid all have.
        result: (t, z, y, x) in the scan's intensities, whole or plane by plane.
        scale: What is black and what is white at first.
        known: (t, z, y, x) bool, True = given; None where nothing tells it.
        given: The scan, hidden parts too; None where it is no more.
        std: The spread of several draws.
        draws: Draws by their numbers, from 1.
        notes: What else there is to say.
    """
    layers = [] if given is None else [Layer("scan", given)]
    layers.append(Layer("result", result))
    layers += [] if std is None else [Layer("spread", std, spread=True)]
    layers += [Layer(f"sample {number}", values, folded=True) for number, values in (draws or {}).items()]
    return page(Content("Inpainted scan", grid, tuple(layers), scale, known, notes=notes))


def generated(grid: Scan, samples: Mapping[int, Cine], scale: Scale, known: Bools | None = None) -> bytes:
    """Return the page of generated scans.

    Args:
        grid: A scan whose grid all have.
        samples: (t, z, y, x) each, by their numbers, from 1.
        scale: What is black and what is white at first.
        known: (t, z, y, x) bool, what of another scan they keep; None for nothing.
    """
    layers = tuple(Layer(f"scan {number}", values) for number, values in samples.items())
    title = "Generated scan" if len(layers) == 1 else "Generated scans"
    hides = known is not None and bool(known.any())
    return page(Content(title, grid, layers, scale, known if hides else None))


def decoded(scan: Scan, stored: Planes) -> Planes:
    """Return stored values of the type of a scan as scaled ones: what is read of a file."""
    return Planes(stored.shape, np.dtype(np.float32), lambda t, z: scan.decode(stored[t, z]))


def notes_of(facts: Mapping[str, Any], shape: tuple[int, ...], draws: int) -> tuple[str, ...]:
    """Return what there is to say of an inpainted scan (t, z, y, x), by what its sidecar says, and of its draws."""
    notes = [f"{percent(facts['mask']['hidden_fraction'], 1)} of the voxels were hidden."]
    notes.append(f"The result is {facts['image_is']}; known voxels are those of the scan.")
    for name, count in zip(("phases", "slices"), shape, strict=False):
        recorded = (facts["refine"] or {}).get(f"given_{name}")
        if recorded is not None and recorded != count:
            notes.append(f"{recorded} of the {count} {name} were recorded; the others are drawn, and 0 in the scan.")
    notes += [f"Of {draws} samples the first {DRAWS} are here."] if draws > DRAWS else []
    return tuple(notes)
