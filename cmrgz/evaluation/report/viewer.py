"""The pictures of a report in the viewer: masks and frames by slider, methods side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.intensity import Scale
from cmrgz.data.scan import Scan, Shape
from cmrgz.evaluation.report.names import mask_label
from cmrgz.evaluation.report.pictures import Bytes, Pictures, shown_frames, shown_masks
from cmrgz.evaluation.scoring import PICTURES, SPREAD
from cmrgz.evaluation.summary.model import Summary
from cmrgz.viewer import Content, Layer, page

Frames = Sequence[Sequence[Mapping[str, Bytes]]]
"""By mask and frame: by method the layers (6, h, w) of `scoring.PICTURES`."""
GIVEN = ""
"""In the place of a method: what was given."""
NOTES = (
    "Values are 0 .. 255, from the low to the high end of the scale of each scan; 255 of a spread is "
    f"{1 / SPREAD:g} of it.",
    "A frame that a method has not is black.",
)


def viewer_page(summary: Summary, pictures: Pictures) -> bytes | None:
    """Return a page of the frames that the report shows, None where it shows none."""
    masks = shown_masks(summary, pictures)
    frames = [shown_frames(summary, pictures, mask) for mask in masks]
    planes = [layers.shape[1:] for of in frames for methods in of for layers in methods.values()]
    if not planes:
        return None
    h, w = (max(sides) for sides in zip(*planes, strict=True))
    shape = (len(masks), max(map(len, frames)), h, w)
    drawn = _drawn(frames, shape)
    scan, known, *_ = drawn.pop(GIVEN)
    layers = [Layer("scan", scan)]
    for name, (_, _, sample, _, mean, std) in drawn.items():
        layers.append(Layer(name, mean))
        # of one with chance a sample and the spread, when asked for
        if std.any():
            layers.append(Layer(f"{name}: sample", sample, folded=True))
            layers.append(Layer(f"{name}: spread", std, spread=True, folded=True))
    grid = Scan.blank(shape, (1.0, 1.0, 1.0))
    content = Content("Pictures of the report", grid, tuple(layers), Scale(0, 255), known > 0, axes=("mask", "frame"))
    return page(replace(content, steps=(tuple(map(mask_label, masks)), ()), notes=NOTES))


def _drawn(frames: Frames, shape: Shape) -> dict[str, NDArray[np.float32]]:
    """Return the layers (6, *shape) of each method, frames in the corners of their planes, and first what was given."""
    names = [GIVEN, *(name for of in frames for methods in of for name in methods)]
    found = {name: np.zeros((len(PICTURES), *shape), np.float32) for name in names}
    found[GIVEN][1] = 1  # what no frame covers is not hidden
    for t, of in enumerate(frames):
        for z, methods in enumerate(of):
            # what was given is the same of every method that has the frame
            for name, layers in {GIVEN: next(iter(methods.values())), **methods}.items():
                found[name][:, t, z, : layers.shape[1], : layers.shape[2]] = layers
    return found
