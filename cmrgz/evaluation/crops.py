"""Crops: parts of scans about the heart that are drawn as one, of which some frames are scored.

A mask is drawn on a crop (t, z, y, x). A model of frames draws the scored frames alone, a model of blocks sees their
neighbours too: both are given the same voxels.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b, sha1
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmrgz.data.cases import Case
from cmrgz.data.cines import Cine, crop
from cmrgz.data.masks import parse
from cmrgz.errors import UsageError
from cmrgz.grid import is_cycle, tempo_of

ALL = 32767
"""As many phases or slices as there are."""
PLANES = {"frames": 0, "slices": 1}
"""Patterns that hide whole planes, and the axis that needs more than one."""

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Pair = tuple[int, int]


class Span(NamedTuple):
    """How many phases and slices a crop has at most."""

    phases: int = 1
    slices: int = 1

    @classmethod
    def of(cls, text: str) -> "Span":
        """Read `3x3` (phases x slices), `allx3` or `all`.

        Raises:
            UsageError: `range`.
        """
        words = re.fullmatch(r"(\d{1,4}|all)x(\d{1,4}|all)", "allxall" if text == "all" else text, re.ASCII)
        numbers = [ALL if word == "all" else int(word) for word in words.groups()] if words else [0]
        if min(numbers) < 1:
            what = "must be phases x slices, such as 3x3 or allx1, or 'all'"
            raise UsageError("range", "context", what, f"got '{text}'")
        return cls(*numbers)


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of a scan.

    Attributes:
        id: Hash of its content and place.
        x: (t, z, h, w) in [-1, 1], scaled once per scan.
        labels: (t, z, h, w) the annotated heart, or None.
        scored: (t, z) of the scored frames in the crop.
        phases: (t,) part of the cardiac cycle.
        slices: (z,) place between base and apex.
        tempo: Share of the cycle from one phase to the next.
        ring: The phases are a full cycle.
        spacing: Pixel size, mm.
        step: Distance of slices, mm.
        centre: (row, column) of the heart.
        inside: (h, w) bool, which pixels are of the scan and no padding around it; None where all are.
        files: (t, z, h, w) bool, True = given, of masks that no pattern draws, by name.
    """

    id: str
    x: NDArray[np.float16]
    labels: NDArray[np.uint8] | None
    scored: tuple[Pair, ...]
    phases: Floats
    slices: Floats
    tempo: float
    ring: bool
    spacing: float
    step: float
    centre: tuple[float, float]
    inside: Bools | None
    files: Mapping[str, Bools]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(t, z, h, w)."""
        t, z, h, w = self.x.shape
        return t, z, h, w

    @cached_property
    def unit(self) -> Floats:
        """(t, z, h, w) in [0, 1]."""
        return in_unit(self.x.astype(np.float32))

    def takes(self, mask: str) -> bool:
        """Whether a mask can be drawn: one of whole planes needs several, one of files a file of this scan."""
        if is_file(mask):
            return mask in self.files
        axis = PLANES.get(parse(mask).pattern)
        return axis is None or self.shape[axis] > 1

    def mask_key(self, mask: str) -> str:
        """Return what a mask's text, seed and the crop's id do not tell: the content of a file."""
        return sha1(np.packbits(self.files[mask]).tobytes()).hexdigest() if mask in self.files else ""

    def known(self, mask: str, seed: int) -> Bools:
        """Return `known` (t, z, h, w) of a mask: a function of the mask, the seed and the crop alone.

        Of a mask of whole planes other ones are hidden, as many and as far apart, where it would give all that is
        scored: there would be nothing to score. Where anything is known, padding is: what lies beyond the scan is no
        part of a hole, and easy to get right.

        Raises:
            UsageError: The mask needs several phases or slices.
            DataError: `mask-empty`: it needs a label that the crop lacks.
        """
        known = self.files[mask] if mask in self.files else self._drawn(mask, seed)
        # With nothing known at all padding stays hidden: generation is asked for a whole frame.
        return known if self.inside is None or not known.any() else np.logical_or(known, ~self.inside)

    def _drawn(self, mask: str, seed: int) -> Bools:
        recipe, spacing = parse(mask), (self.spacing, self.spacing)
        known = recipe.draw(self.shape, seed=seed, case=self.id, spacing=spacing, centre=self.centre, label=self.labels)
        whole = np.asarray(known.all((2, 3)))

        def hidden(shift: Pair) -> int:
            moved = np.roll(whole, shift, (0, 1))
            return sum(not moved[place] for place in self.scored)

        if recipe.pattern not in PLANES or hidden((0, 0)) == len(self.scored):
            return known
        # Nearest first, and the first of the best is taken: the mask is moved no farther than it must be.
        shifts = sorted(product(range(self.shape[0]), range(self.shape[1])), key=sum)
        return np.roll(known, max(shifts, key=hidden), (0, 1))


def in_unit(x: NDArray[Any]) -> Floats:
    """Return values in [0, 1] of values in [-1, 1]."""
    return np.asarray((x + 1) / 2, dtype=np.float32)


def is_file(mask: str) -> bool:
    """Whether a mask's text names no pattern but masks that are read."""
    return mask.partition(":")[0] in ("file", "manifest")


