"""Pictures of results: frames whose place in the report was settled before any result was seen."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cmrgz.evaluation.report.document import Gallery, Strip
from cmrgz.evaluation.report.names import hidden, main_mask, mask_label, of_kind, patterns
from cmrgz.evaluation.summary.model import Summary
from cmrgz.evaluation.summary.rows import MaskRow
from cmrgz.preview import heat, tinted

Bytes = NDArray[np.uint8]
Pictures = Mapping[tuple[str, str], Mapping[str, Bytes]]
"""By method and mask: frame id -> (6, h, w), the layers of `scoring.PICTURES`."""

PAGE = "pictures.html"
"""The same frames in the viewer."""
FRAMES, FEW, STRIPS = 4, 8, 16
"""Most frames of a mask, most methods where there is no model, about most strips of a mask."""


def galleries(summary: Summary, pictures: Pictures) -> tuple[Gallery, ...]:
    """Return the pictures of a few masks: the frames of each, the first one open."""
    masks = enumerate(shown_masks(summary, pictures))
    return tuple(gallery for t, mask in masks for gallery in _of_mask(summary, pictures, mask, t))


def shown_masks(summary: Summary, pictures: Pictures) -> list[MaskRow]:
    """Return the masks that are shown, of the first pattern: one in the middle, the one that hides most, and all."""
    there = {mask for (_, mask), frames in pictures.items() if frames}
    for _, masks in patterns([mask for mask in summary.masks if mask.spec in there]):
        inner = [mask for mask in masks if 0 < hidden(mask) < 1] or list(masks)
        middle = main_mask(inner) or inner[0]
        return list({mask.spec: mask for mask in (middle, inner[-1], masks[-1])}.values())
    return []


def shown_frames(summary: Summary, pictures: Pictures, mask: MaskRow) -> list[dict[str, Bytes]]:
    """Return the frames of a mask that are shown: by method its layers (6, h, w)."""
    methods = of_kind(summary, "model") or of_kind(summary, "baseline", "bound", "control")[:FEW]
    # few strips a mask: pictures are most of a page, which shall open on a laptop
    own = {method.name: pictures.get((method.name, mask.spec), {}) for method in methods}
    most = max(2, min(FRAMES, STRIPS // max(1, len(methods))))
    # ids are hashes of pixels: no result could have moved this choice
    chosen = sorted({frame for frames in own.values() for frame in frames})[:most]
    return [{name: frames[frame] for name, frames in own.items() if frame in frames} for frame in chosen]


def _of_mask(summary: Summary, pictures: Pictures, mask: MaskRow, t: int) -> Iterator[Gallery]:
    for i, layers in enumerate(shown_frames(summary, pictures, mask)):
        given = next(iter(layers.values()))
        hole = tinted(np.repeat(given[:1], 3, axis=0), given[1] > 0)
        strips = [Strip("What was given", (("the scan", png(given[0])), ("hidden", png(hole))))]
        strips += [Strip(name, _drawn(name, of)) for name, of in layers.items()]
        yield Gallery(f"{mask_label(mask)}: frame {i + 1}", tuple(strips), folded=i > 0, link=f"{PAGE}#{t}.{i}")


def _drawn(name: str, layers: Bytes) -> tuple[tuple[str, bytes], ...]:
    """Return what a method drew: samples, mean and spread, or the one result of a method without chance."""
    sample, other, mean, spread = layers[2:]
    # a method without chance would show one picture four times
    if not spread.any() and (sample == other).all():
        return (("result", png(sample)),)
    drawn = (("sample", png(sample)), ("other sample", png(other)), ("mean of all", png(mean)))
    return (*drawn, ("spread", png(heat(spread.astype(np.float32), 255))))


def png(values: NDArray[Any]) -> bytes:
    """Return (h, w) or (3, h, w) uint8 as PNG; equal pixels give equal bytes."""
    file = io.BytesIO()
    image = np.ascontiguousarray(np.moveaxis(values, 0, -1)) if values.ndim == 3 else values
    Image.fromarray(image).save(file, "PNG", optimize=True)
    return file.getvalue()
