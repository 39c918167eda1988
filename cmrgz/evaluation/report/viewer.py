"""The pictures of a report in the viewer: masks and frames by slider, methods side by side."""

from collections.abc import Iterator, Mapping, Sequence
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
"""By mask and frame: by method the layers (6, h, w) of `judge.PICTURES`."""
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
    steps = (tuple(map(mask_label, masks)), ())
    scan, known = _given(frames, shape)
    layers = (Layer("scan", scan), *_drawn(frames, shape))
    grid = Scan.blank(shape, (1.0, 1.0, 1.0))
    content = Content("Pictures of the report", grid, layers, Scale(0, 255), known, axes=("mask", "frame"))
    return page(replace(content, steps=steps, notes=NOTES))


def _given(frames: Frames, shape: Shape) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the scans and what is known of them; what no frame covers is not hidden."""
    scan, known = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    for t, of in enumerate(frames):
        for z, methods in enumerate(of):
            layers = next(iter(methods.values()))
            _put(scan, t, z, layers[0])
            _put(known, t, z, layers[1])
    return scan, known > 0


def _drawn(frames: Frames, shape: Shape) -> Iterator[Layer]:
    """Yield what each method drew: the mean, and of one with chance a sample and the spread, when asked for."""
    for name in dict.fromkeys(name for of in frames for methods in of for name in methods):
        cines = np.zeros((len(PICTURES), *shape), np.float32)
        for t, of in enumerate(frames):
            for z, methods in enumerate(of):
                for cine, plane in zip(cines, methods.get(name, ()), strict=False):
                    _put(cine, t, z, plane)
        mean, sample, std = (cines[PICTURES.index(layer)] for layer in ("mean", "sample", "std"))
        yield Layer(name, mean)
        if std.any():
            yield Layer(f"{name}: sample", sample, folded=True)
            yield Layer(f"{name}: spread", std, spread=True, folded=True)


def _put(cine: NDArray[np.float32], t: int, z: int, plane: Bytes) -> None:
    """Put a frame into the corner of its plane."""
    cine[t, z, : plane.shape[0], : plane.shape[1]] = plane