class Part(NamedTuple):
    """Where a crop lies in a cine, and which chosen frames (phase, slice) are in it."""

    t: NDArray[np.int64]
    z: NDArray[np.int64]
    members: tuple[Pair, ...]


def parts(places: Sequence[Pair], shape: Pair, span: Span, ring: bool) -> list[Part]:
    """Return the crops that have some frames: the first is in the middle of one, with all others that it reaches.

    Of frames at (phase, slice) places in a scan of so many phases and slices; around a full cycle a crop may reach.
    """
    left, found = list(places), []
    n, m = min(span.phases, shape[0]), min(span.slices, shape[1])
    while left:
        t, z = left[0]
        # A full cycle has no ends to keep away from; all of its phases begin at the first, wherever the frame lies.
        first = t - n // 2 if ring and n < shape[0] else min(max(t - n // 2, 0), shape[0] - n)
        phases = (first + np.arange(n)) % shape[0]
        slices = min(max(z - m // 2, 0), shape[1] - m) + np.arange(m)
        members = tuple(place for place in left if place[0] in phases and place[1] in slices)
        left = [place for place in left if place not in members]
        found.append(Part(phases, slices, members))
    return found


def cut(case: Case, cine: Cine, places: Sequence[Pair], item: Pair, span: Span) -> list[tuple[Crop, Part]]:
    """Return the crops (h, w) `item` of a scan that have frames at some (phase, slice), and where they lie."""
    (n, slices), corner = cine.frames.shape[:2], cine.corner(item)
    # By the crop alone: what lies beyond it, such as a chest that breathes, would hide a leap of the heart.
    ring = span.phases > 1 and is_cycle(cine.block(range(n), range(slices), corner, item).astype(np.float32))
    inside: Bools = crop(np.ones(cine.frames.shape[2:], dtype=bool), corner, item, 0)
    found = []
    for part in parts(places, (n, slices), span, ring):
        where = np.ix_(part.t, part.z)
        labels = None if cine.labels is None else crop(cine.labels[where], corner, item, 0)
        bare = Crop(
            id="",
            x=cine.block(part.t, part.z, corner, item),
            labels=labels if labels is not None and labels.any() else None,
            scored=tuple((int((part.t == t).argmax()), int((part.z == z).argmax())) for t, z in part.members),
            phases=np.asarray(cine.phases[part.t], dtype=np.float32),
            slices=np.asarray(cine.slices[part.z], dtype=np.float32),
            tempo=tempo_of(n, ring),
            ring=ring and len(part.t) == n,
            spacing=cine.spacing[2],
            step=cine.spacing[0],
            centre=(cine.centre[0] - corner[0], cine.centre[1] - corner[1]),
            inside=None if inside.all() else inside,
            files={name: crop(known[where], corner, item, 0) for name, known in cine.masks.items()},
        )
        # Which frames are scored is a part of it: a mask of whole planes is moved so that these are hidden.
        place = (case.subject_id, case.id, part.t.tolist(), part.z.tolist(), bare.scored)
        # Without the masks that are read, which `Crop.mask_key` tells.
        about = (place, bare.tempo, bare.ring, bare.spacing, bare.step, bare.centre)
        found.append((replace(bare, id=hashed(about, bare.x, bare.labels, bare.phases, bare.slices)), part))
    return found


def hashed(place: Any, *arrays: NDArray[Any] | None) -> str:
    """Return 16 hex digits of a place and the content of arrays."""
    # Bytes without shapes: all planes of a sweep have one.
    found = blake2b(repr(place).encode(), digest_size=8)
    for array in arrays:
        found.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
