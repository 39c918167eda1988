"""The frames that methods are compared on: heart-centred crops of cases, each known by its content."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.cases import Case
from cmrgz.data.clips import SPACING, Clip, crop, read_clip
from cmrgz.data.masks import parse
from cmrgz.errors import UsageError

SYSTOLE = 0.35
"""Part of the cycle at which a heart without labels is taken to be smallest."""
SLICES = (0.5, 0.75, 0.25)
"""Slices that are looked at first: middle, apical, basal."""
LEFT = 3
"""Label of the left ventricle."""
DARK, TISSUE = -0.9, 0.01
"""Intensity above which a pixel is no background, and share of such pixels from which a frame shows tissue."""

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        id: Hash of its content and place: another pixel, another id.
        subject: Keyed hash of the patient: nothing is stored that names one.
        scan: Keyed hash of the scan.
        t: Phase, from 0.
        z: Slice, from 0.
        role: `ED`, `ES` or "".
        x: (h, w) in [-1, 1], scaled once per scan; the scale is given to all methods alike.
        before: (h, w) the same slice one phase earlier, or None in a scan of one phase.
        label: (h, w) the annotated heart, or None.
        condition: What is known beside the pixels.
        spacing: Pixel size, mm.
        step: Distance of slices, mm.
        centre: (row, column) of the heart in the crop.
        inside: (h, w) bool, which pixels are of the scan and no padding around it; None where all are.
    """

    id: str
    subject: str
    scan: str
    t: int
    z: int
    role: str
    x: Floats
    before: Floats | None
    label: NDArray[np.uint8] | None
    condition: Mapping[str, float]
    spacing: float
    step: float
    centre: tuple[float, float]
    inside: Bools | None = None

    @property
    def unit(self) -> Floats:
        """(h, w) in [0, 1]."""
        return np.asarray((self.x + 1) / 2, dtype=np.float32)

    def known(self, mask: str, seed: int) -> Bools:
        """Return `known` (h, w) of a mask: a function of the mask, the seed and the frame alone.

        Where anything is known, padding is: what lies beyond the scan is no part of a hole, and easy to get right.

        Raises:
            UsageError: The mask needs several frames or slices.
            DataError: `mask-empty`: it needs a label that the frame lacks.
        """
        shape = (1, 1, *self.x.shape)
        label = None if self.label is None else self.label[None, None]
        spacing = (self.spacing, self.spacing)
        recipe = parse(mask)
        known = recipe.draw(shape, seed=seed, case=self.id, spacing=spacing, centre=self.centre, label=label)[0, 0]
        return known if self.inside is None or not known.any() else known | ~self.inside


def read_frames(
    cases: Iterable[Case],
    item: Pair,
    choice: str = "2",
    progress: Callable[[int], None] | None = None,
    spacing: float = SPACING,
) -> list[Frame]:
    """Read the frames of cases; each scan is read once.

    Args:
        cases: The scans.
        item: Shape (h, w) of a frame.
        choice: How many frames a case, from `ED` and `ES` of the middle slice outwards; `stack` is all slices at `ED`
            and `ES`, from which come volumes; `cine` is all phases of the middle slice. Slices that show no tissue,
            such as those that pad a stack, are not chosen.
        progress: Told the cases read.
        spacing: Pixel size of the models in mm.

    Raises:
        UsageError: `range` for a choice that is none of these.
        DataError: A scan is missing or damaged.
    """
    check_choice(choice)
    frames: list[Frame] = []
    for number, case in enumerate(cases, 1):
        clip = read_clip(case, labels=True, spacing=spacing)
        frames += [_frame(case, clip, t, z, role, item) for t, z, role in _places(clip, choice)]
        if progress is not None:
            progress(number)
    return frames


def check_choice(choice: str) -> None:
    """Refuse a choice of frames that is none.

    Raises:
        UsageError: `range`.
    """
    number = choice.isascii() and choice.isdigit() and len(choice) <= 4 and 1 <= int(choice) <= 1000
    if choice not in ("stack", "cine") and not number:
        raise UsageError("range", "frames", "must be a number, 'stack' or 'cine'", f"got '{choice}'")


def _systole(clip: Clip) -> int:
    """Return the phase at which the left ventricle is smallest, of those that are annotated."""
    size = np.zeros(0) if clip.labels is None else (clip.labels == LEFT).sum((1, 2, 3))
    if size.any():
        return int(np.where(size > 0, size, np.inf).argmin())
    return round(SYSTOLE * clip.frames.shape[0]) % clip.frames.shape[0]


def _places(clip: Clip, choice: str) -> list[tuple[int, int, str]]:
    """Return (phase, slice, role) of the chosen frames, in the order of choice."""
    phases, slices = clip.frames.shape[0], _slices_of_tissue(clip)
    ends = {0: "ED"} if phases == 1 else {0: "ED", _systole(clip): "ES"}
    first = list(dict.fromkeys(slices[min(int(share * len(slices)), len(slices) - 1)] for share in SLICES))
    if choice == "cine":
        return [(t, first[0], ends.get(t, "")) for t in range(phases)]
    if choice == "stack":
        return [(t, z, role) for z in slices for t, role in ends.items()]
    rest = [z for z in slices if z not in first]
    every = [(t, z, role) for z in [*first, *rest] for t, role in ends.items()]
    return every[: int(choice)]


def _slices_of_tissue(clip: Clip) -> list[int]:
    """Return the slices that show tissue; all, where none does."""
    share = (clip.frames > DARK).mean((0, 2, 3))
    return [int(z) for z in np.flatnonzero(share >= TISSUE)] or list(range(len(share)))


def _frame(case: Case, clip: Clip, t: int, z: int, role: str, item: Pair) -> Frame:
    corner = clip.corner(item)
    x = crop(clip.frames[t, z], corner, item, -1.0).astype(np.float32)
    label = None if clip.labels is None else crop(clip.labels[t, z], corner, item, 0)
    label = label if label is not None and label.any() else None  # many scans are annotated at the ends of the cycle
    before = None
    if clip.frames.shape[0] > 1:
        before = crop(clip.frames[t - 1, z], corner, item, -1.0).astype(np.float32)
    condition = clip.place(t, z, corner, item)
    centre = (clip.centre[0] - corner[0], clip.centre[1] - corner[1])
    inside = crop(np.ones(clip.frames.shape[2:], dtype=bool), corner, item, 0)
    step, _, spacing = clip.spacing
    place = (case.subject_id, case.id, t, z, clip.spacing, sorted(condition.items()))
    about = (case.subject_id, case.id, t, z, role, x, before, label, condition, spacing, step, centre)
    return Frame(_hash(place, x, label), *about, None if inside.all() else inside)


def digest(value: Any) -> str:
    """Return 32 hex digits of what JSON can write."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _hash(place: Any, *arrays: NDArray[Any] | None) -> str:
    digest = blake2b(repr(place).encode(), digest_size=8)
    for array in arrays:
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def stacked(frames: Sequence[Frame]) -> Floats:
    """Return the frames (n, h, w) in [-1, 1]."""
    return np.stack([frame.x for frame in frames])


def units(frames: Sequence[Frame]) -> Floats:
    """Return the frames (n, h, w) in [0, 1]."""
    return np.stack([frame.unit for frame in frames])
