"""The frames that methods are compared on: of heart-centred crops of cases, each known by its content."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cmrgz.data.cases import Case
from cmrgz.data.cines import SPACING, Cine, MaskFile, read_cine
from cmrgz.data.labels import LV
from cmrgz.errors import UsageError
from cmrgz.evaluation.crops import ALL, Bools, Crop, Floats, Pair, Span, cut, hashed, in_unit

SYSTOLE = 0.35
"""Part of the cycle at which a heart without labels is taken to be smallest."""
SLICES = (0.5, 0.75, 0.25)
"""Slices that are looked at first: middle, apical, basal."""
DARK, TISSUE = -0.9, 0.01
"""Intensity above which a pixel is no background, and share of such pixels from which a frame shows tissue."""
BLUR, MOVING = 2.0, 85
"""Pixels by which the change over time is blurred, and the percentile of it above which a pixel moves."""
WHOLE = {"cine": "phases", "stack": "slices"}
"""Choices of frames that lie along a whole axis, and that axis of a crop."""

ALONE = Span()
"""A frame without its neighbours."""

Key = tuple[str, int, int]
"""The id of a crop, and a phase and slice of it."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A scored frame.

    Attributes:
        id: Hash of its content and place: another pixel, another id.
        subject: Keyed hash of the patient: nothing is stored that names one.
        scan: Keyed hash of the scan.
        t: Phase, from 0.
        z: Slice, from 0.
        role: `ED`, `ES` or "".
        crop: What is drawn with it; the scale is the scan's and given to all methods alike.
        place: (t, z) in the crop.
        before: (h, w) the same slice one phase earlier in [-1, 1], or None in a scan of one phase.
        moving: (h, w) bool, where the slice varies most over the cycle; nowhere in a scan of one phase.
        condition: What is known beside the pixels.
    """

    id: str
    subject: str
    scan: str
    t: int
    z: int
    role: str
    crop: Crop
    place: Pair
    before: Floats | None
    moving: Bools
    condition: Mapping[str, float]

    @cached_property
    def x(self) -> Floats:
        """(h, w) in [-1, 1]."""
        return self.crop.x[self.place].astype(np.float32)

    @property
    def unit(self) -> Floats:
        """(h, w) in [0, 1]."""
        return in_unit(self.x)

    @property
    def label(self) -> NDArray[np.uint8] | None:
        """(h, w) the annotated heart, or None: many scans are annotated at the ends of the cycle alone."""
        own = None if self.crop.labels is None else self.crop.labels[self.place]
        return own if own is not None and own.any() else None

    @property
    def key(self) -> Key:
        """Where it stands among all that is drawn."""
        return self.crop.id, *self.place


def read_frames(
    cases: Iterable[Case],
    item: Pair,
    choice: str = "2",
    spacing: float = SPACING,
    span: Span = ALONE,
    masks: Callable[[Case], Mapping[str, MaskFile]] | None = None,
) -> list[Frame]:
    """Read the frames (h, w) `item` of cases, crop by crop; each scan is read once.

    Args:
        cases: The scans.
        item: Shape of a frame.
        choice: How many frames a case, from `ED` and `ES` of the middle slice outwards; `stack` is all slices at `ED`
            and `ES`, from which come volumes; `cine` is all phases of the middle slice. Slices that show no tissue,
            such as those that pad a stack, are not chosen.
        spacing: Pixel size of the models in mm.
        span: Phases and slices of a crop, at most: of a `stack` all slices, of a `cine` all phases, where it is more
            than one.
        masks: Mask files of a case, by name.

    Raises:
        UsageError: `range` for a choice that is none of these.
        DataError: A scan or a mask is missing or damaged.
    """
    check_choice(choice)
    if choice in WHOLE and span != ALONE:  # `1x1` asks for each frame alone
        span = span._replace(**{WHOLE[choice]: ALL})
    frames: list[Frame] = []
    for case in cases:
        cine = read_cine(case, True, spacing, masks(case) if masks is not None else None)
        roles = _places(cine, choice)
        for cropped, part in cut(case, cine, list(roles), item, span):
            placed = zip(part.members, cropped.scored, strict=True)
            frames += [_frame(case, cine, at, roles[at], cropped, place) for at, place in placed]
    return frames


def check_choice(choice: str) -> None:
    """Refuse a choice of frames that is none.

    Raises:
        UsageError: `range`.
    """
    number = choice.isascii() and choice.isdigit() and len(choice) <= 4 and 1 <= int(choice) <= 1000
    if choice not in ("stack", "cine") and not number:
        raise UsageError("range", "frames", "must be a number, 'stack' or 'cine'", f"got '{choice}'")


def _systole(cine: Cine) -> int:
    """Return the phase at which the left ventricle is smallest, of those that are annotated."""
    size = np.zeros(0) if cine.labels is None else (cine.labels == LV).sum((1, 2, 3))
    if size.any():  # phases that nobody annotated are empty, and no systole
        return int(np.where(size > 0, size, np.inf).argmin())
    return round(SYSTOLE * cine.frames.shape[0]) % cine.frames.shape[0]


def _places(cine: Cine, choice: str) -> dict[Pair, str]:
    """Return the roles of the chosen frames by (phase, slice), in the order of choice."""
    # Never those that look best: middle, apical, basal, as far as the slices with tissue go, whatever is in them.
    phases, slices = cine.frames.shape[0], _slices_of_tissue(cine)
    ends = {0: "ED"} if phases == 1 else {0: "ED", _systole(cine): "ES"}
    first = list(dict.fromkeys(slices[min(int(share * len(slices)), len(slices) - 1)] for share in SLICES))
    if choice == "cine":
        return {(t, first[0]): ends.get(t, "") for t in range(phases)}
    order = slices if choice == "stack" else dict.fromkeys([*first, *slices])
    every = [((t, z), role) for z in order for t, role in ends.items()]
    return dict(every if choice == "stack" else every[: int(choice)])


def _slices_of_tissue(cine: Cine) -> list[int]:
    """Return the slices that show tissue; all, where none does."""
    share = (cine.whole > DARK).mean((0, 2, 3))
    return [int(z) for z in np.flatnonzero(share >= TISSUE)] or list(range(len(share)))


def _frame(case: Case, cine: Cine, at: Pair, role: str, cropped: Crop, place: Pair) -> Frame:
    (t, z), item = at, cropped.shape[2:]
    corner = cine.corner(item)
    condition = cine.place(t, z, corner, item)
    phases = cine.block(range(cine.frames.shape[0]), [z], corner, item)[:, 0].astype(np.float32)
    before = phases[t - 1] if len(phases) > 1 else None  # of the first the last: hearts beat in cycles
    frame = Frame("", case.subject_id, case.id, t, z, role, cropped, place, before, most_moving(phases), condition)
    # Without the crop: a frame is the same, and compared as such, whatever context it is drawn in.
    where = (case.subject_id, case.id, t, z, cine.spacing, sorted(condition.items()))
    return replace(frame, id=hashed(where, frame.x, frame.label))


def most_moving(phases: Floats) -> Bools:
    """Return where (h, w) a slice (t, h, w) varies most over its phases: 15 % of the pixels, blurred by 2."""
    change = gaussian_filter(phases.std(0), BLUR)
    return np.asarray(change > np.percentile(change, MOVING))


def digest(value: Any) -> str:
    """Return 32 hex digits of what JSON can write."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def stacked(frames: Sequence[Frame]) -> Floats:
    """Return the frames (n, h, w) in [-1, 1]."""
    return np.stack([frame.x for frame in frames])


def intensities(frames: Sequence[Frame]) -> Floats:
    """Return the frames (n, h, w) in [0, 1]."""
    return np.stack([frame.unit for frame in frames])
